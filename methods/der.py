"""Dark experience replay: rehearse stored examples, and what the network once said of them."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from methods.core.log import Log
from methods.core.method import Method
from methods.core.registry import register
from methods.core.remembering import Remembering
from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, StreamInfo, Task
from methods.core.training import masked_cross_entropy, masked_distance
from methods.dark_experience import DarkExperienceConfig
from methods.memories import Buffer

#: Stored images that go through the frozen blocks at once.
_CHUNK = 1024


@register("der++", paper="Buzzega et al. 2020, arXiv:2004.07211")
class DarkExperienceReplayPlusPlus(Remembering):
    r"""Keep the outputs that stored examples had when they came in, and learn their labels (eq. 6).

    .. math:: CE(h(x), y) + \alpha \, MSE(h(x'), z') + \beta \, CE(h(x''), y'')

    Besides the batch of the task at hand, each step takes two independent draws (x', z') and
    (x'', y'') of one buffer: a reservoir of all that was seen, filled batch by batch while tasks
    are learnt, the first one included. An example is offered to it each time that it is trained on.
    With it come its logits z as they were then: those of the batch's own pass, in training mode,
    before the step. ``der`` is the method without the labels, β = 0 (eq. 5).

    The output width never grows, and logits of classes that had not been seen were trained by
    nobody: the squared error is a mean over those classes only that competed when the logits were
    stored, then over items. Class-incremental these are the classes seen by then, task-incremental
    those of the item's own task. The published code takes the mean over all outputs: ``compared:
    all``. Without labels this is needed class-incrementally, since nothing else keeps the outputs
    of later classes low for the items of earlier tasks.

    The buffer holds what enters the network at ``depth``: images, or activations behind the frozen
    blocks. Images that were stored before the network was frozen are carried there as soon as it
    is; their logits stay as recorded.
    """

    axes: ClassVar[frozenset[str]] = Remembering.axes | {
        "freeze_depth",
        "depth",
        "buffer_size",
        "replay_batch",
        "alpha",
        "beta",
        "compared",
    }

    class Config(DarkExperienceConfig):
        """The buffer, its depth, and the weights of logits and labels."""

    config: Config
    memory: Buffer

    def __init__(
        self, config: Config, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(config, stream, rng, device)
        self.memory = Buffer(config.buffer_size, policy="reservoir", device=self.device)
        #: Logits of the batch at hand, until it is stored.
        self._latest: Tensor | None = None

    @classmethod
    def named_point(cls, config: Any) -> type[Method]:
        """Return the published method with these weights."""
        return DarkExperienceReplayPlusPlus if config.beta else DarkExperienceReplay

    @property
    def entry(self) -> int:
        """Depth at which batches enter the network, and of what the buffer holds."""
        assert self.config.depth is not None  # the validator saw to it
        return min(super().entry, self.config.depth)

    # Training ------------------------------------------------------------------------------------

    def before_task(self, task: Task) -> None:
        """Start this task's streams of draws."""
        rng = self.rng.at(task.index).of("memory")
        self.priorities = rng.generator("priorities")
        self.draws = rng.generator("draws"), rng.generator("draws of labels")

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Run the new batch, and then both draws together, through the network."""
        terms = super().losses(batch)
        if not len(self.memory):
            return terms
        n = self.config.replay_batch or len(batch.x)
        parts = (
            ("logits", self.config.alpha, self.distance, self.draws[0]),
            ("replay", self.config.beta, self.replay_loss, self.draws[1]),
        )
        drawn = {
            name: (weight, loss, self.memory.sample(n, draws))
            for name, weight, loss, draws in parts
            if weight
        }
        if drawn:
            x = torch.cat([old.x for *_, old in drawn.values()])
            logits = self.network(x, self.entry).split(n)
            for (name, (weight, loss, old)), out in zip(drawn.items(), logits, strict=True):
                terms[name] = weight * loss(old, out)
        return terms

    def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """Take note of the logits that will be stored."""
        self._latest = logits.detach()
        return super().loss_terms(batch, logits)

    def distance(self, old: Batch, logits: Tensor) -> Tensor:
        """Return how far logits of stored examples are from those stored with them, a scalar."""
        assert old.task is not None
        assert old.logits is not None
        return masked_distance(logits, old.logits, self.outputs_compared(old.task))

    def replay_loss(self, old: Batch, logits: Tensor) -> Tensor:
        """Return the cross-entropy with the labels of stored examples, a scalar."""
        assert old.y is not None
        return masked_cross_entropy(logits, old.y, self.eligible(old.task))

    def outputs_compared(self, task: Tensor) -> Tensor:
        """Classes whose logits are held to stored ones: bool ``[classes]``, or ``[B, classes]``.

        Parameters
        ----------
        task : Tensor
            int64 ``[B]``, of each stored example.
        """
        if self.stream.scenario is not Scenario.CLASS_INCREMENTAL:
            return self.eligible(task)
        classes_of = self.network.classes_of
        if self.config.compared == "all":
            return classes_of.any(0)
        return classes_of.cumsum(0).bool()[task]

    def after_step(self, batch: Batch) -> None:
        """Offer the batch to the reservoir."""
        fresh = batch._replace(logits=self._latest)
        self.memory.add(fresh, self.tasks_seen - 1, self.priorities)
        self._latest = None

    # Memory --------------------------------------------------------------------------------------

    def after_task(self, task: Task, log: Log) -> None:
        """Carry the images of the first task behind the blocks that are frozen now."""
        if task.index == 0 and self.config.freeze_from == "first-task" and self.entry:
            parts = torch.split(self.memory.x, _CHUNK)
            self.memory.x = torch.cat([self.encode(part, self.entry) for part in parts])

    def sample(
        self, n: int, *, classes: tuple[int, ...] | None = None, task: int | None = None
    ) -> Batch | None:
        """Draw stored images; None where activations are stored instead."""
        if self.entry:
            return None
        draws = self.rng.at(self.tasks_learned).of("memory").generator("sample")
        return self.memory.sample(n, draws, classes=classes, task=task)


@register("der", paper="Buzzega et al. 2020, arXiv:2004.07211")
class DarkExperienceReplay(DarkExperienceReplayPlusPlus):
    """Keep the outputs that stored examples had, and leave their labels alone: β = 0 (eq. 5)."""

    class Config(DarkExperienceReplayPlusPlus.Config):
        """No labels."""

        beta: NonNegativeFloat = 0.0
        """0: labels are not replayed."""

    config: Config
