"""Memories of generative feature replay: all of them know the classes of what they give back."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, NonNegativeFloat

from methods.core.config import by_preset
from methods.core.training import Adam, OptimizerConfig
from methods.memories import (
    PRESETS,
    BufferConfig,
    FlowConfig,
    GaussianConfig,
    GmmConfig,
    KMeansConfig,
    VaeConfig,
    WganGpConfig,
)


class FeatureGanConfig(WganGpConfig):
    """A Wasserstein GAN of features, as in the paper: asked for classes, and held in place."""

    conditional: bool = True
    """It is told the class of each item and asked for classes."""
    alignment: Annotated[NonNegativeFloat, Field(validate_default=True)] = 0.1
    """Weight of the squared distance of its draws from those of its frozen copy, by which it is
    held in place *instead of* showing the copy's draws to the critic. Draws of classes that the
    new task has as well are shown all the same. 0: all are."""
    optimizer: OptimizerConfig = Field(
        default_factory=lambda: Adam(lr=1e-3, betas=(0.5, 0.9), reset="task")
    )
    """Of the critic, and of the generator."""


#: Memories that a class can be asked of.
FeatureMemory = Annotated[
    FeatureGanConfig
    | GaussianConfig
    | GmmConfig
    | KMeansConfig
    | VaeConfig
    | FlowConfig
    | BufferConfig,
    Field(discriminator="name"),
    BeforeValidator(by_preset(PRESETS)),
]
