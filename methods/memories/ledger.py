"""How many items of which task and class a generator has absorbed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from methods.core.task import Examples
from methods.memories.mixture import stratified
from methods.memories.reading import read_labels


def items_of(task: Tensor, count: Tensor) -> dict[int, int]:
    """Return the tasks, oldest first, with the number of items of each: of int64 ``[G]`` each."""
    items: dict[int, int] = {}
    for each, number in zip(task.tolist(), count.tolist(), strict=True):
        items[each] = items.get(each, 0) + number
    return items


def classes_of(task: Tensor, label: Tensor) -> dict[int, tuple[int, ...]]:
    """Return the classes of each task, in ascending order: of int64 ``[G]`` each."""
    return {
        each: tuple(sorted(label[task == each].tolist())) for each in dict.fromkeys(task.tolist())
    }


def chances_of(
    task: Tensor,
    label: Tensor,
    count: Tensor,
    classes: tuple[int, ...] | None = None,
    only: int | None = None,
    weights: Mapping[int, float] | None = None,
) -> Tensor:
    """Return how often each pair of a task and a class is to be drawn: float64 ``[G]``, relative.

    Parameters
    ----------
    task, label, count : Tensor
        int64 ``[G]``, of each pair its number of items.
    classes, only, weights
        Classes, task and weights of tasks as for :meth:`Ledger.draw`.

    Raises
    ------
    LookupError
        If nothing fits.
    """
    chances = count.double()
    if weights is not None:
        items = items_of(task, count)
        shares = [weights.get(each, 0.0) / items[each] for each in task.tolist()]
        chances *= torch.tensor(shares, dtype=torch.float64)
    if classes is not None:
        chances *= torch.isin(label, torch.tensor(classes, dtype=torch.int64))
    if only is not None:
        chances *= task == only
    if not chances.any():
        raise LookupError("nothing of this kind is remembered")
    return chances


class Ledger:
    """Counts of items by task and class; it holds no item.

    Attributes
    ----------
    task, label, count : Tensor
        int64 ``[G]`` on the CPU: of each pair of a task and a class in it the number of items.
    """

    def __init__(self) -> None:
        self.task, self.label, self.count = torch.empty(3, 0, dtype=torch.int64).unbind()

    def add(self, new: Examples, task: int, device: torch.device) -> None:
        """Count the items of a task."""
        labels, counts = torch.unique(read_labels(new, device), return_counts=True)
        self.task = torch.cat([self.task, torch.full((len(labels),), task)])
        self.label = torch.cat([self.label, labels.cpu()])
        self.count = torch.cat([self.count, counts.cpu()])

    @property
    def tasks(self) -> dict[int, int]:
        """The tasks, oldest first, with the number of items of each one."""
        return items_of(self.task, self.count)

    @property
    def classes_of(self) -> dict[int, tuple[int, ...]]:
        """The classes of each task, in ascending order."""
        return classes_of(self.task, self.label)

    @property
    def newest(self) -> Tensor:
        """The classes of the task that was added last: int64 ``[C]`` on the CPU."""
        return self.label[self.task == self.task[-1]]

    def draw(
        self,
        n: int,
        generator: torch.Generator,
        *,
        classes: tuple[int, ...] | None = None,
        task: int | None = None,
        weights: Mapping[int, float] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Draw the class and the task of ``n`` items, as often as they were absorbed.

        Parameters
        ----------
        n : int
        generator : torch.Generator
        classes : tuple of int, optional
            These alone.
        task : int, optional
            This one alone.
        weights : mapping of int to float, optional
            How often each task comes, in proportion; by default as often as it had items.

        Returns
        -------
        tuple of Tensor
            Classes and tasks, each int64 ``[n]`` on the CPU.

        Raises
        ------
        LookupError
            If nothing that fits was absorbed.
        """
        chances = chances_of(self.task, self.label, self.count, classes, task, weights)
        rows = stratified(chances, n, generator)
        return self.label[rows], self.task[rows]

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all counts."""
        return {name: value.clone() for name, value in vars(self).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore all counts."""
        for name, value in state.items():
            setattr(self, name, value.to("cpu", copy=True))
