"""Backbones: networks as ordered blocks that can be frozen and cut at any depth."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from methods.core.config import by_preset
from methods.networks.alexnet import AlexNet
from methods.networks.backbone import Backbone
from methods.networks.cnn import Cnn
from methods.networks.dgr_cnn import DgrCnn
from methods.networks.mlp import Mlp
from methods.networks.mobilenet import MobileNetV2
from methods.networks.prer_cnn import PrerCnnCifar, PrerCnnMnist
from methods.networks.resnet import ResNet18
from methods.networks.weights import MissingWeights, Weights

#: Published networks that are points of another: the name stands for these options, and the
#: configuration is the same as if they were written out.
PRESETS: dict[str, dict[str, Any]] = {
    "alexnet-glr": {"name": "alexnet", "pool": 3, "hidden": [512, 128], "image_size": 244},
}


#: Any network, told apart by its ``name``.
NetworkConfig = Annotated[
    Mlp | Cnn | DgrCnn | PrerCnnMnist | PrerCnnCifar | AlexNet | ResNet18 | MobileNetV2,
    Field(discriminator="name"),
    BeforeValidator(by_preset(PRESETS)),
]

__all__ = [
    "PRESETS",
    "AlexNet",
    "Backbone",
    "Cnn",
    "DgrCnn",
    "MissingWeights",
    "Mlp",
    "MobileNetV2",
    "NetworkConfig",
    "PrerCnnCifar",
    "PrerCnnMnist",
    "ResNet18",
    "Weights",
]
