"""Options of dark experience replay: its buffer, and what stored logits and labels weigh."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from methods.core.classifier import Classifier


def _usually_compared(beta: float) -> str:
    return "seen" if beta else "all"


class DarkExperienceConfig(Classifier.Config):
    """The buffer, its depth, and the weights of logits and labels."""

    depth: NonNegativeInt | None = Field(default=None, validate_default=True)
    """Where the past is replayed: 0 images, d the activations after block d, at most
    ``freeze_depth``, which it is by default."""
    buffer_size: PositiveInt = 500
    """Stored examples over all tasks together, with their logits."""
    replay_batch: PositiveInt | None = None
    """Stored examples in each of a step's two draws; as many as new ones by default."""
    alpha: NonNegativeFloat = 0.5
    """Weight of the squared error of the stored logits."""
    beta: NonNegativeFloat = 2.0
    """Weight of the cross-entropy with the stored labels."""
    compared: Literal["seen", "all"] | None = Field(default=None, validate_default=True)
    """Class-incremental: outputs that are held to the stored logits, those of classes ``seen``
    when an item came in, or ``all``; all where ``beta`` is 0, else seen."""

    @field_validator("depth")
    @classmethod
    def _behind_frozen_blocks(cls, depth: int | None, info: ValidationInfo) -> int | None:
        frozen = info.data.get("freeze_depth")  # absent where it is wrong itself
        if frozen is None or depth is None:
            return frozen
        if depth > frozen:
            raise ValueError(
                f"depth {depth} lies behind blocks that go on learning; give at most "
                f"freeze_depth, which is {frozen}"
            )
        return depth

    @field_validator("compared")
    @classmethod
    def _all_without_labels(cls, compared: str | None, info: ValidationInfo) -> str | None:
        return compared or _usually_compared(info.data.get("beta", 0))

    @property
    def implied(self) -> frozenset[str]:
        """The depth and the outputs compared, where they are the usual ones."""
        usual = {"depth": self.freeze_depth, "compared": _usually_compared(self.beta)}
        return frozenset(key for key, value in usual.items() if getattr(self, key) == value)
