"""Synaptic intelligence: weights by which the loss fell resist change."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn

from methods.core.classifier import Classifier
from methods.core.log import Log
from methods.core.registry import register
from methods.core.rng import Rng
from methods.core.task import Batch, StreamInfo, Task


class PathIntegral:
    """What each weight did for a loss: the sum over steps of -g·Δθ, elementwise.

    Where steps are short it is the part of the loss's decrease that is owed to the weight; over all
    weights the parts add up to the decrease (eq. 3).

    Parameters
    ----------
    parameters : iterable of nn.Parameter
        Those that are followed, from where they are now.
    """

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = list(parameters)
        #: The integral so far, a tensor of each parameter's shape.
        self.sums = [torch.zeros_like(p.detach()) for p in self.parameters]
        self._before = [p.detach().clone() for p in self.parameters]
        self._gradients: list[Tensor | None] = []

    def note_gradients(self) -> None:
        """Keep the gradients as they are now: those of the loss whose decrease is shared out."""
        self._gradients = [None if p.grad is None else p.grad.clone() for p in self.parameters]

    @torch.no_grad()
    def add_step(self) -> None:
        """Add the step that was taken since."""
        parts = zip(self.sums, self._gradients, self.parameters, self._before, strict=True)
        for total, gradient, parameter, before in parts:
            if gradient is not None:
                total.addcmul_(gradient, parameter - before, value=-1)
            before.copy_(parameter)


@register("si", paper="Zenke, Poole & Ganguli 2017, arXiv:1703.04200")
class SynapticIntelligence(Classifier):
    r"""Pull each weight towards where it was, as hard as the loss fell by its moves (eq. 3-5).

    While a task is learnt each weight gathers :math:`\omega = \sum -g \, \Delta\theta` over the
    steps, with g the gradient of the batch's loss and Δθ what the optimiser made of it. Then

    .. math:: \Omega \leftarrow \Omega +
        \frac{\max(\omega, 0)}{(\theta^*_t - \theta^*_{t-1})^2 + \xi}, \qquad
        L \leftarrow L + c \sum_i \Omega_i (\theta_i - \theta^*_{t,i})^2

    with :math:`\theta^*_t` the weights after task t, from which the next one starts, c ``strength``
    and :math:`\xi` ``damping``. There is no ½ in front of c.

    g is of the new task's loss alone: ω tells how a weight served the task, and being pulled back
    to where earlier tasks want it does not. The pull's gradient, :math:`2 c \, \Omega (\theta -
    \theta^*)`, is added once g is noted, so that one backward pass serves both. A weight whose
    moves raised the loss on the whole counts as one that did nothing; by eq. 5 as it stands it
    would be pushed away from where it was.

    Batches stand for the whole loss, and their noise makes the integral too large, as the paper
    says. Moves by momentum and weight decay belong to the path. Where early stopping takes the last
    steps back, ω still has them in it.

    It covers all that learns, the head included; what is frozen takes no part.
    """

    axes: ClassVar[frozenset[str]] = Classifier.axes | {"strength", "damping"}

    class Config(Classifier.Config):
        """Strength of the pull, and what bounds it."""

        strength: NonNegativeFloat = 100.0
        """c of c Σ Ω (θ - θ*)²; what is right differs by orders of magnitude between streams."""
        damping: PositiveFloat = 0.1
        """ξ, added to the squared distance that a weight went in a task: those that hardly moved
        get no great Ω. The larger it is, the larger the strength that is right."""

    config: Config

    def __init__(
        self, config: Config, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(config, stream, rng, device)
        #: Ω, by parameter; empty before the first task is learnt.
        self.importance: dict[str, Tensor] = {}
        #: θ*, the weights where the task at hand started, by parameter.
        self.center: dict[str, Tensor] = {}
        #: ω of the task at hand; None between tasks.
        self.path: PathIntegral | None = None

    def learning(self) -> dict[str, nn.Parameter]:
        """Return the parameters that learn, by name."""
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    # Training ------------------------------------------------------------------------------------

    def before_task(self, task: Task) -> None:
        """Start the path where the weights are."""
        self.path = PathIntegral(self.learning().values())
        self.center = self._weights()

    def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """Add the pull as a number only: :meth:`edit_gradients` adds its gradient."""
        terms = super().loss_terms(batch, logits)
        if self.importance:
            with torch.no_grad():
                terms["si"] = self.penalty()
        return terms

    def penalty(self) -> Tensor:
        """Return c Σ Ω (θ - θ*)² at the weights as they are, a scalar."""
        parts = []
        for name, parameter in self.learning().items():
            away = (parameter - self.center[name]).flatten()
            parts.append(torch.dot(away * self.importance[name].flatten(), away))
        return self.config.strength * torch.stack(parts).sum()

    @torch.no_grad()
    def edit_gradients(self) -> None:
        """Note the gradients of the task's loss, then add that of the pull."""
        assert self.path is not None
        self.path.note_gradients()
        if not self.importance:
            return
        for name, parameter in self.learning().items():
            pull = (parameter - self.center[name]).mul_(self.importance[name])
            pull.mul_(2 * self.config.strength)
            parameter.grad = pull if parameter.grad is None else parameter.grad.add_(pull)

    def after_step(self, batch: Batch) -> None:
        """Follow the path."""
        assert self.path is not None
        self.path.add_step()

    # Importance ----------------------------------------------------------------------------------

    def after_task(self, task: Task, log: Log) -> None:
        """Add what the weights that go on learning did for the task."""
        assert self.path is not None
        weights, importance = self._weights(), {}
        gathered = {id(p): s for p, s in zip(self.path.parameters, self.path.sums, strict=True)}
        for name, parameter in self.learning().items():
            moved = weights[name] - self.center[name]
            new = gathered[id(parameter)].relu() / (moved.square() + self.config.damping)
            importance[name] = new + self.importance[name] if self.importance else new
        self.importance, self.center, self.path = importance, weights, None

    def _weights(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self.learning().items()}

    # State ---------------------------------------------------------------------------------------

    def owners(self) -> dict[str, object]:
        """Add importance and centre."""
        return super().owners() | {"snapshots": (self.importance, self.center)}

    def state_dict(self) -> dict[str, Any]:
        """Add importance and centre."""
        quadratic = {"importance": self.importance, "center": self.center}
        return super().state_dict() | {"quadratic": copy.deepcopy(quadratic)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore importance and centre too."""
        super().load_state_dict(state)
        self.importance, self.center = (
            {
                name: part.to(self.device, copy=True)
                for name, part in state["quadratic"][which].items()
            }
            for which in ("importance", "center")
        )
