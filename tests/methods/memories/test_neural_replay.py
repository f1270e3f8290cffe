"""What a trained generator remembers of real digits, what it forgets, and what is kept of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from digits import digits, recognised
from torch import Tensor

from methods.core.accounting import reachable_bytes
from methods.core.rng import Rng
from methods.core.task import TensorExamples
from methods.core.training import Budget
from methods.memories.memory import Setting
from methods.memories.neural import NeuralMemory
from methods.memories.pool import Pool
from methods.memories.vae import VaeConfig

BUDGET = Budget(iterations=12, batch_size=16)


def config(**options: Any) -> VaeConfig:
    adam = {"name": "adam", "lr": 3e-3, "reset": options.pop("reset", "task")}
    small = {"hidden": (64,), "latents": 8, "iterations": 250, "batch_size": 64}
    return VaeConfig.model_validate(small | {"optimizer": adam} | options)


def learnt(tasks: int = 2, start: NeuralMemory | None = None, **options: Any) -> NeuralMemory:
    """Learn digits 0 and 1, then 2 and 3, and so on."""
    memory = NeuralMemory(config(**options), 10, BUDGET) if start is None else start
    for task in range(len(memory.tasks), tasks):
        memory.absorb(digits(2 * task, 2 * task + 1), task, Rng(0).at(task))
    return memory


def draw(memory: NeuralMemory, n: int = 600, seed: int = 0, **asked: Any) -> Tensor:
    return memory.sample(n, torch.Generator().manual_seed(seed), **asked).x


def of_the_past(x: Tensor) -> float:
    return float((recognised(x) < 2).float().mean())


def right(memory: NeuralMemory, *labels: int) -> float:
    """Share of draws of some classes that are recognised as them, the classes counting alike."""
    drawn = [recognised(draw(memory, 200, classes=(label,))) == label for label in labels]
    return float(torch.cat(drawn).float().mean())


# What it remembers


def test_what_is_rehearsed_is_remembered_and_all_else_forgotten() -> None:
    assert of_the_past(draw(learnt(2))) == pytest.approx(0.5, abs=0.15)
    assert of_the_past(draw(learnt(2, replay_batch=0))) < 0.02


def test_classes_that_are_rehearsed_are_remembered_and_all_else_forgotten() -> None:
    options: dict[str, Any]
    for options in ({}, {"warm_start": False}, {"replay_loss": "mean", "refresh": "task"}):
        memory = learnt(3, conditional=True, iterations=150, **options)
        assert [right(memory, 2 * t, 2 * t + 1) > 0.8 for t in range(3)] == [True] * 3
    memory = learnt(3, conditional=True, iterations=150, replay_batch=0)
    assert right(memory, 4, 5) > 0.9
    assert right(memory, 0, 1, 2, 3) < 0.5


def test_activations_are_remembered_in_their_own_units() -> None:
    """A second task that moves mean and deviation of all does not move draws of the first."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(800) % 2
    memory = NeuralMemory(config(conditional=True, iterations=400), 10, BUDGET)
    for task, scale in enumerate((1.0, 3.0)):
        x = scale * (y.view(-1, 1, 1) * 10 + torch.randn(800, 3, 2, generator=g))
        memory.absorb(TensorExamples(x, y + 2 * task), task, Rng(0).at(task))
    # In the new units draws of the old network would be around -1 and 21.
    for label, centre in enumerate((0.0, 10.0)):
        drawn = draw(memory, classes=(label,))
        assert drawn.shape[1:] == (3, 2)
        assert float((drawn.mean(0) - centre).abs().max()) < 0.8


# What it keeps


@pytest.mark.parametrize("reset", ["task", "never"])
def test_bytes_are_those_of_the_network_and_of_moments_that_go_on(reset: str) -> None:
    memory = learnt(2, reset=reset, iterations=5)
    assert memory.network is not None
    weights = [p.numel() * 4 for p in memory.network.parameters()]
    ledger = 3 * 4 * 8
    moments = 2 * sum(weights) + 4 * len(weights) if reset == "never" else 0
    assert reachable_bytes(memory) == sum(weights) + ledger + moments
    assert all(p.grad is None for p in memory.network.parameters())
    if reset == "never":
        assert memory.optimizers is not None
        states = memory.optimizers["generator"].state.values()
        assert {float(state["step"]) for state in states} == {10}


