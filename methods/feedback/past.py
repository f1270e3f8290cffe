"""What a network with feedback connections, as it was at some time, gives back and calls it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from methods.core.learnt import Learnt, Wanted
from methods.core.task import Scenario, StreamInfo
from methods.feedback.network import FeedbackNetwork


class Rehearsed(NamedTuple):
    """Drawn items with their targets.

    ``x`` is float ``[B, *item]``. ``targets``, float ``[B, classes]``, are probabilities among the
    ``eligible`` classes, bool, which broadcasts to it. Where an item is labelled for each of K
    tasks, they are ``[K, B, classes]`` and ``[K, 1, classes]``. ``labels`` select prior and gates:
    the targets, or, where they are no probabilities, classes, int64 ``[B]``.
    """

    x: Tensor
    wanted: Wanted
    targets: Tensor
    eligible: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Past:
    """The first tasks of a stream, as a network knows them.

    Parameters
    ----------
    network : FeedbackNetwork
        Labels in eval mode, whatever mode it is in.
    stream : StreamInfo
    tasks : int
        Number of tasks that it has learnt, at least 1.
    temperature : float or None
        What the network's logits are divided by for its labels; None: the most probable class.
    """

    network: FeedbackNetwork
    stream: StreamInfo
    tasks: int
    temperature: float | None

    @cached_property
    def learnt(self) -> Learnt:
        """The classes and tasks that can be drawn."""
        return Learnt(self.stream, self.tasks, self.network.classes_of.device)

    @cached_property
    def _classes(self) -> Tensor:
        return self.stream.eligible(self.tasks).to(self.network.classes_of.device)

    def draw(self, wanted: Wanted, draws: torch.Generator) -> Tensor:
        """Draw an item for each: float ``[B, *item]``."""
        context = self.network.context(*wanted)
        return self.network.feedback.draw(wanted.y, context, draws)

    def rehearse(self, n: int, draws: torch.Generator) -> Rehearsed:
        """Draw items, as often of each class and task in expectation, and label them."""
        wanted = self.learnt.choose(n, draws)
        x = self.draw(wanted, draws)
        eligible = self.eligible(wanted)
        targets = self.targets(x, eligible)
        labels = targets if self.temperature is not None else targets.argmax(-1)
        if not self.network.conditional:
            labels = wanted.y  # makes no difference
        return Rehearsed(x, wanted, targets, eligible, labels)

    def eligible(self, wanted: Wanted) -> Tensor:
        """Return the classes that compete in an item's label; see :class:`Rehearsed`.

        Task-incremental, those of its task; where the network cannot be asked for a task, those of
        each task in turn.
        """
        classes_of = self.network.classes_of
        if self.stream.scenario is not Scenario.TASK_INCREMENTAL:
            return self._classes
        return (
            classes_of[wanted.task] if self.network.conditional else classes_of[: self.tasks, None]
        )

    @torch.no_grad()
    def targets(self, x: Tensor, eligible: Tensor) -> Tensor:
        """Label items, float ``[B, *item]``, with probabilities among the eligible classes."""
        logits = self._logits(x).masked_fill(~eligible, -torch.inf)
        if self.temperature is None:
            return functional.one_hot(logits.argmax(-1), logits.shape[-1]).float()
        return (logits / self.temperature).softmax(-1)

    @torch.no_grad()
    def labels(self, x: Tensor, wanted: Wanted) -> Tensor:
        """Return the most probable eligible class of each item: int64 ``[B]``."""
        eligible = self.eligible(wanted)
        if eligible.ndim == 3:
            eligible = eligible.any(0)
        return self._logits(x).masked_fill(~eligible, -torch.inf).argmax(1)

    def _logits(self, x: Tensor) -> Tensor:
        training = self.network.training
        if training:
            self.network.eval()
        logits: Tensor = self.network(x, self.network.depth)
        if training:
            self.network.train()
        return logits


def distillation(
    logits: Tensor, targets: Tensor, eligible: Tensor, temperature: float | None
) -> Tensor:
    r"""Return :math:`-T^2 \sum_c q_c \log p_c`, a mean over items: a scalar.

    p is the softmax of the logits divided by T over the eligible classes (van de Ven et al. 2020,
    Methods, "Distillation"; Hinton et al. 2015, arXiv:1503.02531).

    Parameters
    ----------
    logits : Tensor
        float ``[B, classes]``.
    targets : Tensor
        The probabilities q, float ``[B, classes]`` or ``[K, B, classes]``, 0 where not eligible.
    eligible : Tensor
        bool, broadcasts to ``targets``.
    temperature : float or None
        T; None is 1.
    """
    temperature = temperature or 1.0
    log_p = (logits / temperature).masked_fill(~eligible, -torch.inf).log_softmax(-1)
    # A class with p = 0 has q = 0, too: 0 · log 0 is 0 here.
    return -(temperature**2) * (targets * log_p.masked_fill(~eligible, 0.0)).sum(-1).mean()
