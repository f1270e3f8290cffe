"""Watches a method while it learns: quick tests between its iterations, which change nothing."""

from __future__ import annotations

import numpy as np
from pydantic import PositiveInt

from methods.core.config import Config
from methods.core.method import Method
from methods.core.rng import Rng
from orchestrator.curves import AVERAGE, ON_TASK
from orchestrator.data.streams import TaskStream
from orchestrator.evaluation import confusion, tested_tasks


class Watch(Config):
    """How closely the accuracy is followed within a task."""

    every: PositiveInt | None = None
    """Iterations between two points of the curve of accuracy; without it there is none."""
    images: PositiveInt = 1000
    """Test images of each task that a point takes, at most; always the same ones."""


def glance(method: Method, stream: TaskStream, tasks: int, images: int) -> dict[str, float]:
    """Test a method that has seen so many tasks, the last perhaps not to its end.

    The method's generators and the global ones are left as they are.

    Parameters
    ----------
    images : int
        Test images of each task, at most.

    Returns
    -------
    dict
        A point of each curve of accuracy, by name; NaN where a logit is not a number.
    """
    accuracies: dict[int, float] = {}
    with Rng(0, "watch").scoped("predict", method.device):
        for task in tested_tasks(stream, tasks):
            counts = confusion(method, stream, task, images)
            accuracies[task] = np.nan if counts is None else np.trace(counts) / counts.sum()
    average = float(np.mean([accuracies[task] for task in range(tasks)]))
    return {AVERAGE: average} | {
        f"{ON_TASK}{task + 1}": float(value) for task, value in accuracies.items()
    }
