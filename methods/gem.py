"""Gradient episodic memory: no step may raise the loss of an earlier task."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from methods.core.episodic import Episodic
from methods.core.gradient_vectors import current_gradient, gradient_of, set_gradient
from methods.core.log import Log
from methods.core.quadratic_program import nonnegative_minimum
from methods.core.registry import register
from methods.core.task import Task
from methods.core.training import masked_cross_entropy


def projected(gradient: Tensor, past: Tensor, margin: float = 0.0) -> Tensor:
    r"""Return the nearest vector to a gradient that goes against none of the past ones.

    See :class:`Gem` for the formulas. Where the gradient goes against none, it is returned itself.

    Parameters
    ----------
    gradient : Tensor
        float ``[P]``.
    past : Tensor
        float ``[tasks, P]``, a gradient of each past task; they may depend on each other.
    margin : float
        At least 0.
    """
    if bool((past @ gradient >= 0).all()):
        return gradient
    # Products of near parallel gradients cancel: single precision is too coarse for their system.
    wide = past.double()
    gram = wide @ wide.T
    slope = wide @ gradient.double() + margin * gram.sum(1)
    weight = nonnegative_minimum(gram.cpu().numpy(), slope.cpu().numpy()) + margin
    return gradient + torch.from_numpy(weight).to(past) @ past


@register("gem", paper="Lopez-Paz & Ranzato 2017, arXiv:1706.08840")
class Gem(Episodic):
    r"""Turn each gradient just so far that it lowers the loss on stored images of all past tasks.

    Of each task, ⌊M/T⌋ images are stored. At each step of task t, with g the gradient of its batch
    and :math:`g_k` that of the loss on the memory of task k < t, nothing is changed if
    :math:`\langle g, g_k \rangle \ge 0` for all k (eq. 7). Else g is projected (eq. 8),

    .. math:: \min_{\tilde g} \tfrac12 \lVert g - \tilde g \rVert^2
              \quad \text{s.t.} \quad \langle \tilde g, g_k \rangle \ge 0 \; \forall k < t

    by way of the dual, which has as many variables as there are past tasks (eq. 11). With the
    :math:`g_k` as rows of G it is

    .. math:: \min_v \tfrac12 v^T G G^T v + g^T G^T v \quad \text{s.t.} \quad v \ge \gamma,
              \qquad \tilde g = G^T v + g

    with :math:`\gamma = 0`. A ``margin`` γ > 0 favours backward transfer: it is the same as adding
    γ times each :math:`g_k` to g before the projection, and the constraints hold as well.

    The vectors hold all parameters that learn, the head included. Task-incremental, each
    :math:`g_k` is that of the softmax over the task's own classes: it has entries in the rows of
    the head that belong to them, where g has none. Inner products with g are therefore those of the
    shared layers, the current task's rows keep their gradient whatever happens, and rows of past
    tasks move where their own gradients are added. In the other scenarios rows are shared too.

    The constraints are on the gradient; an optimiser with momentum or a scale of its own for each
    weight steps in another direction. Stored images pass through the network in training mode, as
    batches of their own.

    Defects mended
    --------------
    - One published code projects each tensor by itself. Here all learning parameters are one
      vector, projected once.
    - There the current head's gradient is lost with the first projection, and so are those of
      tensors that violate nothing. Here what the projection does not change stays as it was.
    - There 0.001 is added to the diagonal of :math:`G G^T`. Beside small gradients that is no small
      number, and constraints are missed. Here the program is solved as it stands, in double
      precision, even if it is singular.
    """

    axes: ClassVar[frozenset[str]] = Episodic.axes | {"margin", "replay_batch"}

    class Config(Episodic.Config):
        """Stored images and the margin."""

        margin: NonNegativeFloat = 0.5
        """γ, the least weight of each past gradient in a gradient that is projected."""
        replay_batch: PositiveInt | None = None
        """Stored images of each past task that a step looks at, drawn anew; all by default."""

    config: Config

    #: While a task is learnt: what is stored of each past one, at depth ``entry``, with its labels.
    episodes: tuple[tuple[Tensor, Tensor], ...] = ()

    def before_task(self, task: Task) -> None:
        """Lay out the memory of each past task."""
        super().before_task(task)
        if self.past is not None:
            of_each = torch.unique(self.memory.task, return_counts=True)[1].tolist()
            assert self.past.y is not None
            parts = (torch.split(part, of_each) for part in (self.past.x, self.past.y))
            self.episodes = tuple(zip(*parts, strict=True))

    def edit_gradients(self) -> None:
        """Project the gradient, if it goes against that of a past task."""
        if not self.episodes:
            return
        learning = [p for p in self.network.parameters() if p.requires_grad]
        gradient = current_gradient(learning)
        past = gradient.new_empty(len(self.episodes), len(gradient))
        for k in range(len(self.episodes)):
            past[k] = gradient_of(self.past_loss(k), learning)
        turned = projected(gradient, past, self.config.margin)
        if turned is not gradient:
            set_gradient(learning, turned)

    def past_loss(self, task: int) -> Tensor:
        """Return the loss on the memory of a past task, or on a draw from it, a scalar."""
        x, y = self.episodes[task]
        if self.config.replay_batch is not None:
            rows = self.drawn(len(x), self.config.replay_batch)
            x, y = x[rows], y[rows]
        return masked_cross_entropy(self.network(x, self.entry), y, self.eligible(task))

    def after_task(self, task: Task, log: Log) -> None:
        """Store the task's share, and drop the layout."""
        self.episodes = ()
        super().after_task(task, log)
