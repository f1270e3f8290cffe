"""The network as it was before a task, which says what replayed items were taken for."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from methods.core.task import Batch, Scenario, StreamInfo
from methods.core.training import distillation, masked_cross_entropy


class Teacher:
    """A frozen solver that labels replayed items.

    Parameters
    ----------
    network : nn.Module
        A copy in eval mode; called with items and the depth at which they enter.
    stream : StreamInfo
    tasks : int
        Tasks that it has learnt: it knows their classes and no others.
    """

    def __init__(self, network: nn.Module, stream: StreamInfo, tasks: int) -> None:
        self.network = network
        device = next(network.parameters()).device
        self.classes_of = stream.eligible_by_task()[:tasks].to(device)
        self.known = stream.eligible(tasks).to(device)
        self.task_known = stream.scenario is Scenario.TASK_INCREMENTAL

    def loss(
        self,
        old: Batch,
        logits: Tensor,
        depth: int,
        eligible: Tensor,
        temperature: float | None = None,
    ) -> Tensor:
        """Return the loss of a student on replayed items.

        Where the task is known at test and that of an item is not, the item is one of every task:
        each head learns what the teacher's says of it, and the loss is the mean over the past tasks
        (van de Ven & Tolias 2018, arXiv:1809.10635, section 3.2).

        Parameters
        ----------
        old : Batch
            Replayed items at ``depth``, with their tasks where these are known.
        logits : Tensor
            float ``[B, classes]``, the student's.
        depth : int
        eligible : Tensor
            bool ``[classes]`` or ``[B, classes]``, classes that the student chooses from.
        temperature : float, optional
            Distil the teacher's probabilities at this temperature; by default the labels are the
            classes that it finds most likely.
        """
        with torch.no_grad():
            said: Tensor = self.network(old.x, depth)
        losses = []
        for taught, known in self._masks(old, eligible):
            if temperature is None:
                labels = said.masked_fill(~known, -torch.inf).argmax(1)
                losses.append(masked_cross_entropy(logits, labels, taught))
            else:
                losses.append(distillation(logits, said, taught, known, temperature))
        return torch.stack(losses).mean() if len(losses) > 1 else losses[0]

    def _masks(self, old: Batch, eligible: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the classes that student and teacher choose from, once or for each task."""
        if not self.task_known:
            yield eligible, self.known
        elif old.task is not None:
            yield eligible, self.classes_of[old.task]
        else:
            yield from ((mask, mask) for mask in self.classes_of)
