"""Task streams: how the images of a source become tasks."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from methods.core.task import Scenario, Task, TensorExamples
from orchestrator.data.cache import Dataset, open_source
from orchestrator.data.stream_config import KINDS, StreamConfig, stream_names
from orchestrator.data.transforms import permute_pixels, rotate
from orchestrator.errors import UserError

__all__ = ["KINDS", "StreamConfig", "TaskStream", "open_stream", "stream_names"]


class TaskStream:
    """The tasks of an opened stream; see :func:`open_stream`.

    Labels are in the global label space of ``info``. A split stream keeps the labels of the source
    where the scenario is task- or class-incremental; where it is domain-incremental, a label is
    the place of the class within its task. Permuted and rotated streams keep the labels where the
    scenario is domain-incremental, and otherwise add t times the number of classes in task t.
    """

    def __init__(self, config: StreamConfig, dataset: Dataset, device: torch.device) -> None:
        self.config, self.device = config, device
        self.info = config.info()
        self.fingerprint = dataset.fingerprint
        self._dataset = dataset
        self._tests: dict[int, TensorExamples] = {}

    def task(self, index: int) -> Task:
        """Return task ``index`` with its training data, transformed once, here.

        Raises
        ------
        IndexError
            If there is no such task.
        UserError
            If ``train_per_task`` asks for more images than there are.
        """
        data = self._dataset
        train = self._examples(data.train_x, data.train_y, index, self.config.train_per_task)
        return Task(index, self.info.classes_of[index], train)

    def test(self, index: int) -> TensorExamples:
        """Return the test data of task ``index``, with labels; never handed to a method."""
        if index not in self._tests:
            data = self._dataset
            self._tests[index] = self._examples(data.test_x, data.test_y, index, None)
        return self._tests[index]

    def _examples(self, x: Tensor, y: Tensor, task: int, size: int | None) -> TensorExamples:
        if not 0 <= task < self.info.tasks:
            raise IndexError(f"there is no task {task}: the stream has {self.info.tasks}")
        rows: Tensor | None = None
        if self.config.kind == "split":
            classes = torch.tensor(self.config.class_chunks()[task])
            rows = torch.isin(y, classes).nonzero().squeeze(1)
        if size is not None:
            rows = self._subset(torch.arange(len(y)) if rows is None else rows, task, size)
        if self.config.kind != "split":
            if rows is not None:
                x, y, rows = x[rows], y[rows], None
            x = self._transformed(x, task)
        y = self._labels(y, task)
        if self.device.type != "cpu":
            if rows is not None:
                x, y, rows = x[rows], y[rows], None
            x, y = x.to(self.device), y.to(self.device)
        return TensorExamples(x, y, rows)

    def _subset(self, rows: Tensor, task: int, size: int) -> Tensor:
        if size > len(rows):
            raise UserError(
                f"train_per_task is {size}, but task {task} of {self.config.dataset} has only "
                f"{len(rows)} training images"
            )
        generator = self.config.rng.at(task).generator("subset")
        return rows[torch.randperm(len(rows), generator=generator)[:size]].sort().values

    def _transformed(self, x: Tensor, task: int) -> Tensor:
        if self.config.kind == "rotated":
            return rotate(x, 360 * task / self.info.tasks)
        if task == 0 and not self.config.permute_first:
            return x
        generator = self.config.rng.at(task).generator("permutation")
        _, height, width = self.info.shape
        return permute_pixels(x, torch.randperm(height * width, generator=generator))

    def _labels(self, y: Tensor, task: int) -> Tensor:
        domain = self.info.scenario is Scenario.DOMAIN_INCREMENTAL
        if self.config.kind != "split":
            return y if domain or task == 0 else y + task * self._dataset.classes
        if not domain:
            return y
        place = torch.zeros(self._dataset.classes, dtype=torch.int64)
        for chunk in self.config.class_chunks():
            place[list(chunk)] = torch.arange(len(chunk))
        return place[y]


def open_stream(
    config: StreamConfig, data_dir: Path, device: torch.device | str = "cpu"
) -> TaskStream:
    """Open a task stream; a process that opens it again gets the same one back.

    Parameters
    ----------
    config : StreamConfig
    data_dir : Path
        See :func:`~orchestrator.data.cache.open_source`.
    device : torch.device or str
        Where the tensors of tasks and tests are placed. They are made on the CPU, so that they
        do not depend on it.

    Raises
    ------
    MissingData
        If the data are not there.
    """
    return _opened(config, open_source(config.source.name, data_dir), torch.device(device))


# Two: a sweep goes through its streams one after the other, and test sets take memory.
@lru_cache(maxsize=2)
def _opened(config: StreamConfig, dataset: Dataset, device: torch.device) -> TaskStream:
    return TaskStream(config, dataset, device)
