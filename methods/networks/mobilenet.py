"""Small network of depth-wise convolutions."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from torch import nn

from methods.networks.backbone import Backbone
from methods.networks.vision_network import VisionNetwork

#: Where torchvision's 19 ``features`` are cut: between stages of equal width.
_CUTS = (0, 1, 2, 4, 7, 11, 14, 17, 18, 19)


class MobileNetV2(VisionNetwork):
    """MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) as torchvision defines it.

    ====== ================================= ======================
    depth  block                             of images of 224 × 224
    ====== ================================= ======================
    1      convolution 3 × 3, batch norm     32 × 112 × 112
    2      1 inverted residual               16 × 112 × 112
    3      2 inverted residuals              24 × 56 × 56
    4      3 inverted residuals              32 × 28 × 28
    5      4 inverted residuals              64 × 14 × 14
    6      3 inverted residuals              96 × 14 × 14
    7      3 inverted residuals              160 × 7 × 7
    8      1 inverted residual               320 × 7 × 7
    9      convolution 1 × 1, batch norm     1280 × 7 × 7
    10     average pooling, flat             1280
    ====== ================================= ======================

    Torchvision's dropout before the head is part of its classifier and left out. Images may be of
    any size. At 32 × 32 pixels or fewer the last stages are a single pixel, of which batch norm can
    learn nothing from a batch of one.
    """

    torchvision_name = "mobilenet_v2"
    published = ("IMAGENET1K_V1", "IMAGENET1K_V2")

    name: Literal["mobilenet-v2"] = "mobilenet-v2"

    @property
    def depth(self) -> int:
        """Number of blocks that the network will have."""
        return len(_CUTS)

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        """Make the network for images of ``shape`` (channels, height, width).

        Raises
        ------
        ValueError
            If the images have other than 1 or 3 channels, or if the weights cannot be loaded.
        """
        features = self._model().features
        blocks: list[nn.Module] = [features[start:stop] for start, stop in pairwise(_CUTS)]
        blocks.append(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        return self._backbone(blocks, shape)
