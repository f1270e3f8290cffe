"""What can be chosen of shared and private autoencoders."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    ValidationInfo,
    field_validator,
)

from methods.core.training import ReplayLoss
from methods.shared_private.autoencoder import Activation
from methods.shared_private.learner import Learner
from methods.shared_private.objective import Through

_OF_REPLAY = ("refresh", "replay_through", "replay_loss")
_OF_CORRECTED = ("activation", "scale", "beta", *_OF_REPLAY)


class Options(Learner.Config):
    """Weights of the losses, and how what is drawn is replayed."""

    has_released_variant: ClassVar[bool] = True
    #: Those that are no protocol.
    own: ClassVar[frozenset[str]] = frozenset({"samples_per_class", *_OF_CORRECTED})

    activation: Activation = "none"
    """``none``, as published, or ``relu`` between layers."""
    scale: PositiveFloat = 0.1
    """Weight of each autoencoder's bound beside the classification loss; found on images held out
    of split MNIST's training."""
    beta: NonNegativeFloat = 1.0
    """Weight of the divergence within a bound."""
    samples_per_class: NonNegativeInt = 4
    """Draws of each past class that every step rehearses; 0: nothing is replayed."""
    refresh: Literal["task", "epoch", "step"] = "step"
    """When they are drawn anew."""
    replay_through: Through = "own"
    """Whose autoencoder and head a draw goes through, besides the shared autoencoder: its
    ``own`` task's, which no longer learn, or the ``current`` one's, as published."""
    replay_loss: ReplayLoss = "1/t"
    """Weight of the new task's loss: ``1/t`` in task t, a constant, or ``mean`` for the plain
    mean over new and replayed items. The rest is the weight of the replayed loss."""

    @field_validator(*_OF_CORRECTED)
    @classmethod
    def _where_it_matters(cls, value: Any, info: ValidationInfo) -> Any:
        # Configurations that differ in nothing but an option without meaning are the same.
        name, given = str(info.field_name), info.data
        silent = given.get("samples_per_class") == 0 and name in _OF_REPLAY
        fixed = silent or given.get("variant") == "as-released"
        return cls.model_fields[name].default if fixed else value
