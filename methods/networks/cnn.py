"""Small convolutional network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from torch import nn

from methods.core.config import Config
from methods.networks.backbone import Backbone


class Cnn(Config):
    """3 × 3 convolutions with ReLU and 2 × 2 pooling, then fully connected layers with ReLU.

    Each convolution with its pooling is one block, and so is each fully connected layer. Pooling
    stops when an image is a single pixel high or wide.
    """

    name: Literal["cnn"] = "cnn"
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1, strict=False)] = (16, 32)
    """Channels of each convolution."""
    hidden: Annotated[tuple[PositiveInt, ...], Field(strict=False)] = (128,)
    """Units of each fully connected layer."""

    @property
    def depth(self) -> int:
        """Number of blocks that the network will have."""
        return len(self.widths) + len(self.hidden)

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        """Make the network for images of ``shape`` (channels, height, width)."""
        blocks: list[nn.Module] = []
        channels, height, width = shape
        for out in self.widths:
            layers: list[nn.Module] = [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()]
            if min(height, width) > 1:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            blocks.append(nn.Sequential(*layers))
            channels = out
        inputs = channels * height * width
        for i, out in enumerate(self.hidden):
            flatten = [nn.Flatten()] if i == 0 else []
            blocks.append(nn.Sequential(*flatten, nn.Linear(inputs, out), nn.ReLU()))
            inputs = out
        return Backbone(blocks, shape)
