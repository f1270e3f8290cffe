"""From items as they are stored to what a generator learns, and back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from methods.core.task import Examples

_CHUNK = 4096
#: A dimension that hardly varies is divided by this share of the typical deviation instead.
_LEAST = 0.1
#: Where nothing varies at all.
_FLAT = 1e-6


class Units:
    """Units in which a generator sees items.

    Images are divided by 255. Activations are flattened and standardised, each dimension by its
    mean and deviation over all items absorbed so far; a dimension that hardly varied, because a
    unit was silent, by a tenth of the typical deviation.

    Parameters
    ----------
    device : torch.device
    clamp : bool
        Whether drawn activations are cut to the range that items had in each dimension.
    """

    def __init__(self, device: torch.device, clamp: bool = True) -> None:
        self.device, self.clamp = device, clamp
        self.shape: tuple[int, ...] = ()
        self.images = False
        self.count = 0
        # Of each dimension, float [D]; None for images.
        self.mean: Tensor | None = None
        self.variance: Tensor | None = None
        self.deviation: Tensor | None = None  # what is divided by
        self.low: Tensor | None = None
        self.high: Tensor | None = None

    @property
    def item(self) -> tuple[int, ...]:
        """Shape of an item as the generator sees it."""
        return self.shape if self.images else (int(torch.Size(self.shape).numel()),)

    def absorb(self, new: Examples) -> None:
        """Take the statistics of a task's items into account."""
        rows = torch.arange(len(new), device=self.device)
        for part in torch.split(rows, _CHUNK):
            x = new.gather(part).x
            self.shape, self.images = tuple(x.shape[1:]), x.dtype == torch.uint8
            if self.images:
                return
            self._merge(x.flatten(1).float())
        assert self.variance is not None
        least = _LEAST * self.variance.mean().sqrt()
        self.deviation = self.variance.sqrt().maximum(least).clamp_(min=_FLAT)

    def _merge(self, x: Tensor) -> None:
        mean, variance = x.mean(0), x.var(0, correction=0)
        low, high = x.amin(0), x.amax(0)
        n = len(x)
        if self.mean is None:
            self.mean, self.variance, self.low, self.high = mean, variance, low, high
        else:
            assert self.variance is not None
            assert self.low is not None
            assert self.high is not None
            share = n / (self.count + n)
            gap = mean - self.mean
            self.variance = self.variance.lerp(variance, share) + share * (1 - share) * gap.square()
            self.mean = self.mean + share * gap
            self.low, self.high = self.low.minimum(low), self.high.maximum(high)
        self.count += n

    def enter(self, x: Tensor) -> Tensor:
        """Return items in the generator's units: float ``[B, *item]``."""
        if self.images:
            return x.float().div_(255)
        assert self.mean is not None
        assert self.deviation is not None
        return (x.flatten(1) - self.mean).div_(self.deviation)

    def leave(self, x: Tensor) -> Tensor:
        """Return a generator's draws as items: uint8 images, or float activations."""
        if self.images:
            return x.clamp(0, 1).mul_(255).round_().to(torch.uint8)
        assert self.mean is not None
        assert self.deviation is not None
        x = torch.addcmul(self.mean, x, self.deviation)
        if self.clamp:
            x = x.clamp_(self.low, self.high)
        return x.view(len(x), *self.shape)

    def state_dict(self) -> dict[str, Any]:
        """Return copies of everything."""
        return {
            name: value.clone() if isinstance(value, Tensor) else value
            for name, value in vars(self).items()
            if name not in ("device", "clamp")
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore everything."""
        for name, value in state.items():
            moved = isinstance(value, Tensor)
            setattr(self, name, value.to(self.device, copy=True) if moved else value)
