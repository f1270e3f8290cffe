"""Task streams: how the images of sources become tasks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor

from methods.core.task import Task, TensorExamples
from orchestrator.data.cache import Dataset, open_source
from orchestrator.data.held_out import held_out
from orchestrator.data.stream_config import StreamConfig, joint_fingerprint
from orchestrator.data.transforms import pad, permute_pixels, resize, rotate
from orchestrator.errors import UserError

#: Which images an option takes a subset of, and the name of the generator that draws it.
_SUBSETS = MappingProxyType(
    {"train_per_task": ("training", "subset"), "test_per_task": ("test", "test subset")}
)


class TaskStream:
    """The tasks of an opened stream; see :func:`open_stream`.

    Labels are in the global label space of ``info``. A split stream keeps the labels of the source
    where the scenario is task- or class-incremental; where it is domain-incremental, a label is
    the place of the class within its task. The other streams keep the labels of the sources where
    the scenario is domain-incremental, and otherwise add the number of classes of the tasks before.

    Images go through the same steps in every stream: turned, or permuted as they are; resized or
    padded; permuted as padded; grey repeated in each channel, where other sources have colours.
    """

    def __init__(
        self, config: StreamConfig, datasets: Sequence[Dataset], device: torch.device
    ) -> None:
        self.config, self.device = config, device
        self.info = config.info()
        self.fingerprint = joint_fingerprint([data.fingerprint for data in datasets])
        self._layout = config.layout()
        self._datasets = [datasets[part.source] for part in self._layout]
        self._tests: dict[int, TensorExamples] = {}

    def task(self, index: int) -> Task:
        """Return task ``index`` with its training data, transformed once, here.

        Raises
        ------
        IndexError
            If there is no such task.
        UserError
            If ``train_per_task`` asks for more images than there are, or they are too few for
            some to be held out.
        """
        self._check(index)
        data, config = self._datasets[index], self.config
        rows = self._rows(data.train_y, index, "train_per_task")
        train = self._examples(data.train_x, data.train_y, rows, index)
        validation: TensorExamples | None = None
        if config.validation is not None:
            train, validation = self._divided(train, data.train_y, rows, index, config.validation)
        return Task(index, self.info.classes_of[index], train, validation)

    def test(self, index: int) -> TensorExamples:
        """Return the test data of task ``index``, with labels; never handed to a method.

        Raises
        ------
        IndexError
            If there is no such task.
        UserError
            If ``test_per_task`` asks for more images than there are.
        """
        if index not in self._tests:
            self._check(index)
            data = self._datasets[index]
            rows = self._rows(data.test_y, index, "test_per_task")
            self._tests[index] = self._examples(data.test_x, data.test_y, rows, index)
        return self._tests[index]

    def _check(self, task: int) -> None:
        if not 0 <= task < self.info.tasks:
            raise IndexError(f"there is no task {task}: the stream has {self.info.tasks}")

    def _rows(self, y: Tensor, task: int, option: str) -> Tensor | None:
        """Return the rows of a source that belong to a task; None where all do.

        ``option`` is the one that says how many.
        """
        rows: Tensor | None = None
        if self.config.kind == "split":
            rows = torch.isin(y, torch.tensor(self._layout[task].classes)).nonzero().squeeze(1)
        size = getattr(self.config, option)
        if size is None:
            return rows
        rows = torch.arange(len(y)) if rows is None else rows
        images, name = _SUBSETS[option]
        if size > len(rows):
            raise UserError(
                f"{option} is {size}, but task {task} of {self.config.dataset} has only "
                f"{len(rows)} {images} images"
            )
        generator = self.config.rng.at(task).generator(name)
        return rows[torch.randperm(len(rows), generator=generator)[:size]].sort().values

    def _examples(self, x: Tensor, y: Tensor, rows: Tensor | None, task: int) -> TensorExamples:
        """Return rows of a source as a task has them; what need not change is not copied."""
        if rows is not None and (self._alters(x) or self.device.type != "cpu"):
            x, y, rows = x[rows], y[rows], None
        x, y = self._transformed(x, task), self._labelled(y, task)
        channels = self.info.shape[0]
        # A repeated channel takes no memory: it is gathered from where the one channel lies.
        return TensorExamples(
            x.to(self.device).expand(-1, channels, -1, -1), y.to(self.device), rows
        )

    def _alters(self, x: Tensor) -> bool:
        """Whether pixels move; a channel that is repeated does not count."""
        return self.config.kind in ("permuted", "rotated") or x.shape[2:] != self.info.shape[1:]

    def _transformed(self, x: Tensor, task: int) -> Tensor:
        config = self.config
        if config.kind == "rotated":
            x = rotate(x, config.max_angle * task / self.info.tasks)
        permuted = config.kind == "permuted" and (task > 0 or config.permute_first)
        if permuted and config.permute == "raw":
            x = self._permuted(x, task)
        if config.resize is not None:
            x = resize(x, config.resize)
        x = pad(x, *self.info.shape[1:])
        return self._permuted(x, task) if permuted and config.permute == "padded" else x

    def _permuted(self, x: Tensor, task: int) -> Tensor:
        generator = self.config.rng.at(task).generator("permutation")
        return permute_pixels(x, torch.randperm(x.shape[2] * x.shape[3], generator=generator))

    def _labelled(self, y: Tensor, task: int) -> Tensor:
        part = self._layout[task]
        if part.labels == part.classes:
            return y
        # Images of other classes are not among the rows of the task: they have no label.
        label_of = torch.full((self._datasets[task].classes,), -1)
        label_of[list(part.classes)] = torch.tensor(part.labels)
        return label_of[y]

    def _divided(
        self, examples: TensorExamples, y: Tensor, rows: Tensor | None, task: int, share: float
    ) -> tuple[TensorExamples, TensorExamples]:
        """Hold out a share of each class; ``y`` and ``rows`` tell which images of the source."""
        # One order for all tasks: what one of them holds out, no other learns from.
        order = torch.randperm(len(y), generator=self.config.rng.generator("validation"))
        priority = order if rows is None else order[rows]
        held = held_out(y if rows is None else y[rows], share, priority)
        if not held.any():
            raise UserError(
                f"task {task} of {self.config.dataset} has no class with two training images, "
                "one of which could be held out for validation"
            )
        within = torch.arange(len(held)) if examples.rows is None else examples.rows
        train, validation = within[~held].to(self.device), within[held].to(self.device)
        return (
            TensorExamples(examples.x, examples.y, train),
            TensorExamples(examples.x, examples.y, validation),
        )


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
    datasets = tuple(open_source(source.name, data_dir) for source in config.sources)
    return _opened(config, datasets, torch.device(device))


# Two: a sweep goes through its streams one after the other, and test sets take memory.
@lru_cache(maxsize=2)
def _opened(
    config: StreamConfig, datasets: tuple[Dataset, ...], device: torch.device
) -> TaskStream:
    return TaskStream(config, datasets, device)
