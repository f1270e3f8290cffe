"""Stored examples: a fair sample of everything seen, within a budget."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from methods.core.log import SILENT, Log
from methods.core.rng import Rng
from methods.core.task import Batch, Examples
from methods.memories.memory import Memory

Policy = Literal["reservoir", "class-balanced", "task-balanced"]

#: Rows read at once while a task is absorbed.
_CHUNK = 4096


class Buffer(Memory):
    """Keep at most ``size`` examples over all tasks together, or ``per_class`` of each class.

    Every example draws a random priority when it arrives, and the buffer keeps the lowest ones:
    overall (``reservoir``), or an equal share in each class or task. Within such a group the kept
    examples are at any time a uniform sample, without replacement, of all that was ever seen of
    it; shrinking a share keeps a subset. Equal in law to Vitter's reservoir (1985, algorithm R).

    Parameters
    ----------
    size : int, optional
        Budget over all past tasks together. Neither this nor ``per_class``: no limit.
    per_class : int, optional
        Budget of each class, instead of ``size``.
    policy : str
        ``reservoir``, ``class-balanced`` or ``task-balanced``.
    device : torch.device
        Where the examples are stored.
    """

    def __init__(
        self,
        size: int | None = None,
        per_class: int | None = None,
        policy: Policy = "reservoir",
        device: torch.device | str = "cpu",
    ) -> None:
        if size is not None and per_class is not None:
            raise ValueError("give size or per_class, not both")
        self.size, self.per_class = size, per_class
        self.policy: Policy = policy if per_class is None else "class-balanced"
        self.device = torch.device(device)
        self.x = torch.empty(0, dtype=torch.uint8, device=self.device)
        self.y = torch.empty(0, dtype=torch.int16, device=self.device)
        self.task = torch.empty(0, dtype=torch.int16, device=self.device)
        self.priority = torch.empty(0, dtype=torch.float32, device=self.device)

    def __len__(self) -> int:
        return len(self.priority)

    def absorb(self, new: Examples, task: int, rng: Rng, log: Log = SILENT) -> None:
        """Take in a whole task."""
        generator = rng.generator("priorities")
        for start in range(0, len(new), _CHUNK):
            rows = torch.arange(start, min(start + _CHUNK, len(new)), device=self.device)
            self.add(new.gather(rows), task, generator)

    def add(self, batch: Batch, task: int, generator: torch.Generator) -> None:
        """Take in a batch, as when learning online; the budget holds after every call."""
        assert batch.y is not None
        n = len(batch.x)
        priority = torch.rand(n, generator=generator).to(self.device)
        y = batch.y.to(torch.int16)
        tasks = torch.full((n,), task, dtype=torch.int16, device=self.device)
        keep = self._kept(
            torch.cat([self.priority, priority]),
            torch.cat([self.y, y]),
            torch.cat([self.task, tasks]),
        )
        old, fresh = keep[: len(self)], keep[len(self) :]
        x = self.x if len(self) else batch.x[:0]
        self.x = torch.cat([x[old], batch.x[fresh]])
        self.y = torch.cat([self.y[old], y[fresh]])
        self.task = torch.cat([self.task[old], tasks[fresh]])
        self.priority = torch.cat([self.priority[old], priority[fresh]])

    def _kept(self, priority: Tensor, y: Tensor, task: Tensor) -> Tensor:
        """Which of the candidates stay: bool ``[n]``."""
        if self.size is None and self.per_class is None:
            return torch.ones_like(priority, dtype=torch.bool)
        if self.policy == "reservoir":
            group = torch.zeros_like(y, dtype=torch.int64)
        else:
            group = (y if self.policy == "class-balanced" else task).long()
        _, group, available = torch.unique(group, return_inverse=True, return_counts=True)
        if self.per_class is not None:
            share = available.clamp(max=self.per_class)
        else:
            assert self.size is not None
            share = even_shares(available, self.size)
        # Rank of each candidate within its group, by priority.
        order = priority.argsort()
        order = order[group[order].argsort(stable=True)]
        start = available.cumsum(0) - available
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device) - start[group[order]]
        kept: Tensor = rank < share[group]
        return kept

    def sample(
        self,
        n: int,
        generator: torch.Generator,
        *,
        classes: tuple[int, ...] | None = None,
        task: int | None = None,
    ) -> Batch:
        """Draw ``n`` stored examples uniformly, with replacement."""
        if classes is None and task is None:
            rows, choices = None, len(self)
        else:
            fits = torch.ones(len(self), dtype=torch.bool, device=self.device)
            if classes is not None:
                fits &= torch.isin(self.y, self.y.new_tensor(classes))
            if task is not None:
                fits &= self.task == task
            rows = fits.nonzero().squeeze(1)
            choices = len(rows)
        if choices == 0:
            raise LookupError("nothing of this kind is remembered")
        index = torch.randint(choices, (n,), generator=generator).to(self.device)
        return self.gather(index if rows is None else rows[index])

    def gather(self, index: Tensor) -> Batch:
        """Return stored rows, so that a buffer can be read as :class:`Examples`."""
        return Batch(self.x[index], self.y[index].long(), self.task[index].long())

    def state_dict(self) -> dict[str, Any]:
        """Return copies of everything stored."""
        return {name: getattr(self, name).clone() for name in ("x", "y", "task", "priority")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore everything stored."""
        for name in ("x", "y", "task", "priority"):
            setattr(self, name, state[name].to(self.device, copy=True))


def even_shares(available: Tensor, total: int) -> Tensor:
    """Divide a budget among groups as evenly as their sizes allow.

    What a small group cannot use goes to the larger ones; what does not divide goes to the first.

    Parameters
    ----------
    available : Tensor
        int64 ``[G]``, members of each group.
    total : int
        The budget.

    Returns
    -------
    Tensor
        int64 ``[G]``, at most ``available``, adding up to ``min(total, available.sum())``.

    Examples
    --------
    >>> even_shares(torch.tensor([2, 50, 50]), 11).tolist()
    [2, 5, 4]
    """
    shares = torch.zeros_like(available)
    left = min(total, int(available.sum()))
    while left:
        open_groups = (shares < available).nonzero().squeeze(1)
        each = left // len(open_groups)
        if each == 0:
            shares[open_groups[:left]] += 1
            break
        given = (available - shares)[open_groups].clamp(max=each)
        shares[open_groups] += given
        left -= int(given.sum())
    return shares
