"""What a method can keep of the past and replay: buffers and generators."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from methods.core.config import by_preset
from methods.memories.buffer import Buffer, BufferConfig
from methods.memories.class_mixtures import GaussianConfig, GmmConfig, KMeansConfig
from methods.memories.flow import FlowConfig
from methods.memories.memory import Memory, Setting
from methods.memories.neural import NeuralConfig
from methods.memories.vae import VaeConfig
from methods.memories.wgan_gp import WganGpConfig

#: Names that stand for options of another memory: the configuration is the same as if they were
#: written out.
PRESETS: dict[str, dict[str, Any]] = {"cvae": {"name": "vae", "conditional": True}}


#: Any memory, told apart by its ``name``; a bare name stands for that memory's defaults.
MemoryConfig = Annotated[
    BufferConfig
    | GaussianConfig
    | GmmConfig
    | KMeansConfig
    | VaeConfig
    | WganGpConfig
    | FlowConfig,
    Field(discriminator="name"),
    BeforeValidator(by_preset(PRESETS)),
]

__all__ = [
    "PRESETS",
    "Buffer",
    "BufferConfig",
    "FlowConfig",
    "GaussianConfig",
    "GmmConfig",
    "KMeansConfig",
    "Memory",
    "MemoryConfig",
    "NeuralConfig",
    "Setting",
    "VaeConfig",
    "WganGpConfig",
]
