"""Synthetic images of the past, and where their embeddings were before the task at hand."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.core.alignment import DistanceKind, embedding_distance
from methods.memories.buffer import Buffer
from methods.networks import Backbone

#: Images that go through the encoder at once where their embeddings are noted.
_CHUNK = 1024


class Anchors:
    """Images whose embeddings are to stay where they are when this is made.

    Parameters
    ----------
    images : Buffer
        At depth 0.
    backbone : Backbone
        The encoder; whatever was frozen stays so.
    by_class : bool
        Whether images are drawn class by class.

    Attributes
    ----------
    before : Tensor
        float ``[N, features]``, embeddings as they were.
    """

    def __init__(self, images: Buffer, backbone: Backbone, by_class: bool = False) -> None:
        self.images, self.backbone = images, backbone
        rows = torch.arange(len(images), device=images.device)
        self.groups = (rows,)
        if by_class:
            labels = torch.unique(images.y)
            self.groups = tuple((images.y == label).nonzero().squeeze(1) for label in labels)
        with torch.no_grad():
            parts = [self._embeddings(images.x[some]) for some in torch.split(rows, _CHUNK)]
        self.before = torch.cat(parts)

    def drift(self, n: int, kind: DistanceKind, draws: torch.Generator) -> Tensor:
        """Return the mean distance of embeddings from where they were, a scalar with a gradient.

        Over ``n`` random images, or ``n`` of each class.
        """
        chosen = [
            group[torch.randint(len(group), (n,), generator=draws).to(group.device)]
            for group in self.groups
        ]
        rows = chosen[0] if len(chosen) == 1 else torch.cat(chosen)
        return embedding_distance(self._embeddings(self.images.x[rows]), self.before[rows], kind)

    def _embeddings(self, x: Tensor) -> Tensor:
        """Run the encoder in eval mode: of an encoder that stays, no embedding moves."""
        training = self.backbone.training
        self.backbone.eval()
        embeddings = self.backbone.run(x).flatten(1)
        self.backbone.train(training)
        return embeddings
