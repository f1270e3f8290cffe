"""The classes and tasks that a stream has had so far, to choose from what is to be drawn."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from methods.core.task import StreamInfo


class Wanted(NamedTuple):
    """Class and task of each item that is to be drawn, both int64 ``[B]``."""

    y: Tensor
    task: Tensor


class Learnt:
    """Each class with each task that it occurs in, of the first tasks of a stream.

    Parameters
    ----------
    stream : StreamInfo
    tasks : int
        How many of its tasks.
    device : torch.device
        Where choices are needed.

    Attributes
    ----------
    pairs : Tensor
        int64 ``[P, 2]``, classes and tasks, oldest tasks first.
    """

    def __init__(self, stream: StreamInfo, tasks: int, device: torch.device) -> None:
        seen = stream.classes_of[:tasks]
        pairs = [(label, task) for task, labels in enumerate(seen) for label in labels]
        self.pairs = torch.tensor(pairs, dtype=torch.int64, device=device).reshape(-1, 2)

    def each(self, n: int) -> Wanted:
        """Return each pair ``n`` times, one pair after the other, oldest tasks first."""
        return Wanted(*self.pairs.repeat_interleave(n, 0).unbind(1))

    def choose(
        self,
        n: int,
        draws: torch.Generator,
        *,
        classes: tuple[int, ...] | None = None,
        task: int | None = None,
    ) -> Wanted:
        """Choose what to draw, evenly over pairs in expectation, in random order.

        Where the number P of pairs that fit divides ``n``, each comes ``n / P`` times. Otherwise
        ``n`` places of ``⌈n / P⌉`` rounds over all pairs are chosen at random, so that counts may
        differ by more than one: eight of five pairs may be 2, 2, 0, 2 and 2 of them.

        Raises
        ------
        LookupError
            If nothing that fits has been learnt.
        """
        pairs = self.pairs
        if classes is not None:
            pairs = pairs[torch.isin(pairs[:, 0], pairs.new_tensor(classes))]
        if task is not None:
            pairs = pairs[pairs[:, 1] == task]
        if not len(pairs):
            raise LookupError(f"nothing has been learnt of classes {classes}, task {task}")
        rounds = -(-n // len(pairs))
        order = torch.randperm(rounds * len(pairs), generator=draws, device=draws.device)[:n]
        return Wanted(*pairs[order.to(pairs.device) % len(pairs)].unbind(1))
