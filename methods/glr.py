"""Generative latent replay: a generator of activations."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, ValidationInfo, field_validator

from methods.core.registry import register
from methods.memories import GmmConfig, MemoryConfig
from methods.rehearsal import Rehearsal


@register("glr", paper="Generative latent replay: a generator of activations, Algorithm 1")
class GenerativeLatentReplay(Rehearsal):
    """Rehearse activations drawn from generators, one for each class of each task.

    ``variant: as-released`` has the published code's generator and labels: one Gaussian mixture a
    task with as many components as classes, fitted without the labels; the index of a component
    taken for the label; drawn from once. Its components drift off the classes, which labels replay
    wrongly. The activations are clean ones all the same, where that code stores them with a dropout
    mask and from a network still learning, and ``replay_batch`` does not follow from the budget.
    """

    class Config(Rehearsal.Config):
        """A mixture of Gaussians, or another generator."""

        has_released_variant: ClassVar[bool] = True

        memory: MemoryConfig = Field(default_factory=GmmConfig)
        """The generator: ``gaussian``, ``gmm`` or ``kmeans``."""

        @field_validator("depth")
        @classmethod
        def _released_behind_blocks(cls, depth: int | None, info: ValidationInfo) -> int | None:
            if info.data.get("variant") == "as-released" and depth == 0:
                raise ValueError(
                    "variant as-released replays activations: give a freeze_depth of at least 1"
                )
            return depth

        @field_validator("memory")
        @classmethod
        def _released_as_mixture(cls, memory: Any, info: ValidationInfo) -> Any:
            if info.data.get("variant") == "as-released" and memory != GmmConfig():
                raise ValueError(
                    "variant as-released is one mixture of Gaussians with a component for each "
                    "class: leave memory out"
                )
            return memory

    config: Config
