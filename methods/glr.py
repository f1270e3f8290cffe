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

    ``variant: as-released`` has the published code's generator and labels, the first four of these
    defects. The activations are clean ones all the same, and ``replay_batch`` does not follow from
    the budget.

    Defects mended
    --------------
    - One Gaussian mixture a task, with as many components as classes, is fitted without the labels:
      here each class of a task has a generator of its own.
    - The index of a component is taken for the label, and components drift off their classes: here
      draws have the class of their generator.
    - A task's generator is drawn from once and never used again: here draws are renewed
      (``memory.refresh``).
    - Draws may be negative, though activations behind a ReLU are not: here they are cut at the
      smallest value of their class (``memory.clamp``).
    - Draws come sorted by class: here they are shuffled.
    - Activations are stored with a dropout mask, and from a network that is still learning: here
      they are taken once the blocks are frozen, in eval mode.
    - What is replayed in a step follows from the budget: here it is ``replay_batch``.
    """

    class Config(Rehearsal.Config):
        """A mixture of Gaussians, or another generator."""

        has_released_variant: ClassVar[bool] = True

        memory: MemoryConfig = Field(default_factory=GmmConfig)
        """The generator: ``gaussian``, ``gmm`` or ``kmeans``, which are fitted; or a trained one:
        ``vae``, ``cvae``, ``wgan-gp`` or ``flow``."""

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
