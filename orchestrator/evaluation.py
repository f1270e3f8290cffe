"""Tests a method on the tasks of a stream: a row of the accuracy matrix and what was confused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from methods.core.method import Method
from methods.core.task import Scenario
from methods.core.training import Diverged
from orchestrator.data.streams import TaskStream

#: Test images that go through a network at once.
_BATCH = 1000


@dataclass(frozen=True)
class Evaluation:
    """How a method does on the test data of a stream.

    Attributes
    ----------
    accuracies : ndarray
        float64 ``[T]``, a row of the accuracy matrix.
    confusion : ndarray
        int64 ``[classes, classes]``, pooled over the tasks learned: rows are the true classes,
        columns what the images were taken for.
    """

    accuracies: NDArray[np.float64]
    confusion: NDArray[np.int64]


def evaluate(method: Method, stream: TaskStream, tasks_learned: int) -> Evaluation:
    """Test a method after so many tasks, in one pass over the test data.

    Raises
    ------
    Diverged
        If a logit is not a number.
    """
    row = np.full(stream.info.tasks, np.nan)
    pooled = np.zeros((stream.info.classes,) * 2, dtype=np.int64)
    for task in tested_tasks(stream, tasks_learned):
        counts = confusion(method, stream, task)
        if counts is None:
            raise Diverged(f"logits for images of task {task + 1} are not numbers")
        row[task] = np.trace(counts) / counts.sum()
        if task < tasks_learned:
            pooled += counts
    return Evaluation(row, pooled)


def tested_tasks(stream: TaskStream, tasks_learned: int) -> Iterable[int]:
    """Return the tasks that a method is tested on.

    Those that it has learned; in a domain-incremental stream, whose classes are the same in every
    task, those still to come as well.
    """
    future = stream.info.scenario is Scenario.DOMAIN_INCREMENTAL
    return range(stream.info.tasks if future else tasks_learned)


@torch.no_grad()
def confusion(
    method: Method, stream: TaskStream, task: int, images: int | None = None
) -> NDArray[np.int64] | None:
    """Count what a method takes the test images of a task for.

    The method is shown images, and the task where it may know it; never labels.

    Parameters
    ----------
    images : int, optional
        At most so many images, always the same, spread evenly over the test data.

    Returns
    -------
    ndarray or None
        int64 ``[classes, classes]``, rows the true classes; None where a logit is not a number.
    """
    known = stream.info.scenario is Scenario.TASK_INCREMENTAL
    test, classes, device = stream.test(task), stream.info.classes, method.device
    size = len(test) if images is None else min(images, len(test))
    rows = torch.arange(size, device=device) * len(test) // size
    counts = torch.zeros(classes * classes, dtype=torch.int64, device=device)
    broken = torch.zeros((), dtype=torch.bool, device=device)
    for start in range(0, size, _BATCH):
        batch = test.gather(rows[start : start + _BATCH])
        assert batch.y is not None
        logits = method.predict(batch.x, task if known else None)
        counts += torch.bincount(batch.y * classes + logits.argmax(1), minlength=len(counts))
        broken |= logits.isnan().any()
    return None if broken else counts.reshape(classes, classes).cpu().numpy()
