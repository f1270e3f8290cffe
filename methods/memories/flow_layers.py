"""Invertible layers on vectors, each with the logarithm of its volume change."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Invertible(nn.Module, ABC):
    """A bijection of rows float ``[B, D]``, perhaps a different one for each condition."""

    @abstractmethod
    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the image of rows, and log |det| of the Jacobian of each: float ``[B]``."""

    @abstractmethod
    def inverse(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Return what :meth:`forward` has made rows of."""


class ActNorm(Invertible):
    """Scale and shift each dimension (Kingma & Dhariwal 2018, arXiv:1807.03039, section 3.1).

    The first batch that it ever sees, in training, it makes standard: that is where learning
    starts. Whether that has happened is part of its state.
    """

    started: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scale and shift."""
        if self.training and not self.started:
            self._start(x)
        return (x + self.shift) * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        self.shift.copy_(-x.mean(0))
        self.log_scale.copy_(-x.std(0, correction=0).clamp_(min=1e-3).log())
        self.started.fill_(True)

    def inverse(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Undo both."""
        return x * (-self.log_scale).exp() - self.shift


class Permutation(Invertible):
    """Put dimensions in another order, random and fixed; part of the state."""

    order: Tensor
    back: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        order = torch.randperm(dim)
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Reorder."""
        return x[:, self.order], x.new_zeros(len(x))

    def inverse(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Reorder back."""
        return x[:, self.back]


class AffineCoupling(Invertible):
    """Scale and shift one half of the dimensions by what a network makes of the other half.

    Dinh et al. 2017 (arXiv:1605.08803), eq. 7-8, with the scale ``sigmoid(s + 1.5)``: below 1, so
    that draws cannot grow without bound. It starts with equal scales and no shift.

    Parameters
    ----------
    dim, condition : int
        Dimensions; width of the condition, 0 for none.
    hidden : float
        Units of hidden layers, as a multiple of the network's inputs.
    hidden_layers : int
        Further hidden layers after the first.
    """

    def __init__(self, dim: int, condition: int, hidden: float, hidden_layers: int) -> None:
        super().__init__()
        self.kept = dim // 2
        inputs, moved = self.kept + condition, dim - self.kept
        width = max(1, int(hidden * inputs))
        layers: list[nn.Module] = [nn.Linear(inputs, width), nn.ReLU()]
        for _ in range(hidden_layers):
            layers += [nn.Linear(width, width), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width, 2 * moved)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _scale_and_shift(self, kept: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        inputs = kept if condition is None else torch.cat([condition, kept], 1)
        scale, shift = self.head(self.body(inputs)).chunk(2, 1)
        return torch.sigmoid(scale + 1.5), shift

    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Change the second half."""
        kept, moved = x[:, : self.kept], x[:, self.kept :]
        scale, shift = self._scale_and_shift(kept, condition)
        return torch.cat([kept, scale * moved + shift], 1), scale.log().sum(1)

    def inverse(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Change the second half back: the first one is as it was."""
        kept, moved = x[:, : self.kept], x[:, self.kept :]
        scale, shift = self._scale_and_shift(kept, condition)
        return torch.cat([kept, (moved - shift) / scale], 1)


class Gaussianize(nn.Module):
    """Standardise dimensions that leave the flow by what the remaining ones say of them.

    Parameters
    ----------
    given, dim : int
        Dimensions that remain, 0 for none; dimensions that leave.
    """

    def __init__(self, given: int, dim: int) -> None:
        super().__init__()
        self.given = given
        self.bias = nn.Parameter(torch.zeros(2 * dim))
        self.weight = nn.Parameter(torch.zeros(2 * dim, given)) if given else None

    def _mean_and_log_scale(self, given: Tensor) -> tuple[Tensor, Tensor]:
        if self.weight is None:
            both = self.bias.expand(len(given), -1)
        else:
            both = nn.functional.linear(given, self.weight, self.bias)
        mean, log_scale = both.chunk(2, 1)
        return mean, log_scale

    def forward(self, x: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Return standardised rows, and log |det| of each."""
        mean, log_scale = self._mean_and_log_scale(given)
        return (x - mean) * (-log_scale).exp(), -log_scale.sum(1)

    def inverse(self, x: Tensor, given: Tensor) -> Tensor:
        """Return rows as they were."""
        mean, log_scale = self._mean_and_log_scale(given)
        return x * log_scale.exp() + mean


def standard_normal_log_density(u: Tensor) -> Tensor:
    """Return log N(u; 0, I) of each row of float ``[B, D]``: float ``[B]``, in nats."""
    return -0.5 * (u.square().sum(1) + u.shape[1] * math.log(2 * math.pi))
