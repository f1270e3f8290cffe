"""What the autoencoders of past tasks draw, and what is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

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
    def pairs(self) -> Tensor:
        """Each class with each task that it occurs in, in the order of tasks: int64 ``[P, 2]``."""
        seen = self.stream.classes_of[: self.tasks]
        pairs = [(label, task) for task, labels in enumerate(seen) for label in labels]
        device = self.network.classes_of.device
        return torch.tensor(pairs, dtype=torch.int64, device=device).reshape(-1, 2)

    def choose(
        self,
        n: int,
        draws: torch.Generator,
        classes: tuple[int, ...] | None = None,
        task: int | None = None,
    ) -> Tensor:
        """Choose what to draw, evenly over classes and tasks, in random order: ``[n, 2]``.

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
        order = torch.randperm(rounds * len(pairs), generator=draws)[:n]
        return pairs[order.to(pairs.device) % len(pairs)]

    @torch.no_grad()
    def draw(self, wanted: Tensor, draws: torch.Generator) -> Batch:
        """Draw an image for each class and task, int64 ``[n, 2]``."""
        y, tasks = wanted.unbind(1)
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
        return self.draw(self.pairs.repeat_interleave(n, 0), draws)

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
