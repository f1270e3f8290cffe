"""Fully connected network."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, PositiveInt
from torch import nn

from methods.core.config import Config
from methods.networks.backbone import Backbone


class Mlp(Config):
    """Fully connected layers with ReLU; each layer is one block."""

    name: Literal["mlp"] = "mlp"
    widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1, strict=False)] = (400, 400)
    """Units of each hidden layer."""

    @property
    def depth(self) -> int:
        """Number of blocks that the network will have."""
        return len(self.widths)

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        """Make the network for images of ``shape`` (channels, height, width)."""
        blocks: list[nn.Module] = []
        inputs = math.prod(shape)
        for i, width in enumerate(self.widths):
            layers = [nn.Flatten()] if i == 0 else []
            blocks.append(nn.Sequential(*layers, nn.Linear(inputs, width), nn.ReLU()))
            inputs = width
        return Backbone(blocks, shape)
