"""What a network is told of an item's class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.memories.flow import Flow
from methods.pseudo_rehearsal.config import ConditionKind, EmbeddingFlowConfig


class Condition(nn.Module):
    """A vector for each class: one-hot, learned, or of no values at all.

    Parameters
    ----------
    classes : int
        Size of the label space.
    kind : str

    Attributes
    ----------
    width : int
        Values of a vector: the number of classes, or 0.
    """

    def __init__(self, classes: int, kind: ConditionKind) -> None:
        super().__init__()
        self.classes = classes
        self.width = 0 if kind == "none" else classes
        self.vectors = nn.Embedding(classes, classes) if kind == "embedding" else None

    def forward(self, y: Tensor) -> Tensor:
        """Return the vectors of classes int64 ``[B]``: float ``[B, width]``."""
        if self.vectors is not None:
            learned: Tensor = self.vectors(y)
            return learned
        if not self.width:
            return torch.empty(len(y), 0, device=y.device)
        return functional.one_hot(y, self.classes).to(torch.get_default_dtype())


class EmbeddingFlow(Flow):
    """A flow on vectors of ``dim`` values, told of their class."""

    def __init__(self, dim: int, condition: Condition, config: EmbeddingFlowConfig) -> None:
        super().__init__(
            (dim,),
            condition.width,
            blocks=config.blocks,
            levels=config.levels,
            hidden=config.hidden,
            hidden_layers=config.hidden_layers,
            whiten=False,  # as published
        )
        self.given = condition

    def _condition(self, y: Tensor | None) -> Tensor | None:
        if not self.classes:
            return None
        assert y is not None
        condition: Tensor = self.given(y)
        return condition
