"""Synaptic intelligence: its path integral, its importance, and its pull."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, StreamInfo, Task, TensorExamples
from methods.core.training import Adam, Sgd
from methods.naive import Naive
from methods.si import PathIntegral, SynapticIntelligence

CLASSES_OF = ((0, 1), (2, 3), (4, 5))


def make_task(index: int, n: int = 30) -> Task:
    generator = torch.Generator().manual_seed(index)
    x = torch.randint(256, (n, 1, 3, 3), generator=generator, dtype=torch.uint8)
    y = torch.tensor(CLASSES_OF[index])[torch.randint(2, (n,), generator=generator)]
    return Task(index, CLASSES_OF[index], TensorExamples(x, y))


def make(method: Any, **options: Any) -> Any:
    small = {
        "network": {"name": "mlp", "widths": [8]},
        "budget": {"iterations": 5, "batch_size": 10},
        "optimizer": {"name": "adam", "lr": 0.02},
    }
    stream = StreamInfo(Scenario.CLASS_INCREMENTAL, 3, (1, 3, 3), 6, CLASSES_OF)
    return method(method.Config.model_validate(small | options), stream, Rng(0))


class Noting(SynapticIntelligence):
    """Writes down weights and the bare loss's own gradients, step by step and task by task."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.steps: list[list[tuple[dict[str, Tensor], dict[str, Tensor]]]] = []
        self.terms: list[dict[str, Tensor]] = []

    def before_task(self, task: Task) -> None:
        super().before_task(task)
        self.steps.append([])

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        terms = super().losses(batch)
        now = self.learning()
        gradients = torch.autograd.grad(terms["new"], list(now.values()), retain_graph=True)
        weights = {name: p.detach().double() for name, p in now.items()}
        own = {name: g.double() for name, g in zip(now, gradients, strict=True)}
        self.steps[-1].append((weights, own))
        self.terms.append(terms)
        return terms


def learnt(tasks: int = 3, method: Any = Noting, **options: Any) -> Any:
    si = make(method, **options)
    for index in range(tasks):
        si.learn(make_task(index))
    return si


