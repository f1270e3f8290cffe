"""Residual network."""

from __future__ import annotations

from typing import Literal

from torch import nn

from methods.networks.backbone import Backbone
from methods.networks.vision_network import VisionNetwork


class ResNet18(VisionNetwork):
    """ResNet-18 (He et al. 2016, arXiv:1512.03385) as torchvision defines it.

    ====== ============================================ ======================
    depth  block                                        of images of 224 × 224
    ====== ============================================ ======================
    1      convolution 7 × 7, batch norm, max-pooling   64 × 56 × 56
    2, 3   residual blocks of the first stage           64 × 56 × 56
    4, 5   of the second                                128 × 28 × 28
    6, 7   of the third                                 256 × 14 × 14
    8, 9   of the fourth                                512 × 7 × 7
    10     average pooling, flat                        512
    ====== ============================================ ======================

    Images may be of any size. At 32 × 32 pixels or fewer the last stage is a single pixel, of which
    batch norm can learn nothing from a batch of one.
    """

    torchvision_name = "resnet18"
    classifier = "fc"

    name: Literal["resnet18"] = "resnet18"

    @property
    def depth(self) -> int:
        """Number of blocks that the network will have."""
        return 10

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        """Make the network for images of ``shape`` (channels, height, width).

        Raises
        ------
        ValueError
            If the images have other than 1 or 3 channels, or if the weights cannot be loaded.
        """
        model = self._model()
        stem = nn.Sequential(model.conv1, model.bn1, model.relu, model.maxpool)
        residual = [*model.layer1, *model.layer2, *model.layer3, *model.layer4]
        pooling = nn.Sequential(model.avgpool, nn.Flatten())
        return self._backbone([stem, *residual, pooling], shape)
