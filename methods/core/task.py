"""What a method learns from: tasks seen one after the other, closed once they are learnt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

import torch
from torch import Tensor


class Scenario(StrEnum):
    """The three scenarios of van de Ven & Tolias (2019, arXiv:1904.07734)."""

    TASK_INCREMENTAL = "task-incremental"  #: the task is known at test
    DOMAIN_INCREMENTAL = "domain-incremental"  #: same classes in every task, task unknown at test
    CLASS_INCREMENTAL = "class-incremental"  #: new classes in every task, task unknown at test


class Batch(NamedTuple):
    """Some examples, real or replayed.

    ``x`` is uint8 ``[B, C, H, W]`` at depth 0 and float activations at a deeper cut; ``y`` holds
    int64 labels ``[B]`` in the stream's one global label space, or None where the previous solver
    has to label; ``task`` the int64 task of each row ``[B]``, or None where all rows belong to the
    task at hand; ``logits`` float ``[B, classes]`` recorded earlier, or None.
    """

    x: Tensor
    y: Tensor | None = None
    task: Tensor | None = None
    logits: Tensor | None = None


class Examples(Protocol):
    """A set of examples that is read by index; it need not sit in memory."""

    def __len__(self) -> int: ...

    def gather(self, index: Tensor) -> Batch:
        """Return the rows at ``index`` (int64 ``[B]``) as fresh tensors."""
        ...


class TensorExamples:
    """Examples held as tensors; ``rows`` selects a part of them without a copy.

    Parameters
    ----------
    x : Tensor
        uint8 ``[N, C, H, W]``.
    y : Tensor
        int64 ``[N]``.
    rows : Tensor, optional
        int64 ``[n]``, the rows of ``x`` and ``y`` that belong to this set; all of them by default.
    task : Tensor, optional
        int64 ``[N]``, the task of each row, where the set mixes tasks.
    """

    def __init__(
        self, x: Tensor, y: Tensor, rows: Tensor | None = None, task: Tensor | None = None
    ) -> None:
        self.x, self.y, self.rows, self.task = x, y, rows, task

    def __len__(self) -> int:
        return len(self.x) if self.rows is None else len(self.rows)

    def gather(self, index: Tensor) -> Batch:
        """Return the rows at ``index`` of this set."""
        if self.rows is not None:
            index = self.rows[index]
        task = None if self.task is None else self.task[index]
        return Batch(self.x[index], self.y[index], task)


class TaskClosed(RuntimeError):
    """A method asked for data of a task that it has already learnt."""


class ClosableExamples:
    """Examples that can be taken away: after :meth:`close` nothing of them is reachable."""

    def __init__(self, examples: Examples) -> None:
        self._examples: Examples | None = examples
        self._length = len(examples)

    def __len__(self) -> int:
        return self._length

    def gather(self, index: Tensor) -> Batch:
        """Return the rows at ``index``, unless the task is over."""
        if self._examples is None:
            raise TaskClosed(
                "this task is over: its data cannot be read again; "
                "what a method wants to keep, it copies into a memory inside remember()"
            )
        return self._examples.gather(index)

    def close(self) -> None:
        """Drop the data."""
        self._examples = None


@dataclass(frozen=True)
class Task:
    """One step of a task stream, as a method sees it.

    Parameters
    ----------
    index : int
        0 for the first task.
    classes : tuple of int
        Classes that occur in this task, in the global label space.
    train : Examples
        Training data; closed once ``learn`` has returned.
    validation : Examples, optional
        Held-out part of the training data, for early stopping; closed likewise.
    """

    index: int
    classes: tuple[int, ...]
    train: Examples
    validation: Examples | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "train", ClosableExamples(self.train))
        if self.validation is not None:
            object.__setattr__(self, "validation", ClosableExamples(self.validation))

    def close(self) -> None:
        """Take the data away; :class:`TaskClosed` is raised by whoever reads them afterwards."""
        for examples in (self.train, self.validation):
            if isinstance(examples, ClosableExamples):
                examples.close()


@dataclass(frozen=True)
class StreamInfo:
    """What a method may know of a task stream before it starts.

    Parameters
    ----------
    scenario : Scenario
    tasks : int
        Number of tasks T.
    shape : tuple of int
        ``(channels, height, width)`` of an image.
    classes : int
        Size of the global label space; the width of the output never grows.
    classes_of : tuple of tuple of int
        For each task the classes that occur in it.
    """

    scenario: Scenario
    tasks: int
    shape: tuple[int, int, int]
    classes: int
    classes_of: tuple[tuple[int, ...], ...]

    def eligible(self, tasks_seen: int) -> Tensor:
        """Classes a method may predict without a task id: bool ``[classes]``.

        Class-incremental: those of the first ``tasks_seen`` tasks; otherwise all of them.
        """
        if self.scenario is not Scenario.CLASS_INCREMENTAL:
            return torch.ones(self.classes, dtype=torch.bool)
        mask = torch.zeros(self.classes, dtype=torch.bool)
        mask[[c for classes in self.classes_of[:tasks_seen] for c in classes]] = True
        return mask

    def eligible_by_task(self) -> Tensor:
        """Classes of each task: bool ``[tasks, classes]``, the mask of task-incremental heads."""
        masks = torch.zeros(self.tasks, self.classes, dtype=torch.bool)
        for task, classes in enumerate(self.classes_of):
            masks[task, list(classes)] = True
        return masks
