"""Invertible layers on vectors, each with the logarithm of its volume change."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

#: A dimension that hardly varies at first is divided by this share of the typical deviation.
_LEAST = 0.1
#: How far the logit of a coupling's scale may go from where it starts. Unbounded, what an outlier
#: makes of it carries the next ones out of the range of floating-point numbers.
_BOUND = 4.0


class Invertible(nn.Module, ABC):
    """A bijection of rows float ``[B, D]``, perhaps a different one for each condition."""

    @abstractmethod
    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the image of rows, and log |det| of the Jacobian.

        That is float ``[B]``, or ``[]`` where it is the same for all rows.
        """

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
        self.mean = nn.Parameter(torch.zeros(dim))
        self.log_deviation = nn.Parameter(torch.zeros(dim))
        self.register_buffer("started", torch.tensor(False))

    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Standardise."""
        if self.training and not self.started:
            self._start(x)
        scale = (-self.log_deviation).exp()
        return torch.addcmul(-self.mean * scale, x, scale), -self.log_deviation.sum()

    @torch.no_grad()
    def _start(self, x: Tensor) -> None:
        self.mean.copy_(x.mean(0))
        deviation = x.std(0, correction=0)
        typical = deviation.square().mean().sqrt()
        # A pixel that is dark in this batch may light up in a later task.
        self.log_deviation.copy_(deviation.maximum(_LEAST * typical).clamp_(min=1e-3).log_())
        self.started.fill_(True)

    def inverse(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Undo that."""
        return torch.addcmul(self.mean, x, self.log_deviation.exp())


class Whitening(Invertible):
    """Turn to the principal axes of the first items, and scale each axis to their deviation.

    Not learnt. The likelihood rewards the narrow directions of correlated items first: from there a
    flow takes thousands of steps to the wide ones, which tell classes apart, and until then draws
    vary along them by half as much as the items. Turned and scaled, all count alike from the start.
    """

    mean: Tensor
    axes: Tensor
    deviation: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("axes", torch.eye(dim))
        self.register_buffer("deviation", torch.ones(dim))

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Take mean, axes and deviations from items, float ``[N, D]``."""
        self.mean.copy_(x.mean(0))
        centred = x - self.mean
        variances, axes = torch.linalg.eigh(centred.T @ centred / len(x))
        deviation = variances.clamp_(min=0).sqrt_()
        typical = deviation.square().mean().sqrt()
        self.axes.copy_(axes)
        # What the first task's items hardly do, those of a later task may.
        self.deviation.copy_(deviation.maximum(_LEAST * typical).clamp_(min=1e-3))

    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Turn and scale."""
        return (x - self.mean) @ self.axes / self.deviation, -self.deviation.log().sum()

    def inverse(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Scale and turn back."""
        return torch.addmm(self.mean, x * self.deviation, self.axes.T)


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
        return x.index_select(1, self.order), x.new_zeros(())

    def inverse(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Reorder back."""
        return x.index_select(1, self.back)


class AffineCoupling(Invertible):
    """Scale and shift one half of the dimensions by what a network makes of the other half.

    Dinh et al. 2017 (arXiv:1605.08803), eq. 7-8, with the scale ``sigmoid(s + 1.5)``: below 1, so
    that noise cannot grow without bound. The network ends in as many ReLUs as it moves dimensions,
    each with a gain of its own. It starts with equal scales and no shift.

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
        self.kept, self.moved = dim // 2, dim - dim // 2
        inputs = self.kept + condition
        width = max(1, int(hidden * inputs))
        layers: list[nn.Module] = [nn.Linear(inputs, width), nn.ReLU(inplace=True)]
        for _ in range(hidden_layers):
            layers += [nn.Linear(width, width), nn.ReLU(inplace=True)]
        layers += [nn.Linear(width, self.moved), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.log_gain = nn.Parameter(torch.zeros(self.moved))
        # One layer gives scales and shifts, side by side.
        self.head = nn.Linear(self.moved, 2 * self.moved)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _logit_and_shift(self, kept: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        inputs = kept if condition is None else torch.cat([condition, kept], 1)
        logit, shift = self.head(self.body(inputs) * self.log_gain.exp()).chunk(2, 1)
        return _BOUND * torch.tanh(logit / _BOUND) + 1.5, shift

    def forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Change the second half."""
        kept, moved = torch.split(x, [self.kept, self.moved], 1)
        logit, shift = self._logit_and_shift(kept, condition)
        changed = torch.addcmul(shift, moved, logit.sigmoid())
        return torch.cat([kept, changed], 1), functional.logsigmoid(logit).sum(1)

    def inverse(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Change the second half back: the first one is as it was."""
        kept, moved = torch.split(x, [self.kept, self.moved], 1)
        logit, shift = self._logit_and_shift(kept, condition)
        return torch.cat([kept, (moved - shift) / logit.sigmoid()], 1)


class Gaussianize(nn.Module):
    """Standardise dimensions that leave the flow by what the remaining ones say of them.

    Parameters
    ----------
    given, dim : int
        Dimensions that remain, 0 for none; dimensions that leave.
    """

    def __init__(self, given: int, dim: int) -> None:
        super().__init__()
        self.given, self.dim = given, dim
        self.bias = nn.Parameter(torch.zeros(2 * dim))
        self.weight = nn.Parameter(torch.zeros(2 * dim, given)) if given else None

    def _mean_and_log_deviation(self, given: Tensor) -> tuple[Tensor, Tensor]:
        if self.weight is None:
            both = self.bias.expand(len(given), -1)
        else:
            both = functional.linear(given, self.weight, self.bias)
        mean, log_deviation = both.chunk(2, 1)
        return mean, _BOUND * torch.tanh(log_deviation / _BOUND)

    def forward(self, x: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        """Return standardised rows, and log |det| of each."""
        mean, log_deviation = self._mean_and_log_deviation(given)
        return (x - mean) * (-log_deviation).exp(), -log_deviation.sum(1)

    def inverse(self, x: Tensor, given: Tensor) -> Tensor:
        """Return rows as they were."""
        mean, log_deviation = self._mean_and_log_deviation(given)
        return torch.addcmul(mean, x, log_deviation.exp())


def standard_normal_log_density(u: Tensor) -> Tensor:
    """Return log N(u; 0, I) of each row of float ``[B, D]``: float ``[B]``, in nats."""
    return -0.5 * (u.square().sum(1) + u.shape[1] * math.log(2 * math.pi))
