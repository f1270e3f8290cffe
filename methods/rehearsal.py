"""Training on the new task together with samples of the old ones."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, PositiveInt, ValidationInfo, field_validator, model_validator
from torch import Tensor

from methods.core.classifier import Classifier
from methods.core.log import Log
from methods.core.registry import register
from methods.core.rng import Rng
from methods.core.task import Batch, StreamInfo, Task
from methods.core.training import masked_cross_entropy
from methods.memories.buffer import Buffer, Policy

Share = Annotated[float, Field(gt=0, lt=1)]


@register("replay", paper="Ratcliff 1990; Chaudhry et al. 2019, arXiv:1902.10486")
class Replay(Classifier):
    """Rehearse stored images with every batch of the new task (experience replay).

    Each step takes ``batch_size`` images of the new task and ``replay_batch`` stored ones. The
    buffer is filled once a task is learnt.
    """

    axes: ClassVar[frozenset[str]] = Classifier.axes | {
        "freeze_depth",
        "buffer_size",
        "per_class",
        "policy",
        "replay_batch",
        "replay_loss",
    }

    class Config(Classifier.Config):
        """Budget and policy of the buffer, and the weight of replay."""

        buffer_size: PositiveInt | None = None
        """Stored images over all past tasks together; 500 where ``per_class`` is not given."""
        per_class: PositiveInt | None = None
        """Stored images of each class, instead of ``buffer_size``."""
        policy: Policy = "class-balanced"
        """Which images stay: ``reservoir``, ``class-balanced`` or ``task-balanced``."""
        replay_batch: PositiveInt | None = None
        """Stored images in each step; as many as new ones by default."""
        replay_loss: Literal["mean", "1/t"] | Share = "1/t"
        """Weight of the new task's loss: ``1/t`` in task t, a constant, or ``mean`` for the plain
        mean over new and stored images. The rest is the weight of the replayed loss."""

        @model_validator(mode="before")
        @classmethod
        def _usual_budget(cls, values: Any) -> Any:
            if not isinstance(values, dict):
                return values
            unset = values.get("buffer_size") is None and values.get("per_class") is None
            return values | {"buffer_size": 500} if unset else values

        @field_validator("per_class")
        @classmethod
        def _one_budget(cls, per_class: int | None, info: ValidationInfo) -> int | None:
            if per_class is not None and info.data.get("buffer_size") is not None:
                raise ValueError("give buffer_size or per_class, not both")
            return per_class

        @field_validator("policy")
        @classmethod
        def _policy_fits(cls, policy: Policy, info: ValidationInfo) -> Policy:
            if policy != "class-balanced" and info.data.get("per_class") is not None:
                raise ValueError("per_class is a class-balanced budget: leave policy out")
            return policy

    config: Config

    def __init__(
        self, config: Config, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(config, stream, rng, device)
        self.memory = Buffer(config.buffer_size, config.per_class, config.policy, self.device)

    def before_task(self, task: Task) -> None:
        """Start this task's stream of replay draws."""
        self.draws = self.rng.at(task.index).of("memory").generator("draws")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Run new and replayed images through the network in one pass."""
        if not len(self.memory):
            return super().losses(batch)
        new = len(batch.x)
        old = self.memory.sample(self.config.replay_batch or new, self.draws)
        logits = self.network(torch.cat([batch.x, old.x]))
        weight = self._weight_of_new(new, len(old.x))
        terms = {name: weight * term for name, term in self.loss_terms(batch, logits[:new]).items()}
        terms["replay"] = (1 - weight) * self.replay_loss(old, logits[new:])
        return terms

    def replay_loss(self, old: Batch, logits: Tensor) -> Tensor:
        """Loss on replayed images: cross-entropy with the label they had."""
        assert old.y is not None
        return masked_cross_entropy(logits, old.y, self.eligible(old.task))

    def _weight_of_new(self, new: int, old: int) -> float:
        match self.config.replay_loss:
            case "mean":
                return new / (new + old)
            case "1/t":
                return 1 / self.tasks_seen
            case share:
                return float(share)

    def after_task(self, task: Task, log: Log) -> None:
        """Store images of the task within the budget."""
        self.memory.absorb(task.train, task.index, self.rng.at(task.index).of("memory"), log)

    def sample(
        self, n: int, *, classes: tuple[int, ...] | None = None, task: int | None = None
    ) -> Batch | None:
        """Draw stored images."""
        draws = self.rng.at(self.tasks_learned).of("memory").generator("sample")
        return self.memory.sample(n, draws, classes=classes, task=task)

    def owners(self) -> dict[str, object]:
        """Add the buffer."""
        return super().owners() | {"memory": self.memory}

    def state_dict(self) -> dict[str, Any]:
        """Add the buffer."""
        return super().state_dict() | {"memory": self.memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the buffer too."""
        super().load_state_dict(state)
        self.memory.load_state_dict(state["memory"])