def test_moments_make_a_difference_and_a_cold_start_drops_them() -> None:
    kept, dropped = (learnt(2, reset=reset, iterations=20) for reset in ("never", "task"))
    assert not torch.equal(draw(kept), draw(dropped))
    cold = [learnt(2, reset=r, iterations=20, warm_start=False) for r in ("never", "task")]
    assert torch.equal(draw(cold[0]), draw(cold[1]))


def wipe(state: Any) -> None:
    if isinstance(state, Tensor):
        state.zero_()
    elif isinstance(state, dict):
        for value in state.values():
            wipe(value)


@pytest.mark.parametrize("reset", ["task", "never"])
@pytest.mark.parametrize("conditional", [True, False])
def test_state_goes_round(reset: str, conditional: bool) -> None:
    options: dict[str, Any] = {"reset": reset, "conditional": conditional, "iterations": 20}
    one, other = learnt(2, **options), learnt(1, **options)
    state = one.state_dict()
    other.load_state_dict(state)
    wipe(state)  # nothing is shared
    assert torch.equal(draw(one), draw(other))
    assert reachable_bytes(one) == reachable_bytes(other)
    assert torch.equal(draw(learnt(3, one)), draw(learnt(3, other)))
    other.load_state_dict(NeuralMemory(config(**options), 10, BUDGET).state_dict())
    assert len(other) == 0
    assert torch.equal(draw(learnt(1, other)), draw(learnt(1, **options)))


def test_reruns_are_equal_and_global_generators_left_alone() -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    one = learnt(2, iterations=20)
    first = draw(one)
    one.load_state_dict(one.state_dict())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert torch.equal(first, draw(learnt(2, iterations=20)))
    assert not torch.equal(first, draw(one, seed=1))


def test_looking_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    one = learnt(2)
    monkeypatch.setattr(NeuralMemory, "_show", lambda *_: None)
    assert torch.equal(draw(one), draw(learnt(2)))


# In a pool


def test_every_batch_is_new_by_default() -> None:
    pool = config(iterations=5).build(Setting(30))
    assert isinstance(pool, Pool)
    assert not config().stores
    pool.absorb(digits(0, 1), 0, Rng(0))
    pool.refresh("task", Rng(1))
    pool.refresh("epoch", Rng(1))
    assert len(pool.draws) == 0
    assert pool.sample(70, torch.Generator()).x.unique(dim=0).shape[0] == 70


@pytest.mark.parametrize("refresh", ["task", "epoch"])
@pytest.mark.parametrize("conditional", [True, False])
def test_stored_draws_are_renewed(refresh: Any, conditional: bool) -> None:
    pool = config(refresh=refresh, conditional=conditional, iterations=5).build(Setting(30))
    assert isinstance(pool, Pool)
    for task in range(2):
        pool.absorb(digits(2 * task, 2 * task + 1), task, Rng(0).at(task))
    assert len(pool.draws) == 0
    pool.refresh("epoch" if refresh == "task" else "task", Rng(1))
    assert len(pool.draws) == 0
    stored = []
    for seed in (1, 2):
        pool.refresh(refresh, Rng(seed))
        assert len(pool.draws) == 30
        stored.append(pool.draws.x)
        batch = pool.sample(200, torch.Generator())
        assert {tuple(x) for x in batch.x.flatten(1).tolist()} <= {
            tuple(x) for x in stored[-1].flatten(1).tolist()
        }
        assert (batch.y is not None) == (batch.task is not None) == conditional
    assert not torch.equal(*stored)
    if conditional:
        assert pool.draws.task.bincount().tolist() == [15, 15]
    else:
        with pytest.raises(LookupError):
            pool.sample(1, torch.Generator(), classes=(0,))
    pool.absorb(digits(4, 5), 2, Rng(0).at(2))
    assert reachable_bytes(pool) == reachable_bytes(pool.generator)


def test_budgets_of_a_pool() -> None:
    with pytest.raises(ValueError, match="need a budget"):
        config(refresh="epoch").build(Setting())
    with pytest.raises(ValueError, match="not both"):
        config(refresh="epoch").build(Setting(3, 3))
    with pytest.raises(ValueError, match="no code of others"):
        config().build(Setting(as_released=True))
