"""What a method can keep of the past and replay: buffers and generators."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from methods.core.config import by_name
from methods.memories.buffer import Buffer, BufferConfig
from methods.memories.class_mixtures import GaussianConfig, GmmConfig, KMeansConfig
from methods.memories.memory import Memory

#: Any memory, told apart by its ``name``; a bare name stands for that memory's defaults.
MemoryConfig = Annotated[
    BufferConfig | GaussianConfig | GmmConfig | KMeansConfig,
    Field(discriminator="name"),
    BeforeValidator(by_name),
]

__all__ = [
    "Buffer",
    "BufferConfig",
    "GaussianConfig",
    "GmmConfig",
    "KMeansConfig",
    "Memory",
    "MemoryConfig",
]
