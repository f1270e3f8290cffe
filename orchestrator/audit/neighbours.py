"""Distances to the nearest of many real items, in a random projection."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.core.rng import Rng

#: Dimensions that items are projected to. Distances keep their ratios to about a tenth (Johnson &
#: Lindenstrauss 1984), and 0 stays 0.
_DIMENSIONS = 64
#: Items that are compared at once.
_CHUNK = 8192
#: Squared distances below this share of the squared lengths are rounding errors.
_ROUNDING = 1e-5


class Neighbours:
    """Real items that new ones are compared with, more of them after each task."""

    def __init__(self) -> None:
        self._projection: Tensor | None = None
        self._parts: list[Tensor] = []

    def project(self, z: Tensor) -> Tensor:
        """Return items as float ``[N, 64]``, or as they are where they have fewer values.

        Parameters
        ----------
        z : Tensor
            ``[N, ...]``; uint8 counts as in [0, 1].
        """
        flat = z.flatten(1).float()
        if z.dtype == torch.uint8:
            flat = flat / 255
        if flat.shape[1] <= _DIMENSIONS:
            return flat
        if self._projection is None:
            generator = Rng(0, "audit").generator("projection")
            drawn = torch.randn(flat.shape[1], _DIMENSIONS, generator=generator)
            self._projection = (drawn / _DIMENSIONS**0.5).to(z.device)
        return flat @ self._projection

    def add(self, projected: Tensor) -> None:
        """Add real items, float ``[N, 64]`` as :meth:`project` returns them."""
        self._parts += torch.split(projected, _CHUNK)

    def distances(self, projected: Tensor) -> Tensor:
        """Return the distances to the nearest real item and the next one: float ``[N, 2]``."""
        own = projected.square().sum(1, keepdim=True)
        best = torch.full((len(projected), 2), torch.inf, device=projected.device)
        for part in self._parts:
            lengths = part.square().sum(1)
            without_own = torch.addmm(lengths.expand(len(own), -1), projected, part.T, alpha=-2)
            some, at = without_own.topk(min(2, len(part)), 1, largest=False)
            some = some + own
            some = some.masked_fill(some < _ROUNDING * (own + lengths[at]), 0.0)
            best = torch.cat([best, some], 1).topk(2, 1, largest=False).values
        return best.sqrt()
