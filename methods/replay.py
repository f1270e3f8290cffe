"""Replay of stored examples: images, or activations behind frozen blocks."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt

from methods.core.registry import register
from methods.rehearsal import Rehearsal


@register("replay", paper="Ratcliff 1990; Chaudhry et al. 2019, arXiv:1902.10486")
class Replay(Rehearsal):
    """Rehearse stored images (experience replay): a buffer at depth 0."""

    class Config(Rehearsal.Config):
        """Depth 0."""

        depth: NonNegativeInt | None = Field(default=0, validate_default=True)
        """0: images."""

    config: Config


@register("latent-replay", paper="Pellegrini et al. 2020, arXiv:1912.01100")
class LatentReplay(Rehearsal):
    """Rehearse stored activations: a buffer behind the frozen blocks.

    Defects mended
    --------------
    - Activations are stored during the first epoch of a task, from a network that is still
      learning, with dropout: here they are taken once the blocks are frozen, in eval mode.
    """
