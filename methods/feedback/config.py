"""Options of a network with feedback connections and of its replay, and how it is built."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from methods.core.classifier import Classifier, Network
from methods.core.task import Scenario, StreamInfo
from methods.core.training import ReplayLoss
from methods.feedback.class_prior import ClassPrior, StandardPrior
from methods.feedback.decoder import Decoder
from methods.feedback.network import Feedback, FeedbackNetwork, mirrored_widths

Share = Annotated[float, Field(ge=0, lt=1)]

_TEMPERATURE, _MODES = 2.0, 1


class FeedbackConfig(Classifier.Config):
    """The components, and the weights of the losses."""

    replay_batch: PositiveInt | None = None
    """Replayed items in each step; as many as new ones by default."""
    replay_loss: ReplayLoss = "1/t"
    """Weight of the new task's loss: ``1/t`` in task t, a constant, or ``mean`` for the plain
    mean over new and replayed items. The rest is the weight of the replayed loss."""
    replay_labels: Literal["soft", "hard"] = "soft"
    """Probabilities given by the network before the task, or its most probable class."""
    temperature: PositiveFloat | None = Field(default=None, validate_default=True)
    """Softens the probabilities, and those they are compared with; 2 by default. ``soft``
    only."""
    latent_dim: PositiveInt = 100
    """Latent variables of the autoencoder."""
    decoder_widths: Annotated[tuple[PositiveInt, ...], Field(strict=False)] | None = None
    """Units of the decoder's hidden layers, from the code on; by default those of the fully
    connected blocks behind the frozen ones, in reverse, or 400 and 400 where there are none."""
    prior: Literal["classes", "standard"] = "classes"
    """A learned normal distribution for each class, or a standard one for all."""
    modes: PositiveInt | None = Field(default=None, validate_default=True)
    """Normal distributions of each class, 1 by default; more of them only with
    ``prior: classes``."""
    gates: Share = 0.1
    """Share of each of the decoder's hidden layers that is closed in each context; 0: none. The
    paper has 0.8 for split MNIST, the authors' later comparison of methods 0.1."""
    gate_by: Literal["class", "task"] | None = None
    """What a context is: by default the task in the domain-incremental scenario, elsewhere the
    class."""
    reconstruction: NonNegativeFloat = 1.0
    """Weight of the reconstruction loss."""
    divergence: NonNegativeFloat = 1.0
    """Weight of the divergence of code and prior (the variational loss)."""

    @field_validator("temperature")
    @classmethod
    def _of_soft_labels(cls, temperature: float | None, info: ValidationInfo) -> float | None:
        if info.data.get("replay_labels") == "hard":
            return None  # trials that differ in it alone are one
        return _TEMPERATURE if temperature is None else temperature

    @field_validator("modes")
    @classmethod
    def _of_class_prior(cls, modes: int | None, info: ValidationInfo) -> int | None:
        if info.data.get("prior") == "standard":
            return None
        return _MODES if modes is None else modes

    @field_validator("gate_by")
    @classmethod
    def _of_gates(cls, gate_by: str | None, info: ValidationInfo) -> str | None:
        return None if info.data.get("gates") == 0 else gate_by

    @property
    def implied(self) -> frozenset[str]:
        """What is as usual, or belongs to a component that is left out."""
        usual = {"temperature": (None, _TEMPERATURE), "modes": (None, _MODES)}
        return frozenset(name for name in usual if getattr(self, name) in usual[name])

    def build(
        self, classifier: Network, stream: StreamInfo, gates: torch.Generator
    ) -> FeedbackNetwork:
        """Return a classifier with the feedback connections that let it draw.

        Parameters
        ----------
        classifier : Network
            Becomes a part of what is returned.
        stream : StreamInfo
        gates : torch.Generator
            Draws which units are closed in a context; weights come of the global generator.
        """
        backbone, depth, given = classifier.backbone, self.freeze_depth, self.decoder_widths
        by_task = stream.scenario is Scenario.DOMAIN_INCREMENTAL
        gate_by = self.gate_by or ("task" if by_task else "class")
        contexts = stream.tasks if gate_by == "task" else stream.classes
        item = backbone.shapes[depth]
        prior: ClassPrior | StandardPrior = StandardPrior(self.latent_dim)
        if self.modes is not None:
            prior = ClassPrior(stream.classes, self.modes, self.latent_dim)
        decoder = Decoder(
            self.latent_dim,
            mirrored_widths(backbone, depth) if given is None else given,
            math.prod(item),
            contexts if self.gates else 0,
            self.gates,
            gates,
        )
        feedback = Feedback(backbone.features, item, depth == 0, prior, decoder)
        return FeedbackNetwork(classifier, stream, feedback, depth, gate_by)
