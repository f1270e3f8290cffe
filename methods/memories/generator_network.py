"""The contract of a network that learns to draw items."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class Labelled(NamedTuple):
    """Items in the units of a generator: float ``[B, *shape]``; classes int64 ``[B]``, or None.

    Classes are given to networks that are conditioned on them, and to no others. ``z`` is what the
    last H of rehearsed items were drawn from, float ``[H, latents]``, for networks that are
    :attr:`aligned <GeneratorNetwork.aligned>`: those that are to be held in place.
    """

    x: Tensor
    y: Tensor | None
    z: Tensor | None = None

    def parted(self) -> tuple[Labelled | None, Labelled | None]:
        """Return items without latents, and those with; None where there are none."""
        if self.z is None or not len(self.z):
            return Labelled(self.x, self.y), None
        first = len(self.x) - len(self.z)
        if not first:
            return None, self
        assert self.y is not None
        shown = Labelled(self.x[:first], self.y[:first])
        return shown, Labelled(self.x[first:], self.y[first:], self.z)


class GeneratorNetwork(nn.Module, ABC):
    """Learns to draw items like those that it is shown.

    Items are images in [0, 1], ``[B, C, H, W]``, or standardised activations, ``[B, D]``: see
    :class:`~methods.memories.units.Units`.

    Parameters
    ----------
    shape : tuple of int
        Of an item: ``(C, H, W)`` or ``(D,)``.
    classes : int
        Size of the label space that draws are conditioned on; 0 where they are not.

    Attributes
    ----------
    shape, classes
    images : bool
        Whether items are images.
    """

    def __init__(self, shape: tuple[int, ...], classes: int = 0) -> None:
        super().__init__()
        self.shape, self.classes = shape, classes
        self.images = len(shape) == 3

    @property
    def aligned(self) -> bool:
        """Whether it is given latents of old items, which :meth:`draw_of` makes, to hold them.

        In :meth:`step`, of items whose class is not among those of the task at hand.
        """
        return False

    def parts(self) -> Mapping[str, nn.Module]:
        """Name the parts that have an optimiser each; :meth:`step` is given one for each name."""
        return {"generator": self}

    def initialise_from(self, x: Tensor, noise: torch.Generator) -> None:
        """See items that the first task has, float ``[N, *shape]``, once, before learning."""

    @abstractmethod
    def step(
        self,
        new: Labelled,
        old: Labelled | None,
        weight: float,
        optimizers: Mapping[str, torch.optim.Optimizer],
        noise: torch.Generator,
    ) -> dict[str, Tensor]:
        """Learn from one batch.

        Parameters
        ----------
        new : Labelled
            Items of the task at hand.
        old : Labelled, optional
            Rehearsed ones, drawn from the network as it was before the task.
        weight : float
            Of the loss on new items; that on old ones has the rest.
        optimizers : mapping
            By the names of :meth:`parts`.
        noise : torch.Generator
            On the CPU.

        Returns
        -------
        dict
            Detached terms of the loss, by name.
        """

    @abstractmethod
    def draw(self, n: int, y: Tensor | None, noise: torch.Generator) -> Tensor:
        """Draw ``n`` items, float ``[n, *shape]``, of classes ``y`` where it is conditional.

        Changes nothing, batch statistics included; gradients are off, and :meth:`eval` is on.
        """

    def draw_of(self, n: int, y: Tensor | None, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw as :meth:`draw` does; return latents, float ``[n, latents]``, and items.

        Raises
        ------
        TypeError
            If the network is not :attr:`aligned`.
        """
        raise TypeError(f"{type(self).__name__} draws of no latents that it could tell")

    def condition(self, y: Tensor | None, like: Tensor) -> Tensor:
        """Append to rows float ``[B, F]`` their class, one-hot: ``[B, F + classes]``."""
        if not self.classes:
            return like
        assert y is not None
        return torch.cat([like, functional.one_hot(y, self.classes).to(like.dtype)], 1)


class LikelihoodNetwork(GeneratorNetwork):
    """A generator with one loss for each item, such as a negative log-likelihood."""

    @abstractmethod
    def losses(self, x: Tensor, y: Tensor | None, noise: torch.Generator) -> dict[str, Tensor]:
        """Return terms of the loss of each item: float ``[B]`` by name."""

    def step(
        self,
        new: Labelled,
        old: Labelled | None,
        weight: float,
        optimizers: Mapping[str, torch.optim.Optimizer],
        noise: torch.Generator,
    ) -> dict[str, Tensor]:
        """Minimise the weighted means of the losses of new and old items, in one pass."""
        x, y = new.x, new.y
        if old is not None:
            x = torch.cat([x, old.x])
            y = None if y is None or old.y is None else torch.cat([y, old.y])
        n, means = len(new.x), {}
        for name, each in self.losses(x, y, noise).items():
            mean = each[:n].mean()
            means[name] = mean if old is None else mean.lerp(each[n:].mean(), 1 - weight)
        optimizer = optimizers["generator"]
        optimizer.zero_grad()
        torch.stack(list(means.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return {name: mean.detach() for name, mean in means.items()}


def normal(*size: int, noise: torch.Generator, device: torch.device) -> Tensor:
    """Draw standard normal numbers on the CPU, the same whatever the device."""
    return torch.randn(*size, generator=noise).to(device, non_blocking=True)
