"""Options of rehearsal: the memory, its depth and budget, who labels, and the weight of replay."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from methods.core.classifier import Classifier
from methods.core.training import ReplayLoss
from methods.memories import BufferConfig, MemoryConfig, NeuralConfig

#: Who labels what is replayed.
Labels = Literal["memory", "hard", "soft"]

#: Stored items where no budget is given.
_USUAL_SIZE = 500
_TEMPERATURE = 2.0
#: Policies of a buffer that can be given a budget of each class.
_POLICIES_OF_CLASSES = ("class-balanced", "herding")


class RecallConfig(Classifier.Config):
    """What is remembered, at which depth and with which budget, and how it is replayed."""

    memory: MemoryConfig = Field(default_factory=BufferConfig)
    """What is kept: ``buffer``; a generator that is fitted: ``gaussian``, ``gmm``, ``kmeans``;
    or one that is trained: ``vae``, ``cvae``, ``wgan-gp``, ``flow``."""
    depth: NonNegativeInt | None = Field(default=None, validate_default=True)
    """Where the past is replayed: 0 images, d the activations after block d, at most
    ``freeze_depth``, which it is by default."""
    buffer_size: PositiveInt | None = None
    """Stored items over all past tasks together, of a generator its stored draws; 500 where
    ``per_class`` is not given."""
    per_class: PositiveInt | None = None
    """Stored items of each class, instead of ``buffer_size``."""
    replay_batch: NonNegativeInt | None = None
    """Replayed items in each step; as many as new ones by default. 0: the memory is filled, and
    nothing of it is replayed."""
    replay_labels: Labels | None = Field(default=None, validate_default=True)
    """Who labels what is replayed: ``memory``, which is usual where it can; ``hard``, the class
    that the network as it was before the task gives; ``soft``, all its probabilities."""
    temperature: PositiveFloat = Field(default=_TEMPERATURE, validate_default=True)
    """Softens the probabilities of ``soft`` labels, of teacher and student alike."""
    replay_loss: ReplayLoss = "1/t"
    """Weight of the new task's loss: ``1/t`` in task t, a constant, or ``mean`` for the plain
    mean over new and replayed items. The rest is the weight of the replayed loss."""

    @field_validator("depth")
    @classmethod
    def _behind_frozen_blocks(cls, depth: int | None, info: ValidationInfo) -> int | None:
        frozen = info.data.get("freeze_depth")  # absent where it is wrong itself
        if frozen is None:
            return frozen
        depth = frozen if depth is None else depth
        memory = info.data.get("memory")
        if depth and isinstance(memory, NeuralConfig) and memory.images_only:
            raise ValueError(
                f"as it is configured the memory draws images, and depth {depth} is one of "
                "activations; give depth 0, or leave out channels"
            )
        if depth > frozen:
            raise ValueError(
                f"depth {depth} lies behind blocks that go on learning: what is stored there "
                f"would no longer be what the network computes; give at most freeze_depth, "
                f"which is {frozen}"
            )
        return depth

    @model_validator(mode="before")
    @classmethod
    def _usual_budget(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        unset = values.get("buffer_size") is None and values.get("per_class") is None
        return values | {"buffer_size": _USUAL_SIZE} if unset else values

    @field_validator("replay_labels")
    @classmethod
    def _who_can_tell(cls, labels: Labels | None, info: ValidationInfo) -> Labels | None:
        memory = info.data.get("memory")
        if memory is None:
            return labels
        if labels == "memory" and not memory.labelled:
            raise ValueError(
                f"the memory {memory.name} does not know the classes of its draws: give hard "
                "or soft, or make it conditional"
            )
        return labels or ("memory" if memory.labelled else "hard")

    @field_validator("temperature")
    @classmethod
    def _of_soft_labels(cls, temperature: float, info: ValidationInfo) -> float:
        # Configurations that differ in nothing but an option without meaning are the same.
        return temperature if info.data.get("replay_labels") == "soft" else _TEMPERATURE

    @field_validator("buffer_size")
    @classmethod
    def _stored_at_all(cls, buffer_size: int | None, info: ValidationInfo) -> int | None:
        memory = info.data.get("memory")
        # Where nothing is stored, trials that differ in the budget alone are one.
        return buffer_size if memory is None or memory.stores else None

    @field_validator("per_class")
    @classmethod
    def _one_budget(cls, per_class: int | None, info: ValidationInfo) -> int | None:
        memory = info.data.get("memory")
        if per_class is None or memory is None:
            return per_class
        if info.data.get("buffer_size") is not None:
            raise ValueError("give buffer_size or per_class, not both")
        if info.data.get("variant") == "as-released":
            raise ValueError("variant as-released has one budget: give buffer_size")
        if isinstance(memory, BufferConfig) and memory.policy not in _POLICIES_OF_CLASSES:
            raise ValueError(
                f"per_class is a class-balanced budget, which the policy {memory.policy} is "
                "not: leave the policy out, or give buffer_size"
            )
        return per_class if memory.stores else None

    @property
    def implied(self) -> frozenset[str]:
        """The depth and who labels, where they are the usual ones."""
        usual = "memory" if self.memory.labelled else "hard"
        labels = {"replay_labels"} if self.replay_labels == usual else set()
        return frozenset(labels | ({"depth"} if self.depth == self.freeze_depth else set()))
