"""A network as ordered blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

#: Prepared pixels of an image plane that go through the blocks at once where nothing is learnt:
#: 64 images of 224 × 224.
_PIXELS_AT_ONCE = 64 * 224 * 224


class Backbone(nn.Module):
    """Ordered blocks; *depth d* is the output of the first ``d`` of them, depth 0 the images.

    Heads are no blocks. Images enter as uint8 and are scaled to [0, 1] inside, on their device, so
    that depth 0 stays one byte a value; what else a network does to its input before the first
    block happens there too, and counts as no depth.

    Parameters
    ----------
    blocks : sequence of nn.Module
        Run one after the other.
    shape : tuple of int
        ``(channels, height, width)`` of an image.
    prepare : nn.Module, optional
        Makes the first block's input of images in [0, 1]: repeats channels, resizes, normalises.

    Attributes
    ----------
    blocks : nn.ModuleList
    prepare : nn.Module or None
    shapes : tuple of tuple of int
        Shape of one item at each depth 0..D.
    frozen : int
        Number of leading blocks that no longer learn.
    """

    def __init__(
        self,
        blocks: Sequence[nn.Module],
        shape: tuple[int, int, int],
        prepare: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.prepare = prepare
        self.frozen = 0
        self.shapes = self._shapes(shape)
        # The layout in which convolutions are fastest, on CPUs and GPUs; _run() keeps to it.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _shapes(self, shape: tuple[int, int, int]) -> tuple[tuple[int, ...], ...]:
        """Find the shape at each depth with one blank image, in eval mode: no statistic moves."""
        shapes: list[tuple[int, ...]] = [shape]
        training = self.training
        self.eval()
        with torch.no_grad():
            z = torch.zeros(1, *shape)
            if self.prepare is not None:
                z = self.prepare(z)
            self._at_once = max(1, _PIXELS_AT_ONCE // math.prod(z.shape[2:]))
            for block in self.blocks:
                z = block(z)
                shapes.append(tuple(z.shape[1:]))
        self.train(training)
        return tuple(shapes)

    @property
    def depth(self) -> int:
        """Number of blocks D."""
        return len(self.blocks)

    @property
    def features(self) -> int:
        """Number of values at depth D, which is what a head reads."""
        return math.prod(self.shapes[-1])

    def head(self, classes: int, classes_of: Sequence[Sequence[int]]) -> nn.Module:
        """Make what turns values at depth D, ``[B, features]``, into logits ``[B, classes]``.

        A linear layer that all tasks share, unless a network says otherwise.

        Parameters
        ----------
        classes : int
            Size of the label space.
        classes_of : sequence of sequence of int
            For each task the classes that occur in it.
        """
        return nn.Linear(self.features, classes)

    def run(self, z: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Carry activations from depth ``start`` to depth ``stop`` (default: the last).

        Behind a ``prepare`` images may be large: without gradients, and with the blocks in eval
        mode, a batch then goes through in parts, so that memory does not grow with it.

        Parameters
        ----------
        z : Tensor
            ``[B, *shapes[start]]``; uint8 images, or floats already in [0, 1], at depth 0.
        start, stop : int
            ``0 <= start <= stop <= D``.

        Returns
        -------
        Tensor
            float ``[B, *shapes[stop]]``.

        Raises
        ------
        ValueError
            If the depths are out of order or out of range.
        """
        stop = self.depth if stop is None else stop
        if not 0 <= start <= stop <= self.depth:
            raise ValueError(
                f"cannot run from depth {start} to depth {stop} in {self.depth} blocks"
            )
        if self.prepare is None or len(z) <= self._at_once or not self._settled(start, stop):
            return self._run(z, start, stop)
        return torch.cat([self._run(part, start, stop) for part in torch.split(z, self._at_once)])

    def _settled(self, start: int, stop: int) -> bool:
        """Whether what becomes of an item does not depend on its batch, and is not learnt from."""
        learning = torch.is_grad_enabled() or any(b.training for b in self.blocks[start:stop])
        return start < stop and not learning

    def _run(self, z: Tensor, start: int, stop: int) -> Tensor:
        if z.dtype == torch.uint8:
            z = z.float().div_(255)
        if self.prepare is not None and start == 0 < stop:
            z = self.prepare(z)
        if z.ndim == 4:
            z = z.contiguous(memory_format=torch.channels_last)
        for block in self.blocks[start:stop]:
            z = block(z)
        return z

    def freeze(self, depth: int) -> None:
        """Stop the first ``depth`` blocks from learning, for good.

        Their parameters take no gradient, and they stay in eval mode whatever ``train()`` says:
        dropout off, batch-norm statistics fixed.
        """
        if not 0 <= depth <= self.depth:
            raise ValueError(f"cannot freeze {depth} of {self.depth} blocks")
        self.frozen = max(self.frozen, depth)
        for block in self.blocks[:depth]:
            block.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Switch to training mode, all but the frozen blocks."""
        super().train(mode)
        for block in self.blocks[: self.frozen]:
            block.eval()
        return self
