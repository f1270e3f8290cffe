"""What the autoencoders of past tasks draw, and what is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from methods.core.learnt import Learnt, Wanted
from methods.core.task import Batch, StreamInfo
from methods.memories.generator_network import normal
from methods.shared_private.network import SharedPrivateNetwork


class Rehearsed(NamedTuple):
    """Drawn images, those of one task after those of another.

    ``x`` is uint8 ``[B, C, H, W]``, ``y`` int64 ``[B]``. ``private``, float ``[B, C, H, W]``, is
    what the autoencoder that drew an image reconstructs of it. ``rows`` says which images are a
    task's own.
    """

    x: Tensor
    y: Tensor
    private: Tensor
    rows: dict[int, slice]


@dataclass(frozen=True)
class Past:
    """The first tasks of a stream, as their own autoencoders know them.

    Parameters
    ----------
    network : SharedPrivateNetwork
    stream : StreamInfo
    tasks : int
        How many of them.
    """

    network: SharedPrivateNetwork
    stream: StreamInfo
    tasks: int

    @cached_property
    def learnt(self) -> Learnt:
        """The classes and tasks that can be drawn."""
        return Learnt(self.stream, self.tasks, self.network.classes_of.device)

    @torch.no_grad()
    def draw(self, wanted: Wanted, draws: torch.Generator) -> Batch:
        """Draw an image for each, with the decoder of its task."""
        y, tasks = wanted
        network = self.network
        z = normal(len(y), network.shared.dim, noise=draws, device=y.device)
        x = torch.empty(len(y), *self.stream.shape, dtype=torch.uint8, device=y.device)
        for task in sorted(set(tasks.tolist())):
            rows = (tasks == task).nonzero().squeeze(1)
            decoder = network.private_of(task)
            x[rows] = network.leave(decoder.decode(z[rows], network.condition(y[rows])))
        return Batch(x, y, tasks)

    def of_each(self, n: int, draws: torch.Generator) -> Batch:
        """Draw ``n`` images of each class of each task, in that order."""
        return self.draw(self.learnt.each(n), draws)

    @torch.no_grad()
    def rehearse(self, of_class: int, draws: torch.Generator) -> Rehearsed:
        """Draw so many images of each class of each task."""
        x, y, _, _ = self.of_each(of_class, draws)
        assert y is not None
        network, entered = self.network, self.network.enter(x)
        rows, private, start = {}, [], 0
        for task, labels in enumerate(self.stream.classes_of[: self.tasks]):
            own = slice(start, start + of_class * len(labels))
            autoencoder = network.private_of(task)
            z = autoencoder.encode(entered[own]).z
            private.append(autoencoder.decode(z, network.null(len(z))))
            rows[task], start = own, own.stop
        return Rehearsed(x, y, torch.cat(private), rows)