def move(si: Any) -> None:
    """Put the weights somewhere else."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in si.network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)


# Path integral -----------------------------------------------------------------------------------

CURVATURE = torch.tensor([0.1, 1.0, 3.0, 10.0])
START = torch.tensor([2.0, -1.0, 0.5, 1.0])


def descend(optimizer: Any, steps: int, pull: float = 0.0) -> tuple[Tensor, Tensor]:
    """Follow Σ a θ² / 2 down, with a pull towards 3 that is no part of it; return ω and θ."""
    parameter = nn.Parameter(START.clone())
    path, stepper = PathIntegral([parameter]), optimizer.build([parameter])
    for _ in range(steps):
        stepper.zero_grad()
        (CURVATURE * parameter.square()).sum().div(2).backward()
        path.note_gradients()
        assert parameter.grad is not None
        parameter.grad += pull * (parameter.detach() - 3)
        stepper.step()
        path.add_step()
    return path.sums[0], parameter.detach()


def decrease(end: Tensor) -> Tensor:
    return CURVATURE * (START.square() - end.square()) / 2


@pytest.mark.parametrize("steps", [1, 7, 100])
@pytest.mark.parametrize("lr", [1e-3, 0.05, 0.15])
def test_path_of_gradient_descent_has_its_closed_form(lr: float, steps: int) -> None:
    """θ shrinks by 1 - lr a a step, so that ω is a geometric series of lr a² θ²."""
    omega, end = descend(Sgd(lr=lr), steps)
    shrinks = (1 - lr * CURVATURE).double()
    torch.testing.assert_close(end.double(), START * shrinks**steps, rtol=1e-4, atol=1e-7)
    series = (1 - shrinks ** (2 * steps)) / (1 - shrinks.square())
    expected = lr * CURVATURE.double().square() * START.double().square() * series
    torch.testing.assert_close(omega.double(), expected, rtol=1e-4, atol=1e-7)
    # Steps straight on overshoot each decrease by 2 / (2 - lr a).
    torch.testing.assert_close(omega, decrease(end) * 2 / (2 - lr * CURVATURE), rtol=1e-4, atol=0)


@pytest.mark.parametrize("pull", [0.0, 2.0])
@pytest.mark.parametrize("name", ["sgd", "momentum", "adam"])
def test_short_steps_add_up_to_the_decrease_of_each_weight(name: str, pull: float) -> None:
    """Of the loss alone, whatever else moves the weights: it may as well rise."""
    optimizer = {
        "sgd": Sgd(lr=1e-3),
        "momentum": Sgd(lr=1e-4, momentum=0.9),
        "adam": Adam(lr=1e-3),
    }[name]
    omega, end = descend(optimizer, 1000, pull)
    torch.testing.assert_close(omega, decrease(end), rtol=0.02, atol=2e-3)
    assert bool((decrease(end) < -0.01).any()) == bool(pull)


def test_a_weight_without_gradient_did_nothing() -> None:
    idle, busy = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    path = PathIntegral([idle, busy])
    for _ in range(2):
        busy.grad = torch.tensor([1.0, -1.0])
        path.note_gradients()
        with torch.no_grad():
            idle.sub_(0.5)
            busy.sub_(0.5)
        path.add_step()
    assert torch.equal(path.sums[0], torch.zeros(2))
    assert torch.equal(path.sums[1], torch.tensor([1.0, -1.0]))


# Importance --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "adam", "lr": 0.02},
        {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    ],
)
def test_importance_is_the_sum_over_tasks(optimizer: dict[str, Any]) -> None:
    """Eq. 5, from weights and gradients that were noted independently."""
    si = learnt(3, strength=30.0, damping=0.02, optimizer=optimizer)
    starts = [steps[0][0] for steps in si.steps]
    ends = [*starts[1:], {name: p.detach().double() for name, p in si.learning().items()}]
    for name, importance in si.importance.items():
        expected = torch.zeros_like(importance, dtype=torch.float64)
        for steps, start, end in zip(si.steps, starts, ends, strict=True):
            path = [weights[name] for weights, _ in steps] + [end[name]]
            omega = -sum(
                own[name] * (after - before)
                for (_, own), before, after in zip(steps, path[:-1], path[1:], strict=True)
            )
            expected += omega.clamp_min(0) / ((end[name] - start[name]).square() + 0.02)
        scale = float(expected.max())
        assert scale > 0
        torch.testing.assert_close(importance.double(), expected, rtol=1e-3, atol=1e-5 * scale)
        assert torch.equal(si.center[name].double(), ends[-1][name])


def test_what_is_frozen_takes_no_part() -> None:
    si = learnt(2, network={"name": "mlp", "widths": [8, 7]}, freeze_depth=1)
    assert list(si.importance) == list(si.center) == list(si.learning())
    assert not any("blocks.0." in name for name in si.importance)
    assert any("blocks.1." in name for name in si.importance)
    assert si.path is None
    assert si.bytes_kept()["snapshots"] == 2 * 4 * sum(p.numel() for p in si.learning().values())


# Pull --------------------------------------------------------------------------------------------


def test_pull_is_the_gradient_of_the_penalty() -> None:
    """Both in closed form, and as autograd has it."""
    si = learnt(2, strength=7.0)
    si.before_task(make_task(2))
    move(si)
    now = si.learning()
    parts = [
        (si.importance[name].double() * (p.detach() - si.center[name]).double().square()).sum()
        for name, p in now.items()
    ]
    assert float(si.penalty().detach()) == pytest.approx(7 * float(sum(parts)), rel=1e-5)
    slope = torch.autograd.grad(si.penalty(), list(now.values()))
    own = [torch.randn(p.shape, generator=torch.Generator().manual_seed(3)) for p in now.values()]
    for parameter, gradient in zip(now.values(), own, strict=True):
        parameter.grad = gradient.clone()
    next(iter(now.values())).grad = None
    own[0].zero_()
    si.edit_gradients()
    for (name, parameter), gradient, pull in zip(now.items(), own, slope, strict=True):
        closed = 14 * si.importance[name] * (parameter.detach() - si.center[name])
        torch.testing.assert_close(pull, closed, rtol=1e-4, atol=1e-6)
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient + closed, rtol=1e-4, atol=1e-6)


def test_the_number_that_is_reported_keeps_nothing_for_a_backward_pass() -> None:
    si, task = learnt(2, SynapticIntelligence), make_task(2)
    si.before_task(task)
    move(si)
    batch, kept = task.train.gather(torch.arange(10)), []
    logits = si.network(batch.x).detach()
    with torch.autograd.graph.saved_tensors_hooks(kept.append, lambda _: None):
        terms = si.loss_terms(batch, logits)
    assert kept == []
    assert torch.equal(terms["si"], si.penalty().detach())


def test_training_is_that_of_an_explicit_penalty() -> None:
    """As if the term were in the loss that autograd differentiates."""

    class Explicit(SynapticIntelligence):
        def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
            terms = super().loss_terms(batch, logits)
            return terms | ({"si": self.penalty()} if "si" in terms else {})

        def edit_gradients(self) -> None:
            kept, self.importance = self.importance, {}
            super().edit_gradients()
            self.importance = kept

    options = {"strength": 20.0, "damping": 0.01, "optimizer": {"name": "sgd", "lr": 0.1}}
    # Only weights: noted with the penalty in them, the gradients give another importance.
    one, other = (learnt(1, method, **options) for method in (SynapticIntelligence, Explicit))
    for si in (one, other):
        si.learn(make_task(1))
    for mine, theirs in zip(one.network.parameters(), other.network.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(
        one.importance["head.weight"], other.importance["head.weight"], rtol=1e-2
    )


def test_nothing_pulls_where_a_task_ended() -> None:
    si = learnt(2)
    assert [set(terms) for terms in si.terms] == [{"new"}] * 5 + [{"new", "si"}] * 5
    first, *others = [float(terms["si"]) for terms in si.terms[5:]]
    assert first == 0
    assert all(term > 0 for term in others)
    assert float(si.penalty().detach()) == 0
    move(si)
    assert float(si.penalty().detach()) > 0


def test_without_strength_it_is_fine_tuning() -> None:
    si, naive = learnt(3, strength=0.0), learnt(3, Naive)
    for mine, theirs in zip(si.network.parameters(), naive.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_strength_holds_the_weights() -> None:
    def moved(strength: float) -> float:
        si = learnt(1, strength=strength, optimizer={"name": "sgd", "lr": 0.05})
        importance, before = si.importance, si.center
        si.learn(make_task(1))
        parts = [
            (importance[name] * (p.detach() - before[name]).square()).sum()
            for name, p in si.learning().items()
        ]
        return float(torch.stack(parts).sum())

    assert moved(0.0) > 1.2 * moved(10.0) > 0


def test_going_on_from_a_saved_state() -> None:
    whole, other = learnt(2, SynapticIntelligence), make(SynapticIntelligence)
    other.load_state_dict(whole.state_dict())
    for si in (whole, other):
        si.learn(make_task(2))
    torch.testing.assert_close(whole.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("options", [{"strength": -1.0}, {"damping": 0.0}])
def test_impossible_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=list(options)[-1]):
        SynapticIntelligence.Config.model_validate(options)
