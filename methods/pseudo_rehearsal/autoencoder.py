"""From the features of an image to an embedding, and from there back to the image."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.networks import Backbone
from methods.pseudo_rehearsal.condition import Condition
from methods.pseudo_rehearsal.config import AutoencoderConfig


def features_depth(backbone: Backbone) -> int:
    """Return the depth of the last maps of channels; of a network without any, the last one."""
    maps = [depth for depth, shape in enumerate(backbone.shapes) if len(shape) == 3]
    return maps[-1] or backbone.depth


class Autoencoder(nn.Module):
    """A linear projection of features, and a decoder that mirrors the layers that made them.

    Pomponi et al. 2020, arXiv:2007.02443. Images and features stay what the classifier makes of
    them: only projection and decoder learn.

    Parameters
    ----------
    backbone : Backbone
        The classifier's; nothing of it is kept here.
    condition : Condition
        What the decoder is told of a class.
    config : AutoencoderConfig
    """

    def __init__(self, backbone: Backbone, condition: Condition, config: AutoencoderConfig) -> None:
        super().__init__()
        depth = features_depth(backbone)
        self.loss, self.dim = config.loss, config.dim or backbone.features
        self.projector = nn.Linear(math.prod(backbone.shapes[depth]), self.dim)
        self.condition = condition
        self.decoder = nn.Sequential(*mirrored(backbone, depth, self.dim + condition.width))

    def project(self, features: Tensor) -> Tensor:
        """Return embeddings, float ``[B, dim]``, of features ``[B, ...]``."""
        embeddings: Tensor = self.projector(features.flatten(1))
        return embeddings

    def decode(self, embeddings: Tensor, y: Tensor) -> Tensor:
        """Return images in [0, 1], float ``[B, C, H, W]``, of embeddings and their classes."""
        return self._logits(embeddings, y).sigmoid()

    def _logits(self, embeddings: Tensor, y: Tensor) -> Tensor:
        logits: Tensor = self.decoder(torch.cat([embeddings, self.condition(y)], 1))
        return logits

    def reconstruction(self, x: Tensor, features: Tensor, y: Tensor) -> Tensor:
        """Return the loss of images uint8 ``[B, C, H, W]``: a scalar, the mean over pixels."""
        pixels, logits = x.float().div_(255), self._logits(self.project(features), y)
        if self.loss == "bce":
            return functional.binary_cross_entropy_with_logits(logits, pixels)
        return functional.mse_loss(logits.sigmoid(), pixels)


def mirrored(backbone: Backbone, depth: int, inputs: int) -> list[nn.Module]:
    """Make layers that lead from ``inputs`` values to logits of pixels.

    A fully connected layer leads to the shape of the features. Then each block is mirrored, the
    last one first: a convolution by the transposed convolution that undoes its change of shape; a
    convolution with pooling, or several of them, by enlarging and a convolution of 3 × 3; any other
    block by a fully connected layer. Between them is ReLU.

    Parameters
    ----------
    backbone : Backbone
    depth : int
        Of the features.
    inputs : int
        Values of an embedding and of what is told of its class.
    """
    layers: list[nn.Module] = [nn.Linear(inputs, math.prod(backbone.shapes[depth]))]
    layers += _unflattened(backbone.shapes[depth])
    for index in reversed(range(depth)):
        small, large = backbone.shapes[index + 1], backbone.shapes[index]
        layers.append(nn.ReLU())
        if len(small) == 3:
            prepared = index == 0 and backbone.prepare is not None
            undone = None if prepared else _transposed(backbone.blocks[index], small, large)
            enlarged = [nn.Upsample(large[1:]), nn.Conv2d(small[0], large[0], 3, padding=1)]
            layers += enlarged if undone is None else [undone]
        else:
            layers.append(nn.Linear(math.prod(small), math.prod(large)))
            layers += _unflattened(large)
    return layers


def _unflattened(shape: tuple[int, ...]) -> list[nn.Module]:
    return [nn.Unflatten(1, shape)] if len(shape) == 3 else []


def _transposed(
    block: nn.Module, small: tuple[int, ...], large: tuple[int, ...]
) -> nn.ConvTranspose2d | None:
    """Mirror a block whose only change of shape is that of one plain convolution."""
    convolutions = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    if len(convolutions) != 1:
        return None
    (one,) = convolutions
    plain = one.groups == 1 and one.dilation == (1, 1) and not isinstance(one.padding, str)
    if not plain or (one.in_channels, one.out_channels) != (large[0], small[0]):
        return None
    missing = []
    for axis in range(2):
        side, kernel = large[1 + axis], one.kernel_size[axis]
        stride, padding = one.stride[axis], int(one.padding[axis])
        if (side + 2 * padding - kernel) // stride + 1 != small[1 + axis]:
            return None
        missing.append(side - ((small[1 + axis] - 1) * stride - 2 * padding + kernel))
    height, width = (int(size) for size in one.padding)
    return nn.ConvTranspose2d(
        small[0],
        large[0],
        (one.kernel_size[0], one.kernel_size[1]),
        (one.stride[0], one.stride[1]),
        (height, width),
        (missing[0], missing[1]),
    )
