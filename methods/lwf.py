"""Learning without forgetting: what the network said before the task, it goes on saying."""

from __future__ import annotations

from typing import ClassVar

from pydantic import PositiveFloat, field_validator
from torch import Tensor

from methods.core.classifier import Classifier
from methods.core.log import Log
from methods.core.registry import register
from methods.core.snapshot import frozen_copy
from methods.core.task import Batch, Task
from methods.core.teacher import Teacher
from methods.core.training import ReplayLoss, weight_of_new


@register("lwf", paper="Li & Hoiem 2016, arXiv:1606.09282")
class LearningWithoutForgetting(Classifier):
    r"""Keep the outputs that the network had, on the new task's own inputs (eq. 2-4).

    From the second task on each batch is learnt with the loss

    .. math:: w \, CE(y, p) - (1 - w) \, T^2 \sum_k \hat p_k^{1/T} \log p_k^{1/T}

    with :math:`\hat p^{1/T}` and :math:`p^{1/T}` the probabilities of the classes seen before,
    softened by ``temperature`` T: those of the network as it was before the task, in eval mode, and
    those of the network as it is. The gradient of the second term is that of
    :math:`KL(\hat p \,\|\, p)`. The factor :math:`T^2`, which keeps its size whatever the
    temperature, is Hinton's (2015, arXiv:1503.02531) and not the paper's. Both terms are means
    over the batch.

    ``replay_loss`` is w. At 1/t, with t the number of tasks seen, every task has the same weight
    (van de Ven & Tolias 2018, arXiv:1809.10635). The paper's sum of the cross-entropy and
    :math:`\lambda_o` times the distillation is :math:`1 / w` times this loss where :math:`w =
    T^2 / (T^2 + \lambda_o)`: for :math:`\lambda_o = 1` and T = 2, w = 0.8 and a learning rate
    (of plain SGD) 1.25 times as large. Labels are never left out: w is not 0.

    Class-incremental, the old outputs are one softmax over the classes seen before: what was not
    among them is neither asked of the teacher nor held down in the student. Task-incremental, each
    past task's head is held to its own outputs, and the term is the mean over these tasks.
    Domain-incremental, it covers all classes. Nothing of the past is stored: the former network is
    there while a task is learnt and no longer.

    The paper trains the new head alone at first, with the rest frozen; here, as in later
    comparisons, everything learns from the first step.

    Defects mended
    --------------
    - A published code has a weight of 1 on the distillation by default, which takes the labels'
      term away. Here the two weights add up to 1 and neither can be 0.
    - It never trains the heads of earlier tasks, which cannot follow the features as these change.
      Here they learn from the distillation, as in the paper.
    """

    axes: ClassVar[frozenset[str]] = Classifier.axes | {"replay_loss", "temperature"}

    class Config(Classifier.Config):
        """Weight and softness of the outputs that are kept."""

        replay_loss: ReplayLoss = "1/t"
        """Weight of the cross-entropy with the labels, that of the distillation being the rest:
        ``1/t`` in task t, or a constant; ``mean``, where both are means over one batch, is 0.5."""
        temperature: PositiveFloat = 2.0
        """Softens the probabilities of the old classes, those before and those now alike."""

        @field_validator("replay_loss")
        @classmethod
        def _one_batch(cls, replay_loss: ReplayLoss) -> ReplayLoss:
            return 0.5 if replay_loss == "mean" else replay_loss

    config: Config
    #: The network before the task at hand; None in the first task, and between tasks.
    teacher: Teacher | None = None

    def before_task(self, task: Task) -> None:
        """Copy the network as it is, before anything of the task changes it."""
        if task.index:
            self.teacher = Teacher(frozen_copy(self.network), self.stream, task.index)

    def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """Add the distance of the old classes' outputs from those before the task."""
        terms = super().loss_terms(batch, logits)
        if self.teacher is None:
            return terms
        weight = weight_of_new(self.config.replay_loss, len(logits), len(logits), self.tasks_seen)
        weighted = {name: weight * term for name, term in terms.items()}
        return weighted | {"distillation": (1 - weight) * self.distance(batch, logits)}

    def distance(self, batch: Batch, logits: Tensor) -> Tensor:
        """Return the distillation loss of a batch at depth :attr:`entry`, unweighted: a scalar."""
        assert self.teacher is not None
        inputs = Batch(batch.x)  # what they are examples of now says nothing of the past
        old = self.teacher.known
        return self.teacher.loss(inputs, logits, self.entry, old, self.config.temperature)

    def after_task(self, task: Task, log: Log) -> None:
        """Let the former network go: what outlives a task is counted as memory."""
        self.teacher = None
