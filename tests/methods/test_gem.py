"""Gradient episodic memory: its projection against a solver of the primal, and its gradients."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, nnls
from tiny import competing, learnt, make, make_task
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from methods.core.gradient_vectors import current_gradient
from methods.core.task import Batch, Scenario, Task
from methods.core.training import Diverged
from methods.gem import Gem, projected
from methods.naive import Naive


def draws(seed: int, past: int = 3, size: int = 6) -> tuple[Tensor, Tensor]:
    """Return a gradient ``[P]`` and past ones ``[tasks, P]`` that it goes against."""
    generator = torch.Generator().manual_seed(seed)
    gradient = torch.randn(size, generator=generator)
    others = torch.randn(past, size, generator=generator)
    others[0] *= -torch.sign(others[0] @ gradient)
    return gradient, others


def nearest(gradient: Tensor, past: Tensor) -> Tensor:
    """Eq. 8 as it stands, by sequential quadratic programming."""
    g, rows = gradient.double().numpy(), past.double().numpy()
    found = minimize(
        lambda z: ((z - g) ** 2).sum() / 2,
        np.zeros_like(g),
        jac=lambda z: z - g,
        constraints={"type": "ineq", "fun": lambda z: rows @ z, "jac": lambda z: rows},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert found.success
    return torch.from_numpy(found.x).float()


# The projection


@pytest.mark.parametrize("margin", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("seed", range(10))
def test_projection_is_the_nearest_that_goes_against_nothing(seed: int, margin: float) -> None:
    """A margin adds so much of each past gradient beforehand, whatever is projected then."""
    gradient, past = draws(seed, past=1 + seed % 4)
    found = projected(gradient, past, margin)
    torch.testing.assert_close(
        found, nearest(gradient + margin * past.sum(0), past), rtol=1e-4, atol=1e-4
    )
    assert (past @ found >= -1e-5).all()


@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("seed", range(10))
def test_weights_of_past_gradients_are_at_least_the_margin(seed: int, margin: float) -> None:
    """And above it only where a constraint is just met."""
    gradient, past = (part.double() for part in draws(seed))
    found = projected(gradient, past, margin)
    weight = torch.linalg.lstsq(past.T, (found - gradient)[:, None]).solution[:, 0]
    assert (weight >= margin - 1e-8).all()
    assert ((weight - margin) * (past @ found)).abs().max() < 1e-8


def test_by_hand() -> None:
    gradient, past = torch.tensor([1.0, -2.0]), torch.tensor([[0.0, 1.0]])
    assert projected(gradient, past).tolist() == [1, 0]
    assert projected(gradient, past, 0.5).tolist() == [1, 0]  # there is no room for it
    assert projected(gradient, past, 3.0).tolist() == [1, 1]


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_a_gradient_that_goes_against_nothing_is_left_alone(margin: float) -> None:
    gradient, past = draws(0)
    past = past * torch.sign(past @ gradient)[:, None]
    assert projected(gradient, past, margin) is gradient
    assert projected(gradient, torch.zeros(2, 6), margin) is gradient
    past[1] *= -1
    assert projected(gradient, past, margin) is not gradient


def test_past_gradients_that_depend_on_each_other() -> None:
    gradient, past = draws(1)
    one = past[0]
    for rows in ([one, one], [one, 5 * one], [one, 0 * one], [one, one + 1e-6 * past[1]]):
        torch.testing.assert_close(
            projected(gradient, torch.stack(rows)), nearest(gradient, one[None]), rtol=0, atol=1e-5
        )
    found = projected(gradient, torch.stack([one, -one]))  # nothing along it, either way
    torch.testing.assert_close(found, gradient - (gradient @ one) / (one @ one) * one)
    everywhere = torch.cat([torch.eye(6), -torch.eye(6)])
    torch.testing.assert_close(projected(gradient, everywhere), torch.zeros(6))


def test_near_parallel_gradients_keep_their_constraints() -> None:
    """Of a size at which 0.001 on the diagonal would be all that counts."""
    generator = torch.Generator().manual_seed(0)
    common, own = (torch.randn(n, 10_000, generator=generator) for n in (1, 5))
    past = 1e-4 * (common + 1e-3 * own)
    gradient = torch.randn(10_000, generator=generator) - 0.1 * common[0]
    found = projected(gradient, past)
    cosines = past @ found / past.norm(dim=1) / found.norm()
    assert (cosines >= -1e-6).all()
    assert cosines.min() < 1e-6  # not further than needed


# The gradients that it is made of


class Listening(Gem):
    """Writes down the network and its gradient before they are changed, and the gradient after."""

    def before_task(self, task: Task) -> None:
        super().before_task(task)
        self.steps: list[tuple[nn.Module, Tensor, Tensor]] = []

    def edit_gradients(self) -> None:
        learning = [p for p in self.network.parameters() if p.requires_grad]
        network, before = copy.deepcopy(self.network), current_gradient(learning)
        super().edit_gradients()
        self.steps.append((network, before, current_gradient(learning)))


def past_gradients(gem: Any, network: Any, scenario: Scenario, now: int) -> Tensor:
    """Return the gradient of each past task on what is stored of it, class by class."""
    rows = []
    for task in range(now):
        classes = competing(scenario, task, now)
        stored = gem.memory.task == task
        y = torch.tensor([classes.index(int(label)) for label in gem.memory.y[stored]])
        loss = cross_entropy(network(gem.memory.x[stored])[:, classes], y)
        learning = [p for p in network.parameters() if p.requires_grad]
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, learning)]))
    return torch.stack(rows)


@pytest.mark.parametrize("frozen", [0, 1])
@pytest.mark.parametrize("scenario", list(Scenario))
def test_each_step_is_projected_onto_what_all_past_tasks_allow(
    scenario: Scenario, frozen: int
) -> None:
    """In the fourth task, against nonnegative least squares; the frozen block has no gradient."""
    options = {"freeze_depth": frozen, "margin": 0.25, "optimizer": {"name": "adam", "lr": 0.01}}
    gem, turned = learnt(Listening, 4, scenario, **options), 0
    assert len(gem.steps) == 5
    for network, before, after in gem.steps:
        past = past_gradients(gem, network, scenario, 3).double()
        expected = before.double()
        if (past @ expected < 0).any():
            turned += 1
            wanted = expected + 0.25 * past.sum(0)
            weight = nnls(past.T.numpy(), -wanted.numpy())[0]
            expected = wanted + torch.from_numpy(weight) @ past
        torch.testing.assert_close(after.double(), expected, rtol=1e-3, atol=1e-5)
    assert turned


def test_heads_of_past_tasks_follow_their_own_gradients_and_the_current_one_keeps_its() -> None:
    gem, turned = learnt(Listening, 3), 0
    for network, before, after in gem.steps:
        past = past_gradients(gem, network, Scenario.TASK_INCREMENTAL, 2)
        network.zero_grad()
        size = network.head.weight.numel() + network.head.bias.numel()
        rows, bias = (part.view(8, -1) for part in after[-size:].split([64, 8]))
        own, own_bias = (part.view(8, -1) for part in before[-size:].split([64, 8]))
        assert torch.equal(rows[4:6], own[4:6])
        assert torch.equal(bias[4:6], own_bias[4:6])
        assert not own[:4].any()
        assert not rows[6:].any()
        if torch.equal(before, after):
            continue
        turned += 1
        for task in range(2):
            theirs = past[task, -size:][:64].view(8, -1)[2 * task : 2 * task + 2].flatten()
            moved = rows[2 * task : 2 * task + 2].flatten()
            weight = float(moved @ theirs / (theirs @ theirs))
            assert weight >= 0.5 - 1e-4
            torch.testing.assert_close(moved, weight * theirs, rtol=1e-3, atol=1e-6)
    assert turned


class Straight(Listening):
    """Steps along the gradient as it is."""

    def edit_gradients(self) -> None:
        self.steps.append((copy.deepcopy(self.network), torch.empty(0), torch.empty(0)))


def test_small_steps_raise_no_past_loss() -> None:
    """Of neither past task by itself, in plain descent that raises both without."""
    options = {
        "optimizer": {"name": "sgd", "lr": 0.01},
        "budget": {"iterations": 40, "batch_size": 10},
        "margin": 0.0,
    }
    rises: dict[Any, list[float]] = {}
    for method in (Listening, Straight):
        gem = learnt(method, 3, Scenario.CLASS_INCREMENTAL, **options)
        ends = gem.steps[0][0], gem.steps[-1][0]
        for task in range(2):
            x, y = (part[gem.memory.task == task] for part in (gem.memory.x, gem.memory.y))
            before, after = (cross_entropy(net(x)[:, :6], y.long()).detach() for net in ends)
            rises.setdefault(method, []).append(float(after - before))
    assert max(rises[Listening]) < 1e-3
    assert min(rises[Straight]) > 0.05


def test_the_first_task_is_that_of_fine_tuning() -> None:
    gem = make(Listening)
    naive = Naive(gem.config, gem.stream, gem.rng)
    gem.learn(make_task(0))
    naive.learn(make_task(0))
    assert all(before is not after for _, before, after in gem.steps)
    for one, other in zip(gem.network.parameters(), naive.network.parameters(), strict=True):
        assert torch.equal(one, other)


def test_replay_batch_draws_from_each_task() -> None:
    seen: list[list[int]] = []

    class Counting(Gem):
        def past_loss(self, task: int) -> Tensor:
            hook = self.network.register_forward_pre_hook(
                lambda _, given: seen.append(given[0][:, 0, 0, 1].tolist())
            )
            loss = super().past_loss(task)
            hook.remove()
            return loss

    for size, expected in ((3, 3), (100, 7), (None, 7)):
        seen.clear()
        gem = learnt(Counting, 2, replay_batch=size)
        assert [len(set(numbers)) for numbers in seen] == [expected] * 5
        assert {n for numbers in seen for n in numbers} <= set(gem.memory.x[:7, 0, 0, 1].tolist())
    assert seen[0] == seen[1]


def test_what_diverges_is_told_as_such() -> None:
    gem = learnt(Gem, 1)

    class Broken(Gem):
        def past_loss(self, task: int) -> Tensor:
            return super().past_loss(task) * float("nan")

    broken = make(Broken, budget={"iterations": 20, "batch_size": 10})
    broken.load_state_dict(gem.state_dict())
    with pytest.raises(Diverged, match="'new' is nan at step 10 of task 2"):
        broken.learn(make_task(1))


def test_nothing_but_the_images_outlives_the_task() -> None:
    gem = learnt(Gem, 2)
    assert gem.past is None
    assert not gem.episodes
    assert gem.bytes_kept()["memory"] == 14 * (9 + 2 + 2 + 4)
    assert isinstance(gem.sample(3), Batch)
