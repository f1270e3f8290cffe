"""The encoders of pseudo-rehearsal with normalizing flows, with a head for each task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import PositiveInt
from torch import nn

from methods.core.config import Config
from methods.networks.backbone import Backbone
from methods.networks.heads import TaskHeads


class MultiHeadBackbone(Backbone):
    """A backbone whose tasks have a head each."""

    def head(self, classes: int, classes_of: Sequence[Sequence[int]]) -> nn.Module:
        """Make the heads."""
        return TaskHeads(self.features, classes, classes_of)


class PrerCnnMnist(Config):
    """The encoder that pseudo-rehearsal was published with on MNIST.

    Pomponi et al. 2020, arXiv:2007.02443.

    ====== ================================================ ==============================
    depth  block                                            of images of 28 × 28
    ====== ================================================ ==============================
    1      convolution 4 × 4, stride 2, padding 1, ReLU     12 × 14 × 14
    2      convolution 4 × 4, stride 2, no activation       24 × 6 × 6
    3      fully connected layer, no activation             ``embedding``
    ====== ================================================ ==============================

    Each task has a head: fully connected layers to d, d / 4 and its classes, of an embedding of d
    values, with dropout of a half and ReLU between them.
    """

    name: Literal["prer-cnn-mnist"] = "prer-cnn-mnist"
    embedding: PositiveInt = 100
    """Values of an embedding, which is what the heads read."""

    @property
    def depth(self) -> int:
        """Number of blocks that the network will have."""
        return 3

    def check_images(self, shape: tuple[int, int, int]) -> None:
        """Refuse images smaller than 8 × 8."""
        _require(shape, 8)

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        """Make the network for images of ``shape`` (channels, height, width).

        Raises
        ------
        ValueError
            If they are too small.
        """
        self.check_images(shape)
        blocks = [
            nn.Sequential(nn.Conv2d(shape[0], 12, 4, stride=2, padding=1), nn.ReLU()),
            nn.Conv2d(12, 24, 4, stride=2),
        ]
        height, width = ((side // 2 - 4) // 2 + 1 for side in shape[1:])
        return MultiHeadBackbone([*blocks, _embedding(24 * height * width, self.embedding)], shape)


class PrerCnnCifar(Config):
    """The encoder that pseudo-rehearsal was published with on CIFAR-10 and SVHN.

    Pomponi et al. 2020, arXiv:2007.02443.

    ====== ================================================ ==============================
    depth  block                                            of images of 32 × 32
    ====== ================================================ ==============================
    1      convolution 3 × 3, ReLU                          24 × 30 × 30
    2      the same                                         24 × 28 × 28
    3      the same                                         48 × 26 × 26
    4      convolution 4 × 4, stride 2, no activation       48 × 12 × 12
    5      fully connected layer, no activation             ``embedding``
    ====== ================================================ ==============================

    Each task has a head, as of ``prer-cnn-mnist``.
    """

    name: Literal["prer-cnn-cifar"] = "prer-cnn-cifar"
    embedding: PositiveInt = 200
    """Values of an embedding, which is what the heads read. Published for SVHN are 400, and 100."""

    @property
    def depth(self) -> int:
        """Number of blocks that the network will have."""
        return 5

    def check_images(self, shape: tuple[int, int, int]) -> None:
        """Refuse images smaller than 10 × 10."""
        _require(shape, 10)

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        """Make the network for images of ``shape`` (channels, height, width).

        Raises
        ------
        ValueError
            If they are too small.
        """
        self.check_images(shape)
        blocks: list[nn.Module] = []
        channels = shape[0]
        for out in (24, 24, 48):
            blocks.append(nn.Sequential(nn.Conv2d(channels, out, 3), nn.ReLU()))
            channels = out
        height, width = ((side - 6 - 4) // 2 + 1 for side in shape[1:])
        blocks += [
            nn.Conv2d(channels, 48, 4, stride=2),
            _embedding(48 * height * width, self.embedding),
        ]
        return MultiHeadBackbone(blocks, shape)


def _embedding(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs))


def _require(shape: tuple[int, int, int], least: int) -> None:
    if min(shape[1:]) < least:
        raise ValueError(
            f"images of {shape[1]} × {shape[2]} are too small for this network, which takes "
            f"{least} × {least} pixels and more; enlarge them with pad_to or resize"
        )
