"""What the autoencoders of past tasks draw, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
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
        tasks = wanted.task
        rows = {task: (tasks == task).nonzero().squeeze(1) for task in sorted(set(tasks.tolist()))}
        return self._draw(wanted, rows, draws)

    def _draw(
        self, wanted: Wanted, rows: Mapping[int, Tensor | slice], draws: torch.Generator
    ) -> Batch:
        """Draw an image for each; ``rows`` are each task's own."""
        y, network = wanted.y, self.network
        z = normal(len(y), network.shared.dim, noise=draws, device=y.device)
        x = torch.empty(len(y), *self.stream.shape, dtype=torch.uint8, device=y.device)
        for task, own in rows.items():
            decoder = network.private_of(task)
            x[own] = network.leave(decoder.decode(z[own], network.condition(y[own])))
        return Batch(x, *wanted)

    def rows_of_each(self, n: int) -> dict[int, slice]:
        """Return each task's rows in what :meth:`of_each` draws: known without a look at it."""
        rows, start = {}, 0
        for task, labels in enumerate(self.stream.classes_of[: self.tasks]):
            rows[task] = slice(start, start + n * len(labels))
            start = rows[task].stop
        return rows

    @torch.no_grad()
    def of_each(self, n: int, draws: torch.Generator) -> Batch:
        """Draw ``n`` images of each class of each task, in that order."""
        return self._draw(self.learnt.each(n), self.rows_of_each(n), draws)

    @torch.no_grad()
    def rehearse(self, of_class: int, draws: torch.Generator) -> Rehearsed:
        """Draw so many images of each class of each task."""
        x, y, _, _ = self.of_each(of_class, draws)
        assert y is not None
        network, entered = self.network, self.network.enter(x)
        rows, private = self.rows_of_each(of_class), []
        for task, own in rows.items():
            autoencoder = network.private_of(task)
            z = autoencoder.encode(entered[own]).z
            private.append(autoencoder.decode(z, network.null(len(z))))
        return Rehearsed(x, y, torch.cat(private), rows)
