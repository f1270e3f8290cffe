"""A variational autoencoder."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from methods.core.normal import normal_divergence
from methods.core.training import Adam, OptimizerConfig
from methods.memories.generator_network import GeneratorNetwork, LikelihoodNetwork, normal
from methods.memories.neural import NeuralConfig

#: What the logarithm of an activation's deviation stays above, in standardised units. Without a
#: bound the density at a unit that is always silent grows for ever. A draw gains a variance of at
#: most 1/400 of the data's from it.
_LEAST = math.log(0.05)
#: Adam moves a weight by about its learning rate a step, however steep the loss: at 1e-3 it would
#: take 700 steps to halve a deviation. What is a mean or a logarithm itself is a weight times this.
_PACE = 10


class Vae(LikelihoodNetwork):
    """Infer latents of an item, and the item from them (Kingma & Welling 2014, arXiv:1312.6114).

    An item's loss is the negative of eq. 10 with one draw of its latents, a bound on its negative
    log-likelihood in nats: the reconstruction summed over the item's values, and the divergence of
    the posterior from a standard normal summed over latents (appendix B). Images are cut out of
    Bernoulli distributions, and drawn as their means, as in the paper. Activations are Gaussian
    around what is decoded, with one learned deviation for each dimension; draws have that noise, or
    they would lack most of the spread within a class.

    Encoder and decoder are mirrored, fully connected, with ReLU. Where draws are conditioned on
    classes, both are given the class one-hot, and each class has a prior of its own, a normal
    distribution whose means and variances are learned (Sohn et al. 2015, "Learning structured
    output representation using deep conditional generative models", eq. 4). With one standard
    normal for all, the encoder goes on telling the classes apart, what it makes of them lies far
    outside that prior, and draws from it are of no class.

    Parameters
    ----------
    shape, classes
        As for every :class:`~methods.memories.generator_network.GeneratorNetwork`.
    hidden : tuple of int
        Units of the encoder's hidden layers; the decoder's are the same, reversed.
    latents : int
    beta : float
        Weight of the divergence, above 0 (Higgins et al. 2017, "beta-VAE"); 1 for the bound.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int = 0,
        *,
        hidden: tuple[int, ...] = (400, 400),
        latents: int = 100,
        beta: float = 1.0,
    ) -> None:
        super().__init__(shape, classes)
        self.latents, self.beta = latents, beta
        values = math.prod(shape)
        # One layer gives means and logarithms of variances, side by side.
        self.encoder = _layers([values + classes, *hidden, 2 * latents])
        self.decoder = _layers([latents + classes, *reversed(hidden), values])
        if not self.images:
            self.slow_log_deviation = nn.Parameter(torch.zeros(values))
        if classes:
            self.slow_prior = nn.Parameter(torch.zeros(classes, 2 * latents))

    @property
    def log_deviation(self) -> Tensor:
        """Logarithm of the deviation of each activation from what is decoded: float ``[D]``.

        The bound is smooth: a deviation that is near it can still be learnt.
        """
        return _LEAST + functional.softplus(_PACE * self.slow_log_deviation - _LEAST)

    def encode(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the posterior of items: means and logarithms of variances, ``[B, latents]``."""
        posterior = self.encoder(self.condition(y, x.flatten(1)))
        mean, log_variance = posterior.chunk(2, 1)
        return mean, log_variance

    def prior(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return means and logarithms of variances of each class's prior, ``[B, latents]``."""
        mean, log_variance = (_PACE * self.slow_prior[y]).chunk(2, 1)
        return mean, log_variance

    def decode(self, z: Tensor, y: Tensor | None) -> Tensor:
        """Return logits of pixels, or means of activations: float ``[B, values]``."""
        decoded: Tensor = self.decoder(self.condition(y, z))
        return decoded

    def losses(self, x: Tensor, y: Tensor | None, noise: torch.Generator) -> dict[str, Tensor]:
        """Return ``reconstruction`` and ``kl`` of each item, ``[B]``, in nats.

        ``kl`` has its weight. Pixels between 0 and 1 count as probabilities of 1, whose
        cross-entropy the reconstruction is.
        """
        mean, log_variance = self.encode(x, y)
        deviation = (0.5 * log_variance).exp()
        z = torch.addcmul(mean, deviation, normal(*mean.shape, noise=noise, device=x.device))
        decoded = self.decode(z, y)
        zero = torch.zeros_like(mean)
        prior = (zero, zero) if y is None else self.prior(y)
        return {
            "reconstruction": self._reconstruction(x.flatten(1), decoded),
            "kl": self.beta * normal_divergence(mean, log_variance, *prior),
        }

    def _reconstruction(self, x: Tensor, decoded: Tensor) -> Tensor:
        if self.images:
            each = functional.binary_cross_entropy_with_logits(decoded, x, reduction="none")
            return each.sum(1)
        log_deviation = self.log_deviation
        standard = (x - decoded) * (-log_deviation).exp()
        constant = log_deviation.sum() + 0.5 * x.shape[1] * math.log(2 * math.pi)
        return 0.5 * standard.square().sum(1) + constant

    def draw(self, n: int, y: Tensor | None, noise: torch.Generator) -> Tensor:
        """Draw latents, and of each an item: the means of its pixels, or noisy activations."""
        device = next(self.parameters()).device
        z = normal(n, self.latents, noise=noise, device=device)
        if y is not None:
            mean, log_variance = self.prior(y)
            z = mean.addcmul(z, (0.5 * log_variance).exp())
        decoded = self.decode(z, y)
        if self.images:
            return decoded.sigmoid_().view(n, *self.shape)
        each = normal(*decoded.shape, noise=noise, device=device)
        return decoded.addcmul_(each, self.log_deviation.exp())


def _layers(widths: Iterable[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


class VaeConfig(NeuralConfig):
    """A variational autoencoder, fully connected."""

    name: Literal["vae"] = "vae"
    optimizer: OptimizerConfig = Field(default_factory=lambda: Adam(lr=2e-3, reset="task"))
    """Of the whole network. With ``reset: never`` its moments outlive a task, and count as kept.
    The rate was found on images held out of split MNIST's training."""
    hidden: Annotated[tuple[PositiveInt, ...], Field(strict=False)] = (400, 400)
    """Units of the encoder's hidden layers; the decoder's are the same, reversed."""
    latents: PositiveInt = 100
    """Dimensions that an item is encoded to."""
    beta: PositiveFloat = 1.0
    """Weight of the divergence of the encoding from a standard normal; 1 for a bound on the
    likelihood, less for sharper draws."""

    def network(self, item: tuple[int, ...], classes: int) -> GeneratorNetwork:
        """Make the network, untrained."""
        return Vae(item, classes, hidden=self.hidden, latents=self.latents, beta=self.beta)
