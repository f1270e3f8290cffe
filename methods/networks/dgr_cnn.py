"""The classifier of deep generative replay."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt, field_validator
from torch import nn

from methods.core.config import Config
from methods.networks.backbone import Backbone

#: Convolutions that halve height and width and double the channels.
_REDUCING = 3


class DgrCnn(Config):
    """The classifier in a public code of deep generative replay.

    The method is of Shin et al. 2017, arXiv:1705.08690, who do not give the sizes of theirs.

    ====== ========================================= ==============================
    depth  block                                     of images of 32 × 32
    ====== ========================================= ==============================
    1      convolution 3 × 3, no activation          ``channels`` / 8 × 32 × 32
    2      convolution 3 × 3, stride 2, batch norm,  ``channels`` / 4 × 16 × 16
           ReLU
    3      the same                                  ``channels`` / 2 × 8 × 8
    4      the same                                  ``channels`` × 4 × 4
    ====== ========================================= ==============================

    Made for images of 32 × 32 pixels, to which that code pads those of MNIST: of one channel and
    with a head of ten classes it has 6,363,658 parameters. Weights start as PyTorch draws them.

    Images may be of any size; each reducing block rounds half of it up. At 8 × 8 pixels or fewer
    the last block is a single pixel, of which batch norm can learn nothing from a batch of one.

    The published code leaves batch norm in training mode when it tests, and so learns from test
    images. Here a prediction takes the running statistics and leaves them alone.
    """

    name: Literal["dgr-cnn"] = "dgr-cnn"
    channels: PositiveInt = 1024
    """Channels of the last and widest convolution, a multiple of 8; fewer scale all of them."""

    @field_validator("channels")
    @classmethod
    def _halved_evenly(cls, channels: int) -> int:
        if channels % 2**_REDUCING:
            raise ValueError(
                f"channels are halved {_REDUCING} times towards the first block; give a multiple "
                f"of {2**_REDUCING}"
            )
        return channels

    @property
    def depth(self) -> int:
        """Number of blocks that the network will have."""
        return 1 + _REDUCING

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        """Make the network for images of ``shape`` (channels, height, width)."""
        width = self.channels // 2**_REDUCING
        blocks: list[nn.Module] = [nn.Conv2d(shape[0], width, 3, padding=1)]
        for _ in range(_REDUCING):
            convolution = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
            width *= 2
            blocks.append(nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU()))
        return Backbone(blocks, shape)
