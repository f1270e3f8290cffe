"""Embedding regularisation: what the head reads of stored images stays where it was."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt, ValidationInfo, field_validator
from torch import Tensor
from torch.nn import functional

from methods.core.alignment import DistanceKind, embedding_distance
from methods.core.episodic import Episodic
from methods.core.log import Log
from methods.core.registry import register
from methods.core.rng import Rng
from methods.core.task import Batch, StreamInfo, Task

#: Stored images that go through the network at once.
_CHUNK = 1024


@register("embedding-reg", paper="Pomponi et al. 2020, arXiv:1909.03742")
class EmbeddingRegularization(Episodic):
    r"""Keep the embeddings that stored images had at the end of their task.

    An embedding E(x) is what the head reads of an image: the flattened output of the backbone. Of
    each task, ⌊M/T⌋ images are stored once it is learnt, with their embeddings e as they are then,
    which do not change any more. With a draw S of ``sample_size`` of all that is stored, the loss
    of each step of a later task gains the term

    .. math:: \frac{\lambda}{|S|} \sum_{(x, e) \in S} d(E(x), e)

    where λ is ``importance`` and d a distance: :math:`1 - \cos`, or that of Euclid. Only the
    backbone is held: no label of a stored image is used, and heads learn from the task at hand
    alone. Where the task is known at test, a head then goes on reading what it was trained to read,
    but for what weight decay, or momentum that outlives a task, moves of heads of other tasks;
    where it is not, nothing tells the classes of different tasks apart.

    Stored images pass through the network in eval mode, as they did when their embeddings were
    stored: as long as nothing of the backbone has changed, statistics of batch norm included, the
    term is 0 but for rounding.

    One published repository calls the method ER. It is not experience replay, which is ``replay``.

    Defects mended
    --------------
    - One published code adds up one such mean for each past task, so that the weight of the past
      grows from task to task. Here it is ``importance``, and the tasks share it.
    """

    axes: ClassVar[frozenset[str]] = Episodic.axes | {
        "importance",
        "distance",
        "normalize",
        "sample_size",
    }

    class Config(Episodic.Config):
        """Stored images, and how their embeddings are held."""

        importance: NonNegativeFloat = 1.0
        """λ, the weight of the mean distance."""
        distance: DistanceKind = "cosine"
        """``cosine``, which is 1 - cos and leaves lengths free, or ``euclidean``, not squared."""
        normalize: bool = Field(default=False, validate_default=True)
        """``euclidean`` only: bring embeddings to length 1 before they are compared."""
        sample_size: PositiveInt = 100
        """Stored images that a step looks at, drawn anew from those of all past tasks."""

        @field_validator("normalize")
        @classmethod
        def _of_euclidean(cls, normalize: bool, info: ValidationInfo) -> bool:
            # A cosine knows no lengths: trials that differ in it alone are one.
            return normalize and info.data.get("distance") == "euclidean"

    config: Config

    def __init__(
        self, config: Config, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(config, stream, rng, device)
        #: Embeddings of the stored images, row by row: float ``[stored, features]``.
        self.embeddings = torch.empty(0, self.network.backbone.features, device=self.device)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Add the distance of a draw of stored images from where they were."""
        terms = super().losses(batch)
        if self.past is not None:
            rows = self.drawn(len(self.past.x), self.config.sample_size)
            terms["embedding"] = self.config.importance * self.distance(
                self.embedded(self.past.x[rows], self.entry), self.embeddings[rows]
            )
        return terms

    def distance(self, now: Tensor, before: Tensor) -> Tensor:
        """Return the mean distance of embeddings from those stored, a scalar."""
        if self.config.normalize:
            now, before = (functional.normalize(part, dim=1) for part in (now, before))
        return embedding_distance(now, before, self.config.distance)

    def embedded(self, x: Tensor, start: int = 0) -> Tensor:
        """Return what the head reads in eval mode of images or of activations at a depth.

        float ``[B, features]``.
        """
        backbone, training = self.network.backbone, self.network.backbone.training
        backbone.eval()
        embeddings = backbone.run(x, start).flatten(1)
        backbone.train(training)
        return embeddings

    # Memory --------------------------------------------------------------------------------------

    def after_task(self, task: Task, log: Log) -> None:
        """Store the task's share of images with their embeddings."""
        before = len(self.memory)
        super().after_task(task, log)
        with torch.no_grad():
            new = [self.embedded(part) for part in torch.split(self.memory.x[before:], _CHUNK)]
        self.embeddings = torch.cat([self.embeddings, *new])

    def owners(self) -> dict[str, object]:
        """Count the embeddings as memory."""
        return super().owners() | {"memory": (self.memory, self.embeddings)}

    def state_dict(self) -> dict[str, Any]:
        """Add the embeddings."""
        return super().state_dict() | {"embeddings": self.embeddings.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the embeddings too."""
        super().load_state_dict(state)
        self.embeddings = state["embeddings"].to(self.device, copy=True)
