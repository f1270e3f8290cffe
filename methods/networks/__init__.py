"""Backbones: networks as ordered blocks that can be frozen and cut at any depth."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from methods.core.config import by_name
from methods.networks.backbone import Backbone
from methods.networks.cnn import Cnn
from methods.networks.mlp import Mlp

#: Any network, told apart by its ``name``; a bare name stands for that network's defaults.
NetworkConfig = Annotated[Mlp | Cnn, Field(discriminator="name"), BeforeValidator(by_name)]

__all__ = ["Backbone", "Cnn", "Mlp", "NetworkConfig"]
