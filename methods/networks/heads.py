"""A head for each task, and what of a head a task leaves as it is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_DROPOUT = 0.5


class TaskHeads(nn.Module):
    """A head of three layers for each task, which together fill the one label space.

    Each is a fully connected layer with dropout and ReLU, a quarter as wide a one likewise, and one
    to the task's classes. A class that several tasks have belongs to the head of the first of them,
    which serves them all; a task without classes of its own has none.

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
    serving : list of frozenset of str
        Of each task the names of the heads that have classes of it.
    """

    columns: Tensor

    def __init__(self, features: int, classes: int, classes_of: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.classes = classes
        self.heads = nn.ModuleDict()
        self.serving: list[frozenset[str]] = []
        head_of: dict[int, str] = {}
        for task, labels in enumerate(classes_of):
            own = [label for label in labels if label not in head_of]
            if own:
                self.heads[str(task)] = _head(features, len(own))
                head_of |= dict.fromkeys(own, str(task))
            self.serving.append(frozenset(head_of[label] for label in labels))
        self.register_buffer("columns", torch.tensor(list(head_of)), persistent=False)

    def forward(self, embedding: Tensor) -> Tensor:
        """Return logits, float ``[B, classes]``, of embeddings ``[B, features]``."""
        logits = torch.cat([head(embedding) for head in self.heads.values()], 1)
        everywhere = logits.new_zeros(len(logits), self.classes)
        return everywhere.index_copy(1, self.columns, logits)

    def others(self, task: int) -> list[nn.Parameter]:
        """Return the parameters of the heads that do not serve a task.

        One that serves it learns as a whole, with all that it has for classes of other tasks.
        """
        heads = (head for name, head in self.heads.items() if name not in self.serving[task])
        return [parameter for head in heads for parameter in head.parameters()]


class OtherTasks:
    """What of a head serves other tasks alone, and its values when this is made.

    It gets no gradient from the task, and is moved all the same by weight decay, and by momentum
    that outlives a task. Of task heads it is each one that does not serve the task, of a linear
    head the rows of the classes that the task has not.

    Parameters
    ----------
    head : nn.Module
        Task heads, or a layer whose parameters have a row for each class.
    task : int
    eligible : Tensor
        bool ``[classes]``, those that the task has.
    """

    def __init__(self, head: nn.Module, task: int, eligible: Tensor) -> None:
        self.rows: slice | Tensor = slice(None)
        if isinstance(head, TaskHeads):
            parameters = head.others(task)
        else:
            parameters = list(head.parameters())
            self.rows = (~eligible).nonzero().squeeze(1)
        self.values = [(p, p.detach()[self.rows].clone()) for p in parameters]

    @torch.no_grad()
    def put_back(self) -> None:
        """Give it its values again."""
        for parameter, values in self.values:
            parameter[self.rows] = values


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
