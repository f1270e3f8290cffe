"""Tests a method on the tasks of a stream: one row of the accuracy matrix."""

from __future__ import annotations

import numpy as np
import torch

from methods.core.method import Method
from methods.core.task import Scenario
from methods.core.training import Diverged
from orchestrator.data.streams import TaskStream

#: Test images that go through a network at once.
_BATCH = 1000


def accuracies(method: Method, stream: TaskStream, tasks_learned: int) -> np.ndarray:
    """Return row ``tasks_learned`` of the accuracy matrix: float64 ``[T]``.

    Tasks that are still to come are NaN, except in a domain-incremental stream, whose classes are
    the same in every task. Raises as :func:`accuracy` does.
    """
    tasks = stream.info.tasks
    row = np.full(tasks, np.nan)
    future = stream.info.scenario is Scenario.DOMAIN_INCREMENTAL
    for task in range(tasks if future else tasks_learned):
        row[task] = accuracy(method, stream, task)
    return row


@torch.no_grad()
def accuracy(method: Method, stream: TaskStream, task: int) -> float:
    """Return the share of a task's test images that a method classifies correctly.

    The method is shown images, and the task where it may know it; never labels.

    Raises
    ------
    Diverged
        If a logit is not a number.
    """
    known = stream.info.scenario is Scenario.TASK_INCREMENTAL
    test = stream.test(task)
    correct = torch.zeros((), dtype=torch.int64, device=method.device)
    broken = torch.zeros((), dtype=torch.bool, device=method.device)
    for start in range(0, len(test), _BATCH):
        rows = torch.arange(start, min(start + _BATCH, len(test)), device=method.device)
        batch = test.gather(rows)
        assert batch.y is not None
        logits = method.predict(batch.x, task if known else None)
        correct += logits.argmax(1).eq(batch.y).sum()
        broken |= logits.isnan().any()
    if broken:
        raise Diverged(f"logits for images of task {task + 1} are not numbers")
    return int(correct) / len(test)
