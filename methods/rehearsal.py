"""Training on the new task together with what a memory at some depth gives back of the old ones."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from methods.core.log import Log
from methods.core.method import Method, Replayed
from methods.core.registry import method_class, register
from methods.core.remembering import Remembering
from methods.core.rng import Rng
from methods.core.snapshot import frozen_copy
from methods.core.task import Batch, Scenario, StreamInfo, Task
from methods.core.teacher import Teacher
from methods.core.training import masked_cross_entropy, weight_of_new
from methods.memories import BufferConfig, Memory, NeuralConfig, Setting
from methods.recall import Labels, RecallConfig, head_inputs, labelled, of_classes

__all__ = ["Labels", "Rehearsal"]


@register("rehearsal")
class Rehearsal(Remembering):
    """Rehearse what a memory at a depth of the network gives back, with every new batch.

    The published systems are points of memory × depth: ``replay`` (a buffer of images),
    ``latent-replay`` (a buffer of activations behind frozen blocks), ``dgr`` (a trained generator
    of images), ``glr`` (a generator of activations). A configuration has the name of the point that
    it is, however it was written.

    Each step takes ``batch_size`` examples of the new task and ``replay_batch`` of the memory,
    which absorbs a task once it is learnt, with the network frozen and in eval mode. Replayed items
    have the labels that the memory gives, or those of the network as it was before the task.
    """

    axes: ClassVar[frozenset[str]] = Remembering.axes | {
        *("freeze_depth", "depth", "memory", "buffer_size", "per_class"),
        *("replay_batch", "replay_loss", "replay_labels"),
    }

    class Config(RecallConfig):
        """The memory, its depth and its budget, and the weight of replay."""

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
        features = None
        if self.memory.wants_features:
            entering = self.activations(task.train, self.entry)
            features = head_inputs(self.network, entering, self.entry)
        rng = self.rng.at(task.index).of("memory")
        self.teacher = None  # what outlives a task is counted as memory
        with log.phase("memory"):
            self.memory.absorb(items, task.index, rng, log, features=features)

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
        return of_classes(
            n, sorted(wanted), lambda size: self._labelled(self.memory.sample(size, draws))
        )

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
        classes_of, scenario = self.network.classes_of, self.stream.scenario
        return labelled(batch, self._said(batch.x), classes_of, self.tasks_learned, scenario)

    def _said(self, x: Tensor) -> Tensor:
        """Return what the network as it is now says of items at the depth of replay."""
        training = self.network.training
        self.network.eval()
        logits: Tensor = self.network(x, self.depth)
        self.network.train(training)
        return logits
