"""Training on the new task together with what a memory at some depth gives back of the old ones."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)
from torch import Tensor

from methods.core.classifier import Classifier
from methods.core.log import Log
from methods.core.method import Method, Replayed
from methods.core.registry import method_class, register
from methods.core.rng import Rng
from methods.core.snapshot import frozen_copy
from methods.core.task import Batch, Scenario, StreamInfo, Task
from methods.core.teacher import Teacher
from methods.core.training import ReplayLoss, masked_cross_entropy, weight_of_new
from methods.memories import BufferConfig, Memory, MemoryConfig, NeuralConfig, Setting

#: Who labels what is replayed.
Labels = Literal["memory", "hard", "soft"]

#: Stored items where no budget is given.
_USUAL_SIZE = 500
_TEMPERATURE = 2.0
#: Policies of a buffer that can be given a budget of each class.
_POLICIES_OF_CLASSES = ("class-balanced", "herding")
#: Items that go through the network at once where their last activations are asked for.
_CHUNK = 1024
#: How often, and how many at a time, items are drawn in search of a class.
_ATTEMPTS, _LEAST_DRAWN = 40, 64


@register("rehearsal")
class Rehearsal(Classifier):
    """Rehearse what a memory at a depth of the network gives back, with every new batch.

    The published systems are points of memory × depth: ``replay`` (a buffer of images),
    ``latent-replay`` (a buffer of activations behind frozen blocks), ``dgr`` (a trained generator
    of images), ``glr`` (a generator of activations). A configuration has the name of the point that
    it is, however it was written.

    Each step takes ``batch_size`` examples of the new task and ``replay_batch`` of the memory,
    which absorbs a task once it is learnt, with the network frozen and in eval mode. Replayed items
    have the labels that the memory gives, or those of the network as it was before the task.
    """

    axes: ClassVar[frozenset[str]] = Classifier.axes | {
        "freeze_depth",
        "depth",
        "memory",
        "buffer_size",
        "per_class",
        "replay_batch",
        "replay_loss",
        "replay_labels",
    }

    class Config(Classifier.Config):
        """The memory, its depth and its budget, and the weight of replay."""

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

    config: Config

    def __init__(
        self, config: Config, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(config, stream, rng, device)
        assert config.depth is not None  # the validator saw to it
        self.depth = config.depth
        self.memory: Memory = config.memory.build(
            Setting(
                config.buffer_size,
                config.per_class,
                self.device,
                stream.classes,
                config.budget,
                as_released=config.variant == "as-released",
            )
        )
        #: The network as it was before the task at hand, where it labels what is replayed.
        self.teacher: Teacher | None = None

    @classmethod
    def named_point(cls, config: Any) -> type[Method]:
        """Return the published system whose memory and depth these are."""
        if isinstance(config.memory, BufferConfig):
            return method_class("latent-replay" if config.depth else "replay")
        if config.depth:
            return method_class("glr")
        return method_class("dgr" if isinstance(config.memory, NeuralConfig) else "rehearsal")

    # Training ------------------------------------------------------------------------------------

    def before_task(self, task: Task) -> None:
        """Start this task's stream of replay draws; note the network as it is, if it labels."""
        rng = self.rng.at(task.index).of("memory")
        self.draws = rng.generator("draws")
        if not self._replays:
            return
        self.memory.refresh("task", rng)
        if self.config.replay_labels != "memory":
            self.teacher = Teacher(frozen_copy(self.network), self.stream, task.index)

    def before_epoch(self, task: Task, epoch: int) -> None:
        """Let a generator draw afresh."""
        if self._replays:
            self.memory.refresh("epoch", self.rng.at(task.index).of(f"memory, epoch {epoch}"))

    @property
    def _replays(self) -> bool:
        return len(self.memory) > 0 and self.config.replay_batch != 0

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Run new and replayed items through the network in one pass."""
        if not self._replays:
            return super().losses(batch)
        new = len(batch.x)
        old = self.memory.sample(self.config.replay_batch or new, self.draws)
        old = old._replace(x=self._entering(old.x))
        logits = self.network(torch.cat([batch.x, old.x]), self.entry)
        weight = weight_of_new(self.config.replay_loss, new, len(old.x), self.tasks_seen)
        terms = {name: weight * term for name, term in self.loss_terms(batch, logits[:new]).items()}
        terms["replay"] = (1 - weight) * self.replay_loss(old, logits[new:])
        return terms

    def replay_loss(self, old: Batch, logits: Tensor) -> Tensor:
        """Loss on replayed items at depth :attr:`entry`: cross-entropy with their labels."""
        if self.teacher is None:
            assert old.y is not None
            return masked_cross_entropy(logits, old.y, self.eligible(old.task))
        soft = self.config.temperature if self.config.replay_labels == "soft" else None
        return self.teacher.loss(old, logits, self.entry, self.eligible(old.task), soft)

    @torch.no_grad()
    def _entering(self, x: Tensor) -> Tensor:
        """Carry replayed items on to where the batch of the new task enters."""
        return (
            x if self.depth == self.entry else self.network.backbone.run(x, self.depth, self.entry)
        )

    # Memory --------------------------------------------------------------------------------------

    def after_task(self, task: Task, log: Log) -> None:
        """Let the memory absorb the task."""
        items = self.activations(task.train, self.depth)
        features = self._features(task) if self.memory.wants_features else None
        rng = self.rng.at(task.index).of("memory")
        self.teacher = None  # what outlives a task is counted as memory
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
        """Draw remembered images; None where activations are remembered instead.

        What comes without labels gets those of the network as it is now.
        """
        if self.depth:
            return None
        draws = self.rng.at(self.tasks_learned).of("memory").generator("sample")
        if self.memory.labelled:
            return self.memory.sample(n, draws, classes=classes, task=task)
        wanted = set(range(self.stream.classes) if classes is None else classes)
        if task is not None:
            wanted &= set(self.stream.classes_of[task])
        return self._of_classes(n, tuple(sorted(wanted)), draws)

    def _of_classes(self, n: int, classes: tuple[int, ...], draws: torch.Generator) -> Batch:
        """Draw until there are ``n`` items that the network takes for one of some classes."""
        parts: list[Batch] = []
        found = 0
        for _ in range(_ATTEMPTS):
            batch = self._labelled(self.memory.sample(max(n, _LEAST_DRAWN), draws))
            assert batch.y is not None
            rows = torch.isin(batch.y, batch.y.new_tensor(classes)).nonzero().squeeze(1)
            rows = rows[: n - found]
            parts.append(Batch(batch.x[rows], batch.y[rows]))
            found += len(rows)
            if found == n:
                x, y = (torch.cat([part[i] for part in parts]) for i in range(2))  # type: ignore[misc]
                return Batch(x, y)
        raise LookupError(f"hardly any draw is taken for one of the classes {list(classes)}")

    def replayed(self, n: int) -> Replayed | None:
        """Draw from the generator, labelled as in the next task; None where there is none."""
        if isinstance(self.config.memory, BufferConfig) or not len(self.memory):
            return None
        draws = self.rng.at(self.tasks_learned).of("memory").generator("replayed")
        batch = self.memory.sample(n, draws)
        if self.config.replay_labels != "memory":
            batch = self._labelled(batch)
            if self.stream.scenario is Scenario.TASK_INCREMENTAL and batch.task is None:
                batch = batch._replace(y=None)  # each past head gives one
        return Replayed(batch, self.depth)

    @torch.no_grad()
    def _labelled(self, batch: Batch) -> Batch:
        """Give items the classes that the network as it is now takes them for, with its logits."""
        logits = self._said(batch.x)
        known = self.network.classes_of[: self.tasks_learned].any(0)
        if batch.task is not None and self.stream.scenario is Scenario.TASK_INCREMENTAL:
            known = self.network.classes_of[batch.task]
        y = logits.masked_fill(~known, -torch.inf).argmax(1)
        return batch._replace(y=y, logits=logits)

    def _said(self, x: Tensor) -> Tensor:
        """Return what the network as it is now says of items at the depth of replay."""
        training = self.network.training
        self.network.eval()
        logits: Tensor = self.network(x, self.depth)
        self.network.train(training)
        return logits

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
