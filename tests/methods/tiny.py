"""Methods on a stream of a few random images, small enough to compute by hand."""

from __future__ import annotations

from typing import Any

import torch

from methods.core.rng import Rng
from methods.core.task import Scenario, StreamInfo, Task, TensorExamples

TASKS = 4


def info(scenario: Scenario) -> StreamInfo:
    """Return four tasks of two classes each."""
    if scenario is Scenario.DOMAIN_INCREMENTAL:
        return StreamInfo(scenario, TASKS, (1, 3, 3), 2, ((0, 1),) * TASKS)
    classes_of = tuple((2 * task, 2 * task + 1) for task in range(TASKS))
    return StreamInfo(scenario, TASKS, (1, 3, 3), 2 * TASKS, classes_of)


def make_task(index: int, scenario: Scenario = Scenario.TASK_INCREMENTAL, n: int = 30) -> Task:
    """Return a task whose images say which they are: the first two pixels number them."""
    generator = torch.Generator().manual_seed(index)
    x = torch.randint(256, (n, 1, 3, 3), generator=generator, dtype=torch.uint8)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = index, torch.arange(n)
    classes = info(scenario).classes_of[index]
    y = torch.tensor(classes)[torch.randint(2, (n,), generator=generator)]
    return Task(index, classes, TensorExamples(x, y))


def make(method: Any, scenario: Scenario = Scenario.TASK_INCREMENTAL, **options: Any) -> Any:
    """Return a method that has learnt nothing."""
    small = {
        "network": {"name": "mlp", "widths": [8, 8]},
        "budget": {"iterations": 5, "batch_size": 10},
        "buffer_size": 30,
    }
    config = method.Config.model_validate(small | options)
    return method(config, info(scenario), Rng(0))


def learnt(
    method: Any, tasks: int, scenario: Scenario = Scenario.TASK_INCREMENTAL, **options: Any
) -> Any:
    """Return a method that has learnt the first tasks."""
    learner = make(method, scenario, **options)
    for index in range(tasks):
        learner.learn(make_task(index, scenario))
    return learner


def competing(scenario: Scenario, past: int, now: int) -> list[int]:
    """Return the classes that an example of a past task competes among in a later one."""
    if scenario is Scenario.TASK_INCREMENTAL:
        return [2 * past, 2 * past + 1]
    return list(range(2 * now + 2 if scenario is Scenario.CLASS_INCREMENTAL else 2))
