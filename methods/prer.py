"""Pseudo-rehearsal: synthetic images of the past keep their embeddings where they were."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field, NonNegativeFloat, ValidationInfo, field_validator
from torch import Tensor

from methods.core.alignment import DistanceKind
from methods.core.log import Log
from methods.core.method import Replayed
from methods.core.registry import register
from methods.core.remembering import Remembering
from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, StreamInfo, Task
from methods.core.training import Adam, OptimizerConfig
from methods.memories.pool import Pool
from methods.networks.heads import OtherTasks
from methods.pseudo_rehearsal import Anchors, EmbeddingGenerator, ImagesConfig


@register("prer", paper="Pomponi et al. 2020, arXiv:2007.02443; 2022, arXiv:2202.05694")
class PseudoRehearsal(Remembering):
    r"""Keep the embeddings of synthetic images of the past where they were before the task.

    A conditional flow draws embeddings of past classes, and a decoder makes images :math:`\tilde x`
    of them. Their embeddings under the encoder E are noted when a task starts, and its loss is

    .. math:: \mathrm{CE} + \frac{\lambda}{n} \sum_{i=1}^n
              d\bigl(E(\tilde x_i), E_{\mathrm{old}}(\tilde x_i)\bigr),
              \qquad d(e, e') = 1 - \cos(e, e') \text{ or } \lVert e - e' \rVert,

    where :math:`\lambda` is ``weight`` and n is ``replay_batch`` times the number of past tasks.
    Nothing is rehearsed with a label. So the task has to be known at test, and heads of other tasks
    stay as they are: those that have no class of the task at hand or, of a linear head, the rows of
    other classes.

    Once a task is learnt, an autoencoder on the encoder's features learns it, then a flow on the
    autoencoder's embeddings, each mixed with the images of the past, which are dropped then. What
    is kept is flow and autoencoder, however many tasks there are. Past tasks count as often as they
    have classes, there and in the drift; among stored images, as often as they have images. The
    flow is given a little noise, as each one on activations is here; the decoder starts without the
    ReLU published for MNIST.

    ``variant: as-released`` minimises the *similarity*, over ``replay_batch`` images of each past
    class, which are stored for ever; its autoencoder learns from the new task alone.

    Defects mended
    --------------
    - The code of 2022 adds the cosine similarity to the loss, which pushes embeddings apart; here
      it is the distance, which is least where nothing has moved.
    - It stores as many synthetic images as there were real ones, against the papers' constant
      memory; here they live as long as a task is learnt, and ``replay_pool: frozen`` counts them.
    - Its autoencoder learns each task alone; here it rehearses like the flow, as in 2020.
    - The autoencoder's learning rate and the flow's weight decay are never read from its
      configuration; here each part has options of its own.
    - A flow made anew loses the statistics that standardise embeddings; here they are set once the
      autoencoder has learnt the task, and saved.
    - Each task's best epoch is picked by test accuracy, and then not restored; here none is picked.
    """

    scenarios: ClassVar[frozenset[Scenario]] = frozenset({Scenario.TASK_INCREMENTAL})
    axes: ClassVar[frozenset[str]] = Remembering.axes | {
        *("freeze_depth", "weight", "distance", "replay_pool", "pool", "replay_batch", "l1"),
        *("autoencoder", "flow"),
    }

    class Config(ImagesConfig):
        """The pull on embeddings, besides the synthetic images and what draws them."""

        has_released_variant: ClassVar[bool] = True

        optimizer: OptimizerConfig = Field(default_factory=lambda: Adam(reset="task"))
        """As published it starts afresh in each task."""
        weight: NonNegativeFloat = 1.0
        """λ, of the distance of embeddings from where they were."""
        distance: DistanceKind = "cosine"
        """``cosine``: 1 less the cosine of the angle; ``euclidean``: the length of the way."""
        l1: NonNegativeFloat = 0.0
        """Weight of the sum of the encoder's absolute weights."""

        @field_validator("distance")
        @classmethod
        def _released_with_cosine(cls, kind: DistanceKind, info: ValidationInfo) -> DistanceKind:
            if info.data.get("variant") == "as-released" and kind != "cosine":
                raise ValueError("variant as-released has the cosine: leave distance out")
            return kind

    config: Config
    memory: Pool

    def __init__(
        self, config: Config, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(config, stream, rng, device)
        self.released = config.variant == "as-released"
        self.generator = EmbeddingGenerator(
            self.network.backbone,
            config.autoencoder,
            config.flow,
            stream.classes,
            config.budget,
            self.device,
            rng.of("memory"),
            rehearse_decoder=not self.released,
        )
        frozen = config.replay_pool == "frozen"
        self.memory = Pool(
            self.generator,
            None if frozen else config.pool,
            refresh="once" if frozen else "task",
            share="unlimited" if frozen else "by-class",
            device=self.device,
        )
        #: Images of the past, with their embeddings before the task at hand; None in the first.
        self.anchors: Anchors | None = None
        #: What the head has for other tasks, as it was; None between tasks.
        self.others: OtherTasks | None = None

    # Training ------------------------------------------------------------------------------------

    def before_task(self, task: Task) -> None:
        """Draw images of the past and note their embeddings."""
        rng = self.rng.at(task.index).of("memory")
        self.draws = rng.generator("draws")
        self.others = OtherTasks(self.network.head, task.index, self.eligible(task.index))
        if task.index:
            self.memory.refresh("task", rng)
            self.anchors = Anchors(self.memory.draws, self.network.backbone, self.released)

    def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """Add the pull on embeddings, and the penalty on weights."""
        terms, config = super().loss_terms(batch, logits), self.config
        if self.anchors is not None:
            n = config.replay_batch * (1 if self.released else self.tasks_learned)
            drift = self.anchors.drift(n, config.distance, self.draws)
            terms["drift"] = config.weight * (1 - drift if self.released else drift)
        if config.l1:
            sums = [p.abs().sum() for p in self.network.backbone.parameters()]
            terms["l1"] = config.l1 * torch.stack(sums).sum()
        return terms

    def after_step(self, batch: Batch) -> None:
        """Put the heads of other tasks back, which momentum and weight decay move unasked."""
        assert self.others is not None
        self.others.put_back()

    def after_task(self, task: Task, log: Log) -> None:
        """Let the generator learn the task; drop the images, or store those of the task."""
        self.generator.past = None if self.anchors is None else self.anchors.images
        self.anchors = self.others = None
        with log.phase("memory"):
            self.memory.absorb(task.train, task.index, self.rng.at(task.index).of("memory"), log)

    # What it draws -------------------------------------------------------------------------------

    def sample(
        self, n: int, *, classes: tuple[int, ...] | None = None, task: int | None = None
    ) -> Batch | None:
        """Draw synthetic images of the past."""
        draws = self.rng.at(self.tasks_learned).of("memory").generator("sample")
        return self.memory.sample(n, draws, classes=classes, task=task)

    def replayed(self, n: int) -> Replayed | None:
        """Draw what is held next, with its condition for a label; None before the first task."""
        if not self.tasks_learned:
            return None
        draws = self.rng.at(self.tasks_learned).of("memory").generator("replayed")
        batch = self.memory.sample(n, draws)
        if batch.y is None:  # each past head gives one
            said = [self.predict(batch.x, task) for task in range(self.tasks_learned)]
            batch = batch._replace(logits=torch.stack(said).amax(0))
        return Replayed(batch, 0)
