"""Real items of a stream, which replayed ones are compared with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from methods.core.rng import Rng
from methods.core.task import Batch
from orchestrator.data.streams import TaskStream

#: Training images that are held, and their bytes.
_MOST_HELD, _MOST_BYTES = 60_000, 512 << 20


@dataclass(frozen=True)
class RealItems:
    """Training images of all tasks of a stream, task by task; of large tasks a random part.

    Attributes
    ----------
    x : Tensor
        uint8 ``[N, C, H, W]``.
    y : Tensor
        int64 ``[N]``.
    held, sizes : tuple of int
        Images of each task that are here, and that it has.
    """

    x: Tensor
    y: Tensor
    held: tuple[int, ...]
    sizes: tuple[int, ...]

    def of_task(self, task: int) -> Tensor:
        """Return the images of a task."""
        start = sum(self.held[:task])
        return self.x[start : start + self.held[task]]

    def frequencies(self, tasks: int, classes: int) -> Tensor:
        """Return how frequent each class is in the first tasks: float64 ``[classes]``, sum 1."""
        found = torch.zeros(classes, dtype=torch.float64)
        labels = torch.split(self.y.cpu(), list(self.held))
        for y, held, size in zip(labels, self.held, self.sizes, strict=True):
            tasks -= 1
            if tasks >= 0:
                found += y.bincount(minlength=classes).double() * (size / held)
        return found / found.sum()

    def sample(self, tasks: int, n: int, generator: torch.Generator) -> Batch:
        """Return about ``n`` images of the first tasks, by their sizes, in random order."""
        shares = _shares(self.sizes[:tasks], self.held[:tasks], n)
        parts, start = [], 0
        for share, held in zip(shares, self.held, strict=False):
            parts.append(start + torch.randperm(held, generator=generator)[:share])
            start += held
        rows = torch.cat(parts)
        rows = rows[torch.randperm(len(rows), generator=generator)].to(self.x.device)
        return Batch(self.x[rows], self.y[rows])


# One: a sweep goes through its streams one after the other.
@lru_cache(maxsize=1)
def real_items(stream: TaskStream) -> RealItems:
    """Hold training images of a stream, evenly over its tasks."""
    most = min(_MOST_HELD, _MOST_BYTES // math.prod(stream.info.shape))
    share = max(1, most // stream.info.tasks)
    parts, sizes = [], []
    for index in range(stream.info.tasks):
        train = stream.task(index).train
        generator = Rng(0, "audit").at(index).generator("real items")
        rows = torch.randperm(len(train), generator=generator)[:share].sort().values
        parts.append(train.gather(rows.to(stream.device)))
        sizes.append(len(train))
    x, y = (torch.cat([part[i] for part in parts]) for i in range(2))  # type: ignore[misc]
    return RealItems(x, y, tuple(len(part.x) for part in parts), tuple(sizes))


def sampled_tests(stream: TaskStream, tasks: int, n: int, generator: torch.Generator) -> Batch:
    """Return about ``n`` test images of the first tasks, by their sizes, in random order.

    Within a task they are always the same, spread evenly over its test data.
    """
    sizes = [len(stream.test(task)) for task in range(tasks)]
    parts = [
        stream.test(task).gather(torch.arange(share, device=stream.device) * sizes[task] // share)
        for task, share in enumerate(_shares(sizes, sizes, n))
    ]
    x, y = (torch.cat([part[i] for part in parts]) for i in range(2))  # type: ignore[misc]
    order = torch.randperm(len(x), generator=generator).to(x.device)
    return Batch(x[order], y[order])


def _shares(sizes: Sequence[int], most: Sequence[int], n: int) -> list[int]:
    """Divide ``n`` in proportion to sizes, at least 1 each, at most what there is."""
    whole = sum(sizes)
    return [
        min(there, max(1, round(n * size / whole))) for size, there in zip(sizes, most, strict=True)
    ]
