"""A small convolutional autoencoder whose decoder can be told a class."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from methods.feedback import Code
from methods.shared_private.sizes import Layer, Sizes

#: What stands between two layers.
Activation = Literal["none", "relu"]


class Bound(NamedTuple):
    """Both parts of the negative evidence lower bound of each image, float ``[B]``."""

    reconstruction: Tensor
    divergence: Tensor


class Autoencoder(nn.Module):
    """Infer the code of an image, and an image from a code and a condition.

    Parameters
    ----------
    shape : tuple of int
        ``(channels, side, side)`` of an image.
    classes : int
        Length of the condition: a class one-hot, or zeros for none.
    sizes : Sizes
    activation : {"none", "relu"}
        Between layers; behind the last of encoder and decoder there is none.

    Attributes
    ----------
    dim : int
        Number of latent variables.
    """

    def __init__(
        self, shape: tuple[int, int, int], classes: int, sizes: Sizes, activation: Activation
    ) -> None:
        super().__init__()
        encoder = convolutions(shape[0], sizes.encoder, activation)[:-1]
        self.encoder = nn.Sequential(*encoder, nn.Flatten())
        self.dim = flat_size(self.encoder, shape) // 2
        layers: list[nn.Module] = []
        channels = self.dim + classes
        for out, kernel, stride, _ in sizes.decoder:
            layers += [nn.ConvTranspose2d(channels, out, kernel, stride), _between(activation)]
            channels = out
        self.decoder = nn.Sequential(*layers[:-1])

    def encode(self, x: Tensor, eps: Tensor | None = None) -> Code:
        """Return the posterior of images, float ``[B, C, H, W]``, and a draw of each.

        Parameters
        ----------
        x : Tensor
        eps : Tensor, optional
            Standard normal ``[B, dim]``, of which the draw is made; without it, the mean.
        """
        mean, log_variance = self.encoder(x).chunk(2, 1)
        if eps is None:
            return Code(mean, log_variance, mean)
        return Code(mean, log_variance, torch.addcmul(mean, (0.5 * log_variance).exp(), eps))

    def decode(self, z: Tensor, condition: Tensor) -> Tensor:
        """Return images, float ``[B, C, H, W]``, of codes and conditions ``[B, classes]``."""
        decoded: Tensor = self.decoder(torch.cat([z, condition], 1)[:, :, None, None])
        return decoded

    @staticmethod
    def bound(x: Tensor, decoded: Tensor, code: Code) -> Bound:
        """Return squared errors summed over pixels, and divergences summed over latents."""
        mean, log_variance, _ = code
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
        return Bound((x - decoded).square().flatten(1).sum(1), divergence)


def convolutions(channels: int, sizes: Iterable[Layer], activation: Activation) -> list[nn.Module]:
    """Make convolutions of images with so many channels, each followed by the activation."""
    layers: list[nn.Module] = []
    for out, kernel, stride, padding in sizes:
        layers += [nn.Conv2d(channels, out, kernel, stride, padding), _between(activation)]
        channels = out
    return layers


@torch.no_grad()
def flat_size(layers: nn.Module, shape: tuple[int, int, int]) -> int:
    """Return how many values layers make of an image."""
    flat: Tensor = layers(torch.zeros(1, *shape))
    return flat.numel()


def _between(activation: Activation) -> nn.Module:
    return nn.ReLU() if activation == "relu" else nn.Identity()
