"""Averaged gradient episodic memory: no step may raise the loss of the past as a whole."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from methods.core.episodic import Episodic
from methods.core.gradient_vectors import current_gradient, gradient_of, set_gradient
from methods.core.registry import register
from methods.core.task import Batch
from methods.core.training import masked_cross_entropy


def without_conflict(gradient: Tensor, reference: Tensor) -> Tensor:
    """Take from a gradient what goes against a reference; itself where nothing does.

    Parameters
    ----------
    gradient, reference : Tensor
        float ``[P]``.
    """
    product = torch.dot(gradient, reference)
    if bool(product >= 0):
        return gradient
    return gradient - product / torch.dot(reference, reference) * reference


@register("a-gem", paper="Chaudhry et al. 2019, arXiv:1812.00420")
class AGem(Episodic):
    r"""Turn each gradient so far that it does not raise the loss on a draw of all stored images.

    Of each task, ⌊M/T⌋ images are stored. Each step draws a batch of them, whatever their task, and
    takes the gradient :math:`g_{ref}` of their mean loss. Where
    :math:`g^T g_{ref} < 0`, the gradient g of the task's batch becomes (eq. 11)

    .. math:: \tilde g = g - \frac{g^T g_{ref}}{g_{ref}^T g_{ref}} \, g_{ref}

    the nearest vector that is orthogonal to it. One constraint takes the place of one for each past
    task of :class:`~methods.gem.Gem`: a step costs one more pass, however many tasks there are, and
    the loss of a single task may rise.

    The vectors hold all parameters that learn, the head included. Task-incremental, each stored
    image competes among the classes of its own task.
    """

    axes: ClassVar[frozenset[str]] = Episodic.axes | {"replay_batch"}

    class Config(Episodic.Config):
        """Stored images, and how many a step looks at."""

        replay_batch: PositiveInt | None = None
        """Stored images that the reference gradient of a step is taken over, drawn anew; as many as
        the budget's ``batch_size`` by default."""

    config: Config

    def edit_gradients(self) -> None:
        """Project the gradient, if it goes against the reference."""
        if self.past is None:
            return
        learning = [p for p in self.network.parameters() if p.requires_grad]
        gradient = current_gradient(learning)
        turned = without_conflict(gradient, gradient_of(self.past_loss(self.past), learning))
        if turned is not gradient:
            set_gradient(learning, turned)

    def past_loss(self, past: Batch) -> Tensor:
        """Return the mean loss on a draw of what is stored, a scalar."""
        n = self.config.replay_batch or self.config.budget.batch_size
        rows = self.drawn(len(past.x), n)
        assert past.y is not None
        assert past.task is not None
        logits = self.network(past.x[rows], self.entry)
        return masked_cross_entropy(logits, past.y[rows], self.eligible(past.task[rows]))
