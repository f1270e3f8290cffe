"""Generative feature replay: a generator of what the head reads, and features that stay near."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, ValidationInfo, field_validator
from torch import Tensor

from methods.core.log import Log
from methods.core.method import Method
from methods.core.registry import register
from methods.core.rng import Rng
from methods.core.snapshot import frozen_copy
from methods.core.task import Batch, Examples, StreamInfo, Task, TensorExamples
from methods.core.training import weight_of_new
from methods.memories.feature_gan import FeatureGanConfig, FeatureMemory
from methods.networks import Backbone
from methods.rehearsal import Labels, Rehearsal

#: Images that go through the network at once.
_CHUNK = 1024
_DISTILLATION = 3.0


def distance(features: Tensor, before: Tensor) -> Tensor:
    """Mean over items of the squared Euclidean distance of features, float ``[B, F]`` both."""
    return (features - before).square().sum(1).mean()


@register("gfr", paper="Liu et al. 2020, arXiv:2004.09199")
class GenerativeFeatureReplay(Rehearsal):
    r"""Rehearse features drawn from a generator in the head, and hold the extractor where it was.

    The network is an extractor E, all blocks, and a head H. Once a task is learnt, a conditional
    generator G learns what E makes of its images. In a later task t the loss is

    .. math::

        \tfrac{1}{t} CE(H(E_t(x)), y) + (1 - \tfrac{1}{t}) CE(H(G_{t-1}(z, c)), c)
        + \lambda \, \lVert E_t(x) - E_{t-1}(x) \rVert^2

    where x are images of the new task, :math:`\lambda` is ``distillation`` and the weights are
    those of ``replay_loss``. What is drawn is what the head reads, at the end of blocks that go on
    learning: the last term, feature distillation, keeps it true. No gradient of what is replayed
    reaches the extractor.

    The generator learns the new classes without being shown the old ones: in its own loss

    .. math:: \alpha \, \lVert G_t(z, c) - G_{t-1}(z, c) \rVert^2

    holds its draws of old classes c in place (replay alignment; ``memory.alignment``, which see).
    Features are standardised for it, so :math:`\alpha` is in those units. A class that the new
    task has as well, as all are in a domain-incremental stream, is not held: its condition c is
    that of new features and of old ones, so draws of :math:`G_{t-1}` are shown beside the new ones.
    Any other memory with classes may take the generator's place: ``gaussian`` is what the
    published code calls mean replay.

    As there, the extractor is in eval mode from the second task on: statistics of batch norm stay
    those of the first. Squared distances are sums over dimensions, means over items; the published
    distillation is the norm of a whole batch's differences, not squared, times t - 1.
    """

    axes: ClassVar[frozenset[str]] = (Rehearsal.axes | {"distillation"}) - {
        "depth",
        "replay_labels",
    }

    class Config(Rehearsal.Config):
        """The generator, and how near features have to stay."""

        memory: FeatureMemory = Field(default_factory=FeatureGanConfig)
        """What draws features: ``wgan-gp``, conditional as it comes, or another memory that knows
        the classes of its draws."""
        depth: NonNegativeInt | None = Field(default=None, validate_default=True)
        """Behind all blocks. It follows, and cannot be given."""
        replay_labels: Labels | None = Field(default=None, validate_default=True)
        """The class that a feature was drawn of. It follows, and cannot be given."""
        distillation: Annotated[NonNegativeFloat, Field(validate_default=True)] = _DISTILLATION
        """Weight λ of the squared distance of a new image's features from those before the task;
        without meaning where all blocks are frozen."""

        @field_validator("depth")
        @classmethod
        def _behind_frozen_blocks(cls, depth: int | None, info: ValidationInfo) -> int | None:
            network = info.data.get("network")  # absent where it is wrong itself
            if network is None:
                return depth
            if depth not in (None, network.depth):
                raise ValueError(
                    "features are what the head reads, behind all blocks: leave depth out"
                )
            if getattr(info.data.get("memory"), "images_only", False):
                raise ValueError(
                    "as it is configured the memory draws images, and features are replayed: "
                    "leave out channels"
                )
            return int(network.depth)

        @field_validator("replay_labels")
        @classmethod
        def _who_can_tell(cls, labels: Labels | None, info: ValidationInfo) -> Labels | None:
            memory = info.data.get("memory")
            if memory is not None and not memory.labelled:
                raise ValueError(
                    f"features are drawn by class: give the memory {memory.name} conditional: true"
                )
            if labels not in (None, "memory"):
                raise ValueError(
                    "features have the classes that they are drawn of: leave replay_labels out"
                )
            return "memory"

        @field_validator("distillation")
        @classmethod
        def _of_learning_blocks(cls, weight: float, info: ValidationInfo) -> float:
            network, frozen = info.data.get("network"), info.data.get("freeze_depth")
            return _DISTILLATION if network is not None and frozen == network.depth else weight

        @property
        def implied(self) -> frozenset[str]:
            """The depth and who labels, always."""
            return frozenset({"depth", "replay_labels"})

    config: Config

    def __init__(
        self, config: Config, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(config, stream, rng, device)
        #: The extractor as it was before the task at hand.
        self.past: Backbone | None = None

    @classmethod
    def named_point(cls, config: Any) -> type[Method]:
        """Return the method itself, whatever its memory."""
        return cls

    def before_task(self, task: Task) -> None:
        """Copy the extractor as it is."""
        super().before_task(task)
        if task.index and self.config.distillation and self.replay_drifts:
            self.past = frozen_copy(self.network.backbone)

    def before_epoch(self, task: Task, epoch: int) -> None:
        """Keep the statistics of the first task."""
        super().before_epoch(task, epoch)
        if task.index:
            self.network.backbone.eval()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Run new images through the network, and replayed features through the head."""
        features = self.network.backbone.run(batch.x, self.entry).flatten(1)
        terms, weight = self.loss_terms(batch, self.network.head(features)), 1.0
        if self._replays:
            old = self.memory.sample(self.config.replay_batch or len(features), self.draws)
            weight = weight_of_new(
                self.config.replay_loss, len(features), len(old.x), self.tasks_seen
            )
            terms = {name: weight * term for name, term in terms.items()}
            logits = self.network.head(old.x.flatten(1))
            terms["replay"] = (1 - weight) * self.replay_loss(old, logits)
        if self.past is not None:
            before = self.past.run(batch.x, self.entry).flatten(1)
            terms["distillation"] = self.config.distillation * distance(features, before)
        return terms

    def after_task(self, task: Task, log: Log) -> None:
        """Drop the copy, and let the memory absorb the features of the task."""
        self.past = None
        super().after_task(task, log)

    def activations(self, examples: Examples, depth: int) -> Examples:
        """Return images at a depth; behind blocks that learn, as they are there now."""
        inside = super().activations(examples, min(depth, self.entry))
        if depth <= self.entry:
            return inside
        run, parts = self.network.backbone.run, []
        for rows in torch.split(torch.arange(len(examples), device=self.device), _CHUNK):
            batch = inside.gather(rows)
            with torch.no_grad():
                parts.append((run(batch.x, self.entry, depth), batch.y))
        x, y = (torch.cat(column) for column in zip(*parts, strict=True))
        return TensorExamples(x, y)

    @property
    def replay_drifts(self) -> bool:
        """Whether any block learns on."""
        return self.entry < self.depth
