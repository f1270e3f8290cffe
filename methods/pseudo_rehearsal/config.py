"""Options of the synthetic images, and of the autoencoder and the flow that draw them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from methods.core.classifier import Classifier
from methods.core.config import Config
from methods.core.training import Adam, Budget, OptimizerConfig

#: What a part is told of an item's class: a vector of zeros and a one, a learned one, or nothing.
ConditionKind = Literal["one-hot", "embedding", "none"]

#: Images that are held where nothing else is said.
_USUAL_POOL = 10_000


class TrainingConfig(Config):
    """How a part is trained once a task is learnt; it goes on from its weights after the last."""

    condition: ConditionKind = "one-hot"
    """What it is told of an item's class: ``one-hot``, a learned ``embedding`` of it with as many
    values as there are classes, or ``none``."""
    iterations: PositiveInt | None = None
    """Steps for each task; as long as the classifier's training by default."""
    epochs: PositiveInt | None = None
    """Passes over the task's training data, instead of ``iterations``."""
    batch_size: PositiveInt | None = None
    """Images in each step; as many as the classifier's by default."""
    tolerance: PositiveInt | None = None
    """Passes in a row without a lower mean loss of training that end it before its time; never by
    default."""
    lr: PositiveFloat = 1e-3
    """Learning rate of Adam, which starts afresh in each task."""
    weight_decay: NonNegativeFloat = 0.0
    """L2 penalty, added to the gradient."""

    @field_validator("epochs")
    @classmethod
    def _one_unit(cls, epochs: int | None, info: ValidationInfo) -> int | None:
        if epochs is not None and info.data.get("iterations") is not None:
            raise ValueError("give iterations or epochs, not both")
        return epochs

    def budget(self, classifier: Budget) -> Budget:
        """Return its training time, which is the classifier's where none is given."""
        chosen: dict[str, Any] = {"batch_size": self.batch_size or classifier.batch_size}
        mine = self.iterations is not None or self.epochs is not None
        for unit in ("iterations", "epochs"):
            chosen[unit] = getattr(self if mine else classifier, unit)
        return Budget(**chosen)

    def optimizer(self) -> OptimizerConfig:
        """Return Adam with these options."""
        return Adam(lr=self.lr, weight_decay=self.weight_decay, reset="task")


class AutoencoderConfig(TrainingConfig):
    """A linear projection of the encoder's features, and a decoder from there back to images."""

    dim: PositiveInt | None = None
    """Values that an image is projected to; as many as the classifier's embedding by default."""
    loss: Literal["mse", "bce"] = "mse"
    """Squared error of pixels in [0, 1], or their binary cross-entropy; a mean over both."""


class EmbeddingFlowConfig(TrainingConfig):
    """A normalizing flow on the projected features; the defaults are those published for MNIST."""

    blocks: PositiveInt = 10
    """Couplings at each level."""
    levels: PositiveInt = 2
    """After each but the last, half of the dimensions leave."""
    hidden: PositiveFloat = 2.0
    """Units of a coupling's hidden layers, as a multiple of its inputs."""
    hidden_layers: NonNegativeInt = 1
    """Hidden layers of a coupling after the first; 2 are published for CIFAR-10."""
    weight_decay: NonNegativeFloat = Field(default=1e-5)
    """L2 penalty, added to the gradient."""


class ImagesConfig(Classifier.Config):
    """Which synthetic images are held, and what draws them."""

    autoencoder: AutoencoderConfig = Field(default_factory=AutoencoderConfig)
    """``{condition: one-hot, epochs: 20, …}``"""
    flow: EmbeddingFlowConfig = Field(default_factory=EmbeddingFlowConfig)
    """``{condition: one-hot, blocks: 10, levels: 2, …}``"""
    replay_pool: Literal["resample", "frozen"] | None = Field(default=None, validate_default=True)
    """``resample``: images are drawn when a task starts; ``frozen``: when it is over, as many
    as it has, and stored for ever."""
    pool: PositiveInt | None = Field(default=None, validate_default=True)
    """``resample`` only: images drawn when a task starts, of each past task in proportion to the
    number of its classes; 10,000 by default."""
    replay_batch: PositiveInt = 200
    """Images in each step for each past task; for each past class, as released."""

    @field_validator("replay_pool")
    @classmethod
    def _released_for_ever(cls, kind: Any, info: ValidationInfo) -> Any:
        if info.data.get("variant") != "as-released":
            return kind or "resample"
        if kind == "resample":
            raise ValueError("variant as-released has a frozen pool: leave replay_pool out")
        parts = [info.data.get(name) for name in ("autoencoder", "flow")]
        if all(part is not None and part.condition == "none" for part in parts):
            raise ValueError("variant as-released draws class by class: give a condition")
        return "frozen"

    @field_validator("pool")
    @classmethod
    def _of_resampled(cls, pool: int | None, info: ValidationInfo) -> int | None:
        # Trials that differ in an option without meaning are one.
        return None if info.data.get("replay_pool") == "frozen" else pool or _USUAL_POOL

    @property
    def implied(self) -> frozenset[str]:
        """What follows from the variant, and the usual number of images."""
        usual = "frozen" if self.variant == "as-released" else "resample"
        of_pool = {"pool"} if self.pool in (None, _USUAL_POOL) else set()
        return frozenset(of_pool | ({"replay_pool"} if self.replay_pool == usual else set()))
