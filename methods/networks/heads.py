"""A head for each task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_DROPOUT = 0.5


class TaskHeads(nn.Module):
    """A head of three layers for each task, which together fill the one label space.

    Each is a fully connected layer with dropout and ReLU, a quarter as wide a one likewise, and one
    to the task's classes. A class that several tasks have belongs to the head of the first of them;
    a task without classes of its own has none.

    Where the task is known at test, a softmax runs over the classes of one task: the heads of the
    others get no gradient.

    Parameters
    ----------
    features : int
        Of an embedding.
    classes : int
        Size of the label space.
    classes_of : sequence of sequence of int
        Of each task.

    Attributes
    ----------
    heads : nn.ModuleDict
        By the task's index, as text.
    """

    columns: Tensor

    def __init__(self, features: int, classes: int, classes_of: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.classes = classes
        self.heads = nn.ModuleDict()
        columns: list[int] = []
        for task, labels in enumerate(classes_of):
            own = [label for label in labels if label not in columns]
            if own:
                self.heads[str(task)] = _head(features, len(own))
                columns += own
        self.register_buffer("columns", torch.tensor(columns), persistent=False)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return logits, float ``[B, classes]``, of embeddings ``[B, features]``."""
        logits = torch.cat([head(embedding) for head in self.heads.values()], 1)
        everywhere = logits.new_zeros(len(logits), self.classes)
        return everywhere.index_copy(1, self.columns, logits)

    def others(self, task: int) -> list[nn.Parameter]:
        """Return the parameters of all heads but that of a task."""
        heads = (head for name, head in self.heads.items() if name != str(task))
        return [parameter for head in heads for parameter in head.parameters()]


def _head(features: int, classes: int) -> nn.Sequential:
    narrow = max(1, features // 4)
    return nn.Sequential(
        nn.Linear(features, features),
        nn.Dropout(_DROPOUT),
        nn.ReLU(),
        nn.Linear(features, narrow),
        nn.Dropout(_DROPOUT),
        nn.ReLU(),
        nn.Linear(narrow, classes),
    )
