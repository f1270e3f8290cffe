"""A normalizing flow."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from methods.memories.flow_layers import (
    ActNorm,
    AffineCoupling,
    Gaussianize,
    Invertible,
    Permutation,
    Whitening,
    standard_normal_log_density,
)
from methods.memories.generator_network import GeneratorNetwork, LikelihoodNetwork, normal
from methods.memories.neural import NeuralConfig

#: Keeps the logit of a pixel finite (Dinh et al. 2017, section 4.1).
_ALPHA = 0.05


class Flow(LikelihoodNetwork):
    """An invertible map from items to normal noise: RealNVP on vectors, with several levels.

    Dinh et al. 2017 (arXiv:1605.08803), with the layers of pseudo-rehearsal with normalizing flows
    (Pomponi et al. 2020, arXiv:2007.02443): at each level ``blocks`` times a scale and shift, a
    fixed permutation and an affine coupling; then half of the dimensions leave (section 3.6).
    Before the first level items are whitened, as the first task's items have it.

    The loss of an item is its negative log-likelihood in nats, eq. 3. Pixels are spread over their
    step of 1/256 by uniform noise and carried to the real line by a logit, whose volume change
    counts; activations get normal noise, because the density at a unit that is often silent would
    grow without bound.

    Parameters
    ----------
    shape, classes
        As for every :class:`~methods.memories.generator_network.GeneratorNetwork`.
    blocks, levels, hidden_layers : int
    hidden : float
    jitter : float
        Deviation of the noise on activations, in standardised units.
    whiten : bool
        Whether items are whitened before the first level.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int = 0,
        *,
        blocks: int = 10,
        levels: int = 2,
        hidden: float = 2.0,
        hidden_layers: int = 1,
        jitter: float = 0.05,
        whiten: bool = True,
    ) -> None:
        super().__init__(shape, classes)
        self.jitter = jitter
        dim = self.values = math.prod(shape)
        self.whitening = Whitening(dim) if whiten else None
        self.levels, self.splits = nn.ModuleList(), nn.ModuleList()
        self.leaving: list[int] = []
        for _ in range(levels):
            layers: list[nn.Module] = []
            for _ in range(blocks):
                coupling = AffineCoupling(dim, classes, hidden, hidden_layers)
                layers += [ActNorm(dim), Permutation(dim), coupling]
            self.levels.append(nn.ModuleList(layers))
            self.splits.append(Gaussianize(dim // 2, dim - dim // 2))
            self.leaving.append(dim - dim // 2)
            dim //= 2
            if not dim:
                break
        self.leaving.append(dim)
        if dim:
            self.last = Gaussianize(0, dim)

    # Density -------------------------------------------------------------------------------------

    def initialise_from(self, x: Tensor, noise: torch.Generator) -> None:
        """Find the axes along which the first items vary."""
        if self.whitening is not None:
            self.whitening.start(self._spread(x.flatten(1), noise)[0])

    def losses(self, x: Tensor, y: Tensor | None, noise: torch.Generator) -> dict[str, Tensor]:
        """Return ``nll`` of each item, ``[B]``, in nats."""
        z, volume = self._spread(x.flatten(1), noise)
        u, change = self.forward(z, y)
        return {"nll": -(standard_normal_log_density(u) + volume + change)}

    def forward(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return noise ``[B, D]`` of rows on the real line, and log |det| of each, ``[B]``."""
        condition = self._condition(y)
        left, change = [], x.new_zeros(len(x))
        if self.whitening is not None:
            x, more = self.whitening(x, condition)
            change = change + more
        for layers, split in zip(self.levels, self.splits, strict=True):
            assert isinstance(layers, nn.ModuleList)
            for layer in layers:
                x, more = layer(x, condition)
                change = change + more
            assert isinstance(split, Gaussianize)
            x, leaving = torch.split(x, [split.given, split.dim], 1)
            u, more = split(leaving, x)
            left.append(u)
            change = change + more
        if self.leaving[-1]:
            u, more = self.last(x, x)
            left.append(u)
            change = change + more
        return torch.cat(left, 1), change

    def inverse(self, u: Tensor, y: Tensor | None = None) -> Tensor:
        """Return the rows that :meth:`forward` makes noise ``u``, float ``[B, D]``, of."""
        condition = self._condition(y)
        *parts, x = torch.split(u, self.leaving, 1)
        if self.leaving[-1]:
            x = self.last.inverse(x, x)
        for layers, split, part in zip(
            reversed(self.levels), reversed(self.splits), reversed(parts), strict=True
        ):
            assert isinstance(layers, nn.ModuleList)
            assert isinstance(split, Gaussianize)
            x = torch.cat([x, split.inverse(part, x)], 1)
            for layer in reversed(layers):
                assert isinstance(layer, Invertible)
                x = layer.inverse(x, condition)
        return x if self.whitening is None else self.whitening.inverse(x, condition)

    def draw(self, n: int, y: Tensor | None, noise: torch.Generator) -> Tensor:
        """Carry normal noise back to items."""
        device = next(self.parameters()).device
        x = self.inverse(normal(n, self.values, noise=noise, device=device), y)
        if self.images:
            x = (x.sigmoid_() - _ALPHA).div_(1 - 2 * _ALPHA)
            x = x.mul_(256).floor_().clamp_(0, 255).div_(255)
        return x.view(n, *self.shape)

    def _condition(self, y: Tensor | None) -> Tensor | None:
        if not self.classes:
            return None
        assert y is not None
        return functional.one_hot(y, self.classes).to(torch.get_default_dtype())

    def _spread(self, x: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return rows on the real line, and log |det| of how they came there."""
        if not self.images:
            if self.jitter:
                each = normal(*x.shape, noise=noise, device=x.device)
                x = torch.add(x, each, alpha=self.jitter)
            return x, x.new_zeros(len(x))
        spread = torch.rand(*x.shape, generator=noise).to(x.device, non_blocking=True)
        p = _ALPHA + (1 - 2 * _ALPHA) * (x * 255 + spread) / 256
        z = p.logit()
        # Of the logit, 1 / (p (1 - p)); of the scale, as a density over pixels in [0, 1].
        change = -(functional.logsigmoid(z) + functional.logsigmoid(-z)).sum(1)
        return z, change + x.shape[1] * math.log(1 - 2 * _ALPHA)


class FlowConfig(NeuralConfig):
    """A normalizing flow, RealNVP; the defaults are those of pseudo-rehearsal on embeddings.

    Its cost grows with the square of the dimensions: for images take ``hidden: 0.5`` and ``blocks:
    4``.
    """

    name: Literal["flow"] = "flow"
    blocks: PositiveInt = 10
    """Couplings at each level."""
    levels: PositiveInt = 2
    """After each but the last, half of the dimensions leave."""
    hidden: PositiveFloat = 2.0
    """Units of a coupling's hidden layers, as a multiple of its inputs."""
    hidden_layers: NonNegativeInt = 1
    """Hidden layers of a coupling after the first."""
    jitter: Annotated[NonNegativeFloat, Field(le=1)] = 0.05
    """Deviation of the noise that activations get in training, in standardised units."""
    whiten: bool = True
    """Whether items are turned to the principal axes of the first task's items, and scaled, before
    they enter. Published flows do without, and need many more steps."""

    def network(self, item: tuple[int, ...], classes: int) -> GeneratorNetwork:
        """Make the network, untrained, with PyTorch's global generator."""
        return Flow(
            item,
            classes,
            blocks=self.blocks,
            levels=self.levels,
            hidden=self.hidden,
            hidden_layers=self.hidden_layers,
            jitter=self.jitter,
            whiten=self.whiten,
        )
