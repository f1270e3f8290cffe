"""Deep generative replay: a generator of images is trained along with the classifier."""

from __future__ import annotations

from pydantic import Field, NonNegativeInt

from methods.core.registry import register
from methods.memories import MemoryConfig, VaeConfig
from methods.rehearsal import Rehearsal


@register("dgr", paper="Shin et al. 2017, arXiv:1705.08690")
class DeepGenerativeReplay(Rehearsal):
    """Rehearse images drawn from a network that is trained to draw them, labelled by the solver.

    The scholar of the paper is a generator and a solver, the classifier. Once a task is learnt, the
    generator learns it too, mixed with what its own frozen copy draws of the past; in the next task
    its draws are rehearsed with the labels that the solver gave before the task (eq. 1). The paper
    has the generator learn first; it takes nothing from the solver, so the order is the same.

    The generator of the paper and of its published code is ``wgan-gp``, that of the comparison
    literature a ``vae``.
    """

    class Config(Rehearsal.Config):
        """Depth 0, and a trained generator."""

        memory: MemoryConfig = Field(default_factory=VaeConfig)
        """The generator: ``vae``, ``cvae``, ``wgan-gp`` or ``flow``."""
        depth: NonNegativeInt | None = Field(default=0, validate_default=True)
        """0: images."""

    config: Config
