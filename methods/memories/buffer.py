"""Stored examples: a selection of everything seen, within a budget."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from methods.core.config import Config
from methods.core.log import SILENT, Log
from methods.core.rng import Rng
from methods.core.task import Batch, Examples
from methods.memories.herding import herding_order
from methods.memories.memory import Memory, Setting
from methods.memories.reading import read, read_labels
from methods.memories.shares import even_shares

Policy = Literal["random", "reservoir", "class-balanced", "task-balanced", "herding"]

#: Rows read at once while a task is absorbed.
_CHUNK = 4096
_STATE = ("x", "y", "task", "priority")


class Buffer(Memory):
    """Keep at most ``size`` examples over all tasks together, or ``per_class`` of each class.

    With ``reservoir``, ``class-balanced`` and ``task-balanced`` every example draws a random
    priority when it arrives, and the buffer keeps the lowest ones: overall, or an equal share in
    each class or task. Within such a group the kept examples are at any time a uniform sample,
    without replacement, of all that was ever seen of it; shrinking a share keeps a subset. Equal in
    law to Vitter's reservoir (1985, algorithm R).

    With ``herding`` the priority is the place in the order of :func:`herding_order` within the
    class and task; those groups have equal shares (Rebuffi et al. 2017, Algorithms 4 and 5).

    With ``random`` min(⌊size / t⌋, N) random ones of the N examples of the t-th task overwrite as
    many random ones, once the buffer is full: the way of latent replay (Pellegrini et al. 2020,
    Algorithm 1). Tasks of equal size then have equal shares on average.

    The logits that a network gave for an example are kept beside it where they come with it: with
    all examples of a buffer, or with none.

    Parameters
    ----------
    size : int, optional
        Budget over all past tasks together. Neither this nor ``per_class``: no limit.
    per_class : int, optional
        Budget of each class, instead of ``size``. The policy then is ``class-balanced``, or
        ``herding``, where the tasks of a class divide its budget evenly.
    policy : str
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
        if per_class is not None and policy == "random":
            raise ValueError("the policy random has no budget of each class: give size")
        self.size, self.per_class = size, per_class
        herding = policy == "herding"
        self.policy: Policy = policy if per_class is None or herding else "class-balanced"
        self.wants_features = herding
        self.device = torch.device(device)
        self.x = torch.empty(0, dtype=torch.uint8, device=self.device)
        self.y = torch.empty(0, dtype=torch.int16, device=self.device)
        self.task = torch.empty(0, dtype=torch.int16, device=self.device)
        self.priority = torch.empty(0, dtype=torch.float32, device=self.device)
        #: float ``[N, classes]``, or None where examples come without.
        self.logits: Tensor | None = None

    def __len__(self) -> int:
        return len(self.priority)

    # Filling -------------------------------------------------------------------------------------

    def absorb(
        self,
        new: Examples,
        task: int,
        rng: Rng,
        log: Log = SILENT,
        *,
        features: Tensor | None = None,
    ) -> None:
        """Take in a whole task.

        Raises
        ------
        ValueError
            With ``herding``, if ``features`` are missing or not one row an example.
        """
        match self.policy:
            case "random":
                self._overwrite(new, task, rng.generator("slots"))
            case "herding":
                if features is None or len(features) != len(new):
                    raise ValueError("herding needs features, one row for each example")
                self._herd(new, task, features)
            case _:
                generator = rng.generator("priorities")
                for start in range(0, len(new), _CHUNK):
                    stop = min(start + _CHUNK, len(new))
                    rows = torch.arange(start, stop, device=self.device)
                    self._select(new.gather(rows), task, generator)

    def add(self, batch: Batch, task: int, generator: torch.Generator) -> None:
        """Take in a batch, as when learning online; the budget holds after every call.

        Once it is full, a ``reservoir`` changes in place, at the price of the few rows that come
        in. Which examples stay is the same as in :meth:`absorb`, their order is not.

        Raises
        ------
        ValueError
            If the policy selects from whole tasks: ``random`` and ``herding``; or if some examples
            come with logits and others without.
        """
        if self.policy in ("random", "herding"):
            raise ValueError(
                f"the policy {self.policy} selects from a whole task: use absorb, or another policy"
            )
        if self.policy == "reservoir" and len(self) == self.size:
            self._replace(batch, task, generator)
        else:
            self._select(batch, task, generator)

    def _select(self, batch: Batch, task: int, generator: torch.Generator) -> None:
        """Take in a batch: first what stays of the old, then what stays of the new."""
        y, tasks, priority = self._arriving(batch, task, generator)
        if self.size is not None and len(self) + len(y) <= self.size:
            self._append(batch.x, y, tasks, priority, batch.logits)
            return
        keep = self._kept(
            torch.cat([self.priority, priority]),
            torch.cat([self.y, y]),
            torch.cat([self.task, tasks]),
        )
        old, fresh = keep[: len(self)], keep[len(self) :]
        self.keep(old)
        logits = None if batch.logits is None else batch.logits[fresh]
        self._append(batch.x[fresh], y[fresh], tasks[fresh], priority[fresh], logits)

    def _replace(self, batch: Batch, task: int, generator: torch.Generator) -> None:
        """Take in a batch where the lowest priorities of all stay: its own overwrite the highest.

        The i-th lowest of the batch comes in if it is below the i-th highest that is stored.
        """
        y, tasks, priority = self._arriving(batch, task, generator)
        n = min(len(priority), len(self))
        new, rows = priority.topk(n, largest=False)
        old, slots = self.priority.topk(n)
        enters = new < old
        rows, slots = rows[enters], slots[enters]
        arriving = (batch.x, y, tasks, priority, batch.logits)
        for name, column in zip((*_STATE, "logits"), arriving, strict=True):
            if column is not None:
                getattr(self, name)[slots] = column[rows]

    def _arriving(
        self, batch: Batch, task: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return labels, tasks and random priorities as they are stored, each ``[B]``."""
        assert batch.y is not None
        self._require_logits_like(batch.logits)
        priority = torch.rand(len(batch.x), generator=generator).to(self.device)
        y = batch.y.to(torch.int16)
        return y, torch.full_like(y, task), priority

    def put(self, batch: Batch) -> None:
        """Add items with their tasks, whatever the budget and the policy; -1 where unknown."""
        unknown = torch.full((len(batch.x),), -1, dtype=torch.int16, device=self.device)
        y = unknown if batch.y is None else batch.y.to(torch.int16)
        task = unknown if batch.task is None else batch.task.to(torch.int16)
        self._append(batch.x, y, task, torch.zeros(len(y), device=self.device), batch.logits)

    def keep(self, rows: Tensor) -> None:
        """Drop all examples but some: bool ``[len(self)]``, or int64 row numbers."""
        for name in self._columns():
            setattr(self, name, getattr(self, name)[rows])

    def _columns(self) -> tuple[str, ...]:
        return _STATE if self.logits is None else (*_STATE, "logits")

    def _require_logits_like(self, logits: Tensor | None) -> None:
        if len(self) and (logits is None) != (self.logits is None):
            raise ValueError("all examples of a buffer come with logits, or none")

    def _append(
        self,
        x: Tensor,
        y: Tensor,
        task: Tensor,
        priority: Tensor,
        logits: Tensor | None = None,
    ) -> None:
        self._require_logits_like(logits)
        if logits is None:
            self.logits = None
        else:
            before = logits[:0] if self.logits is None else self.logits
            self.logits = torch.cat([before, logits])
        self.x = torch.cat([self.x if len(self) else x[:0], x])
        self.y = torch.cat([self.y, y])
        self.task = torch.cat([self.task, task])
        self.priority = torch.cat([self.priority, priority])

    def _kept(self, priority: Tensor, y: Tensor, task: Tensor) -> Tensor:
        """Which of the candidates stay: bool ``[n]``."""
        if self.size is None and self.per_class is None:
            return torch.ones_like(priority, dtype=torch.bool)
        group, available, share = self._shares(y, task)
        # Rank of each candidate within its group, by priority.
        order = priority.argsort()
        order = order[group[order].argsort(stable=True)]
        start = available.cumsum(0) - available
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order), device=order.device) - start[group[order]]
        kept: Tensor = rank < share[group]
        return kept

    def _shares(self, y: Tensor, task: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the group of each candidate ``[n]``, and each group's size and share ``[G]``."""
        match self.policy:
            case "reservoir":
                key = torch.zeros_like(y, dtype=torch.int64)
            case "class-balanced":
                key = y.long()
            case "task-balanced":
                key = task.long()
            case _:
                key = task.long() << 16 | y.long()
        keys, group, available = torch.unique(key, return_inverse=True, return_counts=True)
        if self.size is not None:
            return group, available, even_shares(available, self.size)
        if self.per_class is None:
            return group, available, available
        if self.policy == "class-balanced":
            return group, available, available.clamp(max=self.per_class)
        share, classes = torch.empty_like(available), keys & 0xFFFF
        for label in torch.unique(classes):
            of_class = classes == label
            share[of_class] = even_shares(available[of_class], self.per_class)
        return group, available, share

    def _herd(self, new: Examples, task: int, features: Tensor) -> None:
        y = read_labels(new, self.device).to(torch.int16)
        tasks = torch.full_like(y, task)
        group, _, shares = self._shares(torch.cat([self.y, y]), torch.cat([self.task, tasks]))
        old, fresh = group[: len(self)], group[len(self) :]
        self.keep(self.priority < shares[old])
        chosen, places = [], []
        for one in torch.unique(fresh):
            rows = (fresh == one).nonzero().squeeze(1)
            order = herding_order(features[rows], int(shares[one]))
            chosen.append(rows[order])
            places.append(torch.arange(len(order), dtype=torch.float32, device=self.device))
        if not chosen:
            return
        rows = torch.cat(chosen)
        self._append(read(new, rows)[0], y[rows], tasks[rows], torch.cat(places))

    def _overwrite(self, new: Examples, task: int, generator: torch.Generator) -> None:
        n = len(new)
        n = n if self.size is None else min(self.size // (task + 1), n)
        if not n:
            return
        free = n if self.size is None else self.size - len(self)
        rows = torch.randperm(len(new), generator=generator)[:n].to(self.device)
        slots = torch.randperm(len(self), generator=generator)[: max(n - free, 0)].to(self.device)
        x, labels = read(new, rows)
        y = labels.to(torch.int16)
        tasks = torch.full_like(y, task)
        k = len(slots)
        if k:
            self.x[slots], self.y[slots], self.task[slots] = x[:k], y[:k], tasks[:k]
        self._append(x[k:], y[k:], tasks[k:], torch.zeros(n - k, device=self.device))

    # Reading -------------------------------------------------------------------------------------

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
        logits = None if self.logits is None else self.logits[index]
        return Batch(self.x[index], self.y[index].long(), self.task[index].long(), logits)

    def state_dict(self) -> dict[str, Any]:
        """Return copies of everything stored."""
        return {name: getattr(self, name).clone() for name in self._columns()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore everything stored."""
        self.logits = None
        for name in (*_STATE, *({"logits"} & state.keys())):
            setattr(self, name, state[name].to(self.device, copy=True))


class BufferConfig(Config):
    """Stored items."""

    name: Literal["buffer"] = "buffer"
    policy: Policy = "class-balanced"
    """Which items stay: ``random`` (a new task's overwrite random ones), ``reservoir``,
    ``class-balanced``, ``task-balanced``, or ``herding`` (the nearest to the class mean)."""

    @property
    def labelled(self) -> bool:
        """Whether items come with their classes."""
        return True

    @property
    def stores(self) -> bool:
        """Whether a budget of stored items has a meaning."""
        return True

    def build(self, setting: Setting) -> Buffer:
        """Make an empty buffer.

        Raises
        ------
        ValueError
            If both budgets are given, or ``per_class`` to a policy that is not one of classes.
        """
        size, per_class = setting.size, setting.per_class
        if per_class is not None and self.policy not in ("class-balanced", "herding"):
            raise ValueError(
                f"per_class is a class-balanced budget, which the policy {self.policy} is not"
            )
        return Buffer(size, per_class, self.policy, setting.device)
