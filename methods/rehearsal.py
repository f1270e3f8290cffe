"""Training on the new task together with what a memory at some depth gives back of the old ones."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)
from torch import Tensor

from methods.core.classifier import Classifier
from methods.core.log import Log
from methods.core.method import Method
from methods.core.registry import register
from methods.core.rng import Rng
from methods.core.task import Batch, StreamInfo, Task
from methods.core.training import masked_cross_entropy
from methods.memories import BufferConfig, GmmConfig, MemoryConfig

Share = Annotated[float, Field(gt=0, lt=1)]

#: Stored items where no budget is given.
_USUAL_SIZE = 500
#: Policies of a buffer that can be given a budget of each class.
_POLICIES_OF_CLASSES = ("class-balanced", "herding")
#: Items that go through the network at once where their last activations are asked for.
_CHUNK = 1024


@register("rehearsal")
class Rehearsal(Classifier):
    """Rehearse what a memory at a depth of the network gives back, with every new batch.

    The published systems are points of memory × depth: ``replay`` (a buffer of images),
    ``latent-replay`` (a buffer of activations behind frozen blocks), ``glr`` (a generator of such
    activations). A configuration has the name of the point that it is, however it was written.

    Each step takes ``batch_size`` examples of the new task and ``replay_batch`` of the memory,
    which absorbs a task once it is learnt, with the network frozen and in eval mode.
    """

    axes: ClassVar[frozenset[str]] = Classifier.axes | {
        "freeze_depth",
        "depth",
        "memory",
        "buffer_size",
        "per_class",
        "replay_batch",
        "replay_loss",
    }

    class Config(Classifier.Config):
        """The memory, its depth and its budget, and the weight of replay."""

        memory: MemoryConfig = Field(default_factory=BufferConfig)
        """What is kept: ``buffer``, or a generator: ``gaussian``, ``gmm``, ``kmeans``."""
        depth: NonNegativeInt | None = Field(default=None, validate_default=True)
        """Where the past is replayed: 0 images, d the activations after block d, at most
        ``freeze_depth``, which it is by default."""
        buffer_size: PositiveInt | None = None
        """Stored items over all past tasks together, of a generator its stored draws; 500 where
        ``per_class`` is not given."""
        per_class: PositiveInt | None = None
        """Stored items of each class, instead of ``buffer_size``."""
        replay_batch: PositiveInt | None = None
        """Replayed items in each step; as many as new ones by default."""
        replay_loss: Literal["mean", "1/t"] | Share = "1/t"
        """Weight of the new task's loss: ``1/t`` in task t, a constant, or ``mean`` for the plain
        mean over new and replayed items. The rest is the weight of the replayed loss."""

        @field_validator("depth")
        @classmethod
        def _behind_frozen_blocks(cls, depth: int | None, info: ValidationInfo) -> int | None:
            frozen = info.data.get("freeze_depth")  # absent where it is wrong itself
            if frozen is None or depth is None:
                return frozen
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
            """The depth, where it is the usual one."""
            return frozenset({"depth"} if self.depth == self.freeze_depth else ())

    config: Config

    def __init__(
        self, config: Config, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(config, stream, rng, device)
        assert config.depth is not None  # the validator saw to it
        self.depth = config.depth
        self.memory = config.memory.build(
            config.buffer_size,
            config.per_class,
            self.device,
            as_released=config.variant == "as-released",
        )

    @classmethod
    def named_point(cls, config: Any) -> type[Method]:
        """Return the published system whose memory and depth these are."""
        if isinstance(config.memory, BufferConfig):
            return LatentReplay if config.depth else Replay
        return GenerativeLatentReplay if config.depth else Rehearsal

    # Training ------------------------------------------------------------------------------------

    def before_task(self, task: Task) -> None:
        """Start this task's stream of replay draws."""
        rng = self.rng.at(task.index).of("memory")
        self.draws = rng.generator("draws")
        if len(self.memory):
            self.memory.refresh("task", rng)

    def before_epoch(self, task: Task, epoch: int) -> None:
        """Let a generator draw afresh."""
        if len(self.memory):
            self.memory.refresh("epoch", self.rng.at(task.index).of(f"memory, epoch {epoch}"))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Run new and replayed items through the network in one pass."""
        if not len(self.memory):
            return super().losses(batch)
        new = len(batch.x)
        old = self.memory.sample(self.config.replay_batch or new, self.draws)
        logits = self.network(torch.cat([batch.x, self._entering(old.x)]), self.entry)
        weight = self._weight_of_new(new, len(old.x))
        terms = {name: weight * term for name, term in self.loss_terms(batch, logits[:new]).items()}
        terms["replay"] = (1 - weight) * self.replay_loss(old, logits[new:])
        return terms

    def replay_loss(self, old: Batch, logits: Tensor) -> Tensor:
        """Loss on replayed items: cross-entropy with the label they had."""
        assert old.y is not None
        return masked_cross_entropy(logits, old.y, self.eligible(old.task))

    @torch.no_grad()
    def _entering(self, x: Tensor) -> Tensor:
        """Carry replayed items on to where the batch of the new task enters."""
        return (
            x if self.depth == self.entry else self.network.backbone.run(x, self.depth, self.entry)
        )

    def _weight_of_new(self, new: int, old: int) -> float:
        match self.config.replay_loss:
            case "mean":
                return new / (new + old)
            case "1/t":
                return 1 / self.tasks_seen
            case share:
                return float(share)

    # Memory --------------------------------------------------------------------------------------

    def after_task(self, task: Task, log: Log) -> None:
        """Let the memory absorb the task."""
        items = self.activations(task.train, self.depth)
        features = self._features(task) if self.memory.wants_features else None
        rng = self.rng.at(task.index).of("memory")
        with log.phase("memory"):
            self.memory.absorb(items, task.index, rng, log, features=features)

    @torch.no_grad()
    def _features(self, task: Task) -> Tensor:
        """Return what the head reads of each example of a task: float ``[N, features]``."""
        examples = self.activations(task.train, self.entry)
        rows = torch.arange(len(examples), device=self.device)
        backbone = self.network.backbone
        parts = [
            backbone.run(examples.gather(part).x, self.entry).flatten(1)
            for part in torch.split(rows, _CHUNK)
        ]
        return torch.cat(parts)

    def sample(
        self, n: int, *, classes: tuple[int, ...] | None = None, task: int | None = None
    ) -> Batch | None:
        """Draw remembered images; None where activations are remembered instead."""
        if self.depth:
            return None
        draws = self.rng.at(self.tasks_learned).of("memory").generator("sample")
        return self.memory.sample(n, draws, classes=classes, task=task)

    def owners(self) -> dict[str, object]:
        """Add the memory."""
        return super().owners() | {"memory": self.memory}

    def state_dict(self) -> dict[str, Any]:
        """Add the memory."""
        return super().state_dict() | {"memory": self.memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory too."""
        super().load_state_dict(state)
        self.memory.load_state_dict(state["memory"])


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

    The activations are taken once the network is frozen, in eval mode and of clean images. The
    published code takes them during the first epoch of a task, from a network that is still
    learning, with dropout.
    """


@register("glr", paper="Generative latent replay: a generator of activations, Algorithm 1")
class GenerativeLatentReplay(Rehearsal):
    """Rehearse activations drawn from generators, one for each class of each task.

    ``variant: as-released`` has the published code's generator and labels: one Gaussian mixture a
    task with as many components as classes, fitted without the labels; the index of a component
    taken for the label; drawn from once. Its components drift off the classes, which labels replay
    wrongly. The activations are clean ones all the same, where that code stores them with a dropout
    mask and from a network still learning, and ``replay_batch`` does not follow from the budget.
    """

    class Config(Rehearsal.Config):
        """A mixture of Gaussians, or another generator."""

        has_released_variant: ClassVar[bool] = True

        memory: MemoryConfig = Field(default_factory=GmmConfig)
        """The generator: ``gaussian``, ``gmm`` or ``kmeans``."""

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
