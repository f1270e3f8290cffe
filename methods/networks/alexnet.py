"""AlexNet, also with the head of generative latent replay."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PositiveInt
from torch import nn

from methods.core.vision import import_torchvision
from methods.networks.backbone import Backbone
from methods.networks.vision_network import VisionNetwork

#: Where torchvision's ``features`` are cut: after each convolution with its ReLU and pooling.
_CUTS = (0, 3, 6, 8, 10, 13)


class AlexNet(VisionNetwork):
    """AlexNet (Krizhevsky 2014, arXiv:1404.5997) as torchvision defines it.

    ====== ============================================ ================================
    depth  block                                        of images of 224 × 224
    ====== ============================================ ================================
    1      convolution 11 × 11, ReLU, max-pooling       64 × 27 × 27
    2      convolution 5 × 5, ReLU, max-pooling         192 × 13 × 13
    3      convolution 3 × 3, ReLU                      384 × 13 × 13
    4      convolution 3 × 3, ReLU                      256 × 13 × 13
    5      convolution 3 × 3, ReLU, max-pooling         256 × 6 × 6
    6      average pooling to ``pool`` × ``pool``, flat 9216 (``pool: 6``), 2304 (``pool: 3``)
    6 + i  dropout, fully connected layer i, ReLU       ``hidden[i - 1]``
    ====== ============================================ ================================

    ``alexnet-glr`` is this network as generative latent replay was published with it: ``pool: 3``,
    ``hidden: [512, 128]``, images of 244 × 244. It has 3,716,810 parameters with a head of ten
    classes, 2,469,696 of them in blocks 1 to 5. What that system calls ``latent_layer=16`` is depth
    6 here: behind its first dropout, which lets clean activations through as they are. Dropout
    belongs to the block that reads it, so that activations replayed from depth 6 are masked anew in
    each step, like those of the task at hand, and never stored with a mask.

    Images of fewer than 63 × 63 pixels must be resized. Weights are loaded into blocks 1 to 5.
    """

    torchvision_name = "alexnet"
    smallest = 63

    name: Literal["alexnet"] = "alexnet"
    pool: PositiveInt = 6
    """Height and width that the convolutions' output is pooled to."""
    hidden: Annotated[tuple[PositiveInt, ...], Field(strict=False)] = ()
    """Units of each fully connected layer; torchvision's own classifier has ``[4096, 4096]``."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Share of values dropped before each fully connected layer."""

    @property
    def depth(self) -> int:
        """Number of blocks that the network will have."""
        return len(_CUTS) + len(self.hidden)

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        """Make the network for images of ``shape`` (channels, height, width).

        Raises
        ------
        ValueError
            If the images are too small or have other than 1 or 3 channels, or if the weights
            cannot be loaded.
        """
        features = self._model().features
        blocks: list[nn.Module] = [features[start:stop] for start, stop in pairwise(_CUTS)]
        blocks.append(nn.Sequential(nn.AdaptiveAvgPool2d(self.pool), nn.Flatten()))
        inputs = 256 * self.pool**2
        for units in self.hidden:
            layers = nn.Dropout(self.dropout), nn.Linear(inputs, units), nn.ReLU()
            blocks.append(nn.Sequential(*layers))
            inputs = units
        return self._backbone(blocks, shape)

    def _untrained(self) -> Any:
        # Torchvision's classifier has 54 million weights that nobody needs: none is ever made.
        with torch.device("meta"):
            model = import_torchvision().models.alexnet()
        model.classifier = nn.Identity()
        model.to_empty(device="cpu")
        for layer in model.features:
            if isinstance(layer, nn.Conv2d):
                layer.reset_parameters()  # PyTorch's usual initialisation, which torchvision keeps
        return model
