"""Elastic weight consolidation: weights that earlier tasks needed resist change."""

from __future__ import annotations

import copy
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt, ValidationInfo, field_validator
from torch import Tensor

from methods.core.classifier import Classifier
from methods.core.fisher import FisherLabels, fisher_information
from methods.core.log import Log
from methods.core.registry import register
from methods.core.rng import Rng
from methods.core.task import Batch, StreamInfo, Task

Share = Annotated[float, Field(ge=0, le=1)]


@register("ewc", paper="Kirkpatrick et al. 2017, arXiv:1612.00796")
class Ewc(Classifier):
    r"""Pull each weight towards its values after earlier tasks, as hard as those needed it (eq. 3).

    With the diagonal Fisher information :math:`F_t` after task t, the loss gains the term

    .. math:: \frac{\lambda}{2} \sum_t \sum_i F_{t,i} (\theta_i - \theta^*_{t,i})^2

    where :math:`\lambda` is ``strength``. The ½ is in it, as in the paper: it is twice the strength
    of a code without. :math:`F_t` is a mean over examples of *their own* squared gradients, taken
    in eval mode and over the classes that compete in training. Once a task is learnt, a code that
    squares the gradients of mini-batches of B has an F about B times smaller: ``strength`` is one
    Bth of its own.

    It covers all that learns, the head included. What is frozen takes no part; of batch norm, the
    statistics take none.

    ``separate`` sums over all tasks as above. That sum is itself one quadratic: its curvature is
    the sum of the :math:`F_t`, its centre their weighted mean of the :math:`\theta^*_t`. These two
    vectors are all that is kept, however many tasks there are; gradients are those of the published
    form, which keeps two for each task.

    ``online`` (Schwarz et al. 2018, arXiv:1805.06370) puts the centre where the weights were after
    the last task, as the Laplace approximation has it (Huszár 2018, arXiv:1712.03847), and lets
    the curvature fade by ``gamma`` with each new task.
    """

    axes: ClassVar[frozenset[str]] = Classifier.axes | {
        "strength",
        "mode",
        "gamma",
        "fisher",
        "fisher_samples",
    }

    class Config(Classifier.Config):
        """Strength of the pull, and how the Fisher information is estimated and carried on."""

        strength: NonNegativeFloat = 1e4
        """λ of λ/2 Σ F (θ - θ*)²; what is right differs by orders of magnitude between streams."""
        mode: Literal["separate", "online"] = "separate"
        """A quadratic for each past task, or one that follows the last."""
        gamma: Share | None = Field(default=None, validate_default=True)
        """``online`` only: the share of the Fisher information that outlives a task; 1 by
        default."""
        fisher: FisherLabels = "exact"
        """Labels whose gradients are squared: all that compete, each weighted by its probability
        (``exact``); one drawn from the network's prediction (``sampled``); that of the data
        (``empirical``)."""
        fisher_samples: PositiveInt | Literal["all"] = 1000
        """Training examples of each task that it is estimated with."""

        @field_validator("gamma")
        @classmethod
        def _of_online(cls, gamma: float | None, info: ValidationInfo) -> float | None:
            if info.data.get("mode") == "separate":
                return None  # nothing fades: trials that differ in it alone are one
            return 1.0 if gamma is None else gamma

        @property
        def implied(self) -> frozenset[str]:
            """The decay, where there is none."""
            return frozenset({"gamma"} if self.gamma is None else ())

    config: Config

    def __init__(
        self, config: Config, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(config, stream, rng, device)
        #: Curvature Σ F, by parameter; empty before the first task is learnt.
        self.curvature: dict[str, Tensor] = {}
        #: Weights at which the quadratic is least, by parameter.
        self.center: dict[str, Tensor] = {}
        #: What is left of Σ F (θ - θ*)² there, where tasks disagree: 0 but for ``separate``.
        self.least = 0.0

    def learning(self) -> dict[str, Tensor]:
        """Return the parameters that learn, by name."""
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    # Training ------------------------------------------------------------------------------------

    def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """Add the pull of the tasks before."""
        terms = super().loss_terms(batch, logits)
        if self.curvature:
            terms["ewc"] = self.penalty()
        return terms

    def penalty(self) -> Tensor:
        """Return λ/2 Σ F (θ - θ*)² at the weights as they are, a scalar."""
        parts = []
        for name, parameter in self.learning().items():
            away = (parameter - self.center[name]).flatten()
            parts.append(torch.dot(away * self.curvature[name].flatten(), away))
        return self.config.strength / 2 * (torch.stack(parts).sum() + self.least)

    # Fisher information --------------------------------------------------------------------------

    def after_task(self, task: Task, log: Log) -> None:
        """Add the task's own quadratic to that of the tasks before."""
        with log.phase("fisher"):
            fisher = self.fisher_information(task)
        weights = {name: p.detach().clone() for name, p in self.learning().items()}
        if not self.curvature:
            self.curvature, self.center = fisher, weights
        elif self.config.gamma is None:
            self._add(fisher, weights)
        else:
            for name, new in fisher.items():
                self.curvature[name].mul_(self.config.gamma).add_(new)
            self.center = weights

    def _add(self, fisher: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
        """Complete the square of two quadratics, as variances of two samples are pooled."""
        for name, new in fisher.items():
            old, away = self.curvature[name], weights[name] - self.center[name]
            share = new / (old + new).clamp_min(torch.finfo(new.dtype).tiny)
            self.least += float((old * share * away.square()).sum())
            self.center[name].addcmul_(share, away)
            old.add_(new)

    def fisher_information(self, task: Task) -> dict[str, Tensor]:
        """Estimate the diagonal Fisher information of the parameters that learn, by name."""
        count = len(task.train)
        if self.config.fisher_samples != "all":
            count = min(count, self.config.fisher_samples)
        return fisher_information(
            self.network,
            self.entry,
            self.activations(task.train, self.entry),
            count,
            self.config.fisher,
            self.eligible,
            self.rng.at(task.index).of("fisher"),
        )

    # State ---------------------------------------------------------------------------------------

    def owners(self) -> dict[str, object]:
        """Add curvature and centre."""
        return super().owners() | {"snapshots": (self.curvature, self.center)}

    def state_dict(self) -> dict[str, Any]:
        """Add the quadratic."""
        quadratic = {"curvature": self.curvature, "center": self.center, "least": self.least}
        return super().state_dict() | {"quadratic": copy.deepcopy(quadratic)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the quadratic too."""
        super().load_state_dict(state)
        quadratic = state["quadratic"]
        self.curvature, self.center = (
            {name: part.to(self.device, copy=True) for name, part in quadratic[which].items()}
            for which in ("curvature", "center")
        )
        self.least = quadratic["least"]
