"""Stored draws of a generator: shares, renewal, and what outlives a task."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from methods.core.accounting import reachable_bytes
from methods.core.rng import Rng
from methods.core.task import Batch, TensorExamples
from methods.memories.class_mixtures import GaussianConfig
from methods.memories.memory import Setting
from methods.memories.pool import Pool

#: Examples of each class of each task.
COUNTS = ({0: 60, 1: 20}, {2: 30, 3: 30}, {0: 40, 4: 80})


def examples(task: int) -> TensorExamples:
    g = torch.Generator().manual_seed(task)
    y = torch.tensor([label for label, n in COUNTS[task].items() for _ in range(n)])
    return TensorExamples(torch.rand(len(y), 5, generator=g) + 10 * y[:, None], y)


def make(size: int | None = 24, per_class: int | None = None, **options: Any) -> Pool:
    pool = GaussianConfig(**options).build(Setting(size, per_class))
    assert isinstance(pool, Pool)
    return pool


def learn(pool: Pool, task: int, epochs: int = 0) -> None:
    """Go through a task as a method does."""
    rng = Rng(0).at(task).of("memory")
    if task:
        pool.refresh("task", rng)
    for epoch in range(epochs):
        pool.refresh("epoch", rng.of(f"memory, epoch {epoch}"))
    pool.absorb(examples(task), task, rng)


def filled(pool: Pool, tasks: int = 3) -> Pool:
    for task in range(tasks):
        learn(pool, task)
    return pool


def draw(pool: Pool, n: int = 600, seed: int = 0, **asked: Any) -> Batch:
    return pool.sample(n, torch.Generator().manual_seed(seed), **asked)


def by_task(task: Tensor | None) -> dict[int, int]:
    assert task is not None
    return {int(t): int((task == t).sum()) for t in torch.unique(task)}


def of_task(pool: Pool, task: int) -> set[float]:
    return set(pool.draws.x[pool.draws.task == task, 0].tolist())


# Shares


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {0: 8, 1: 8, 2: 8}),
        ({"share": "decaying"}, {0: 3, 1: 6, 2: 15}),
        ({"share": "decaying", "decay": 0.1}, {1: 2, 2: 22}),
        ({"share": "unlimited"}, {0: 80, 1: 60, 2: 120}),
        ({"max_tasks": 2}, {1: 12, 2: 12}),
        ({"max_tasks": 2, "share": "decaying"}, {1: 8, 2: 16}),
    ],
)
@pytest.mark.parametrize("refresh", ["once", "task", "epoch"])
def test_shares(refresh: str, options: dict[str, Any], expected: dict[int, int]) -> None:
    pool = filled(make(refresh=refresh, **options))
    if refresh != "once":
        pool.refresh(refresh, Rng(0).at(3))  # type: ignore[arg-type]
    assert by_task(pool.draws.task) == expected
    assert len(pool) == sum(expected.values())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {0: 200, 1: 200, 2: 200}),
        ({"share": "decaying"}, {0: 86, 1: 171, 2: 343}),
        ({"share": "unlimited"}, {0: 185, 1: 138, 2: 277}),
        ({"max_tasks": 1}, {2: 600}),
    ],
)
def test_shares_without_a_store(options: dict[str, Any], expected: dict[int, int]) -> None:
    found = by_task(draw(filled(make(None, refresh="step", **options))).task)
    assert found.keys() == expected.keys()
    assert all(abs(found[task] - n) <= 2 for task, n in expected.items())


def test_a_budget_of_each_class_is_shared_by_the_tasks_that_have_it() -> None:
    pool = make(None, 6, refresh="once")
    totals = []
    for task in range(3):
        learn(pool, task)
        totals.append(by_task(pool.draws.task))
    assert totals == [{0: 12}, {0: 12, 1: 12}, {0: 9, 1: 12, 2: 9}]


def test_classes_of_a_task_come_in_proportion_to_their_items() -> None:
    pool = filled(make(240))
    pool.refresh("epoch", Rng(0).at(3))
    for task, counts in enumerate(COUNTS):
        for label, n in counts.items():
            found = int(((pool.draws.task == task) & (pool.draws.y == label)).sum())
            assert abs(found - 80 * n / sum(counts.values())) <= 2


def by_class(refresh: Any, *classes_of: tuple[int, ...]) -> Pool:
    """Return a pool of 120 that has learnt tasks, with ever more examples of each class."""
    generator = make(None, refresh="step").generator
    pool = Pool(generator, 120, refresh=refresh, share="by-class")
    for task, classes in enumerate(classes_of):
        y = torch.tensor(classes).repeat(20 + 10 * task)
        x = torch.rand(len(y), 5, generator=torch.Generator().manual_seed(task)) + 10 * y[:, None]
        pool.absorb(TensorExamples(x, y), task, Rng(0).at(task).of("memory"))
    return pool


@pytest.mark.parametrize("refresh", ["once", "task"])
def test_shares_by_class(refresh: str) -> None:
    """Of each class alike, however many a task has; a class counts in each task that has it."""
    pool = by_class(refresh, (0, 1, 2, 3), (4,), (4,))
    pool.refresh("task", Rng(0).at(3))
    assert by_task(pool.draws.task) == {0: 80, 1: 20, 2: 20}
    counts = pool.draws.y.bincount().tolist()
    assert all(abs(n - 20) <= 5 for n in counts[:4])  # what is cut is cut at random
    assert counts[4] == 40


def test_shares_by_class_without_a_store() -> None:
    found = by_task(draw(by_class("task", (0, 1, 2, 3), (4,), (5,))).task)
    assert all(abs(found[task] - n) <= 2 for task, n in {0: 400, 1: 100, 2: 100}.items())


# Renewal


def test_draws_made_once_stay_and_make_room() -> None:
    pool, before = make(refresh="once"), dict[int, set[float]]()
    for task in range(3):
        learn(pool, task, epochs=2)
        for old in range(task):
            assert len(of_task(pool, old)) == 24 // (task + 1)
            assert of_task(pool, old) < before[old]
        before = {t: of_task(pool, t) for t in range(task + 1)}
    pool.refresh("task", Rng(0).at(3))
    pool.refresh("epoch", Rng(0).at(3))
    assert {t: of_task(pool, t) for t in range(3)} == before


@pytest.mark.parametrize(("refresh", "other"), [("task", "epoch"), ("epoch", "task")])
def test_draws_are_renewed_at_their_moment(refresh: Any, other: Any) -> None:
    pool = filled(make(refresh=refresh), tasks=1)
    pool.refresh(other, Rng(0).at(1))
    assert len(pool.draws) == 0
    stored = []
    for owner in ("one", "two", "two"):
        pool.refresh(refresh, Rng(0).at(1).of(owner))
        stored.append(pool.draws.x)
        pool.refresh(other, Rng(0).at(1).of("three"))
        assert pool.draws.x is stored[-1]
        assert {tuple(x) for x in draw(pool).x.tolist()} == {tuple(x) for x in stored[-1].tolist()}
    assert not torch.equal(stored[0], stored[1])
    assert torch.equal(stored[1], stored[2])


@pytest.mark.parametrize("refresh", ["task", "epoch"])
def test_renewed_draws_do_not_outlive_a_task(refresh: Any) -> None:
    pool = filled(make(refresh=refresh), tasks=1)
    alone, state = reachable_bytes(pool), pool.state_dict()
    assert alone == reachable_bytes(pool.generator)
    pool.refresh(refresh, Rng(0).at(1))
    assert reachable_bytes(pool) >= alone + 24 * 5 * 4
    assert pool.state_dict().keys() == state.keys() == {"generator"}
    pool.absorb(examples(1), 1, Rng(0).at(1))
    assert reachable_bytes(pool) == reachable_bytes(pool.generator)
    assert len(pool) == 140


def test_nothing_is_stored_where_every_step_draws_anew() -> None:
    pool = filled(make(None, refresh="step"))
    pool.refresh("task", Rng(0).at(3))
    pool.refresh("epoch", Rng(0).at(3))
    assert len(pool.draws) == 0
    assert len({tuple(x) for x in draw(pool).x.tolist()}) == 600


@pytest.mark.parametrize("refresh", ["task", "epoch"])
def test_before_the_first_renewal_draws_are_new(refresh: Any) -> None:
    batch = draw(filled(make(refresh=refresh, share="decaying", decay=0.25)))
    assert len({tuple(x) for x in batch.x.tolist()}) == 600
    found = by_task(batch.task)
    assert all(abs(found[task] - n) <= 2 for task, n in {0: 29, 1: 114, 2: 457}.items())


def test_nothing_to_renew_before_the_first_task() -> None:
    pool = make()
    pool.refresh("epoch", Rng(0).at(0))
    assert len(pool) == 0


# Reading


@pytest.mark.parametrize("refresh", ["once", "epoch", "step"])
def test_samples_of_classes_and_of_a_task(refresh: str) -> None:
    pool = filled(make(refresh=refresh))
    pool.refresh("epoch", Rng(0).at(3))
    batch = draw(pool, classes=(0, 3))
    assert batch.y is not None
    assert set(batch.y.tolist()) == {0, 3}
    assert torch.equal((batch.x.mean(1) / 10).floor().long(), batch.y)
    assert by_task(draw(pool, task=1).task).keys() == {1}
    both = draw(pool, task=2, classes=(0, 1))
    assert both.y is not None
    assert set(both.y.tolist()) == {0}
    asked: dict[str, Any]
    for asked in ({"classes": (9,)}, {"task": 7}, {"task": 1, "classes": (0,)}):
        with pytest.raises(LookupError, match="nothing of this kind"):
            draw(pool, **asked)


def test_samples_come_in_random_order() -> None:
    pool = filled(make(300, refresh="once"))
    for asked in (pool, make(None, refresh="step")):
        task = draw(asked if len(asked) else filled(asked)).task
        assert task is not None
        assert 350 < int((task[1:] != task[:-1]).sum()) < 450  # two in three, on average


@pytest.mark.parametrize("refresh", ["once", "task", "epoch", "step"])
def test_state_goes_round(refresh: str) -> None:
    one, other = make(refresh=refresh), make(refresh=refresh)
    for task in range(2):
        learn(one, task, epochs=1)
    state = one.state_dict()
    learn(other, 0, epochs=1)  # what it held is gone once it is loaded
    other.refresh("task", Rng(1))
    other.refresh("epoch", Rng(1))
    other.load_state_dict(state)
    assert len(one) == len(other)
    assert torch.equal(draw(one).x, draw(other).x)
    for pool in (one, other):
        learn(pool, 2, epochs=2)
        pool.refresh("task", Rng(0).at(3))
        pool.refresh("epoch", Rng(0).at(3))
    assert torch.equal(draw(one).x, draw(other).x)
    assert reachable_bytes(one) == reachable_bytes(other)


def test_global_generators_are_left_alone() -> None:
    state = torch.get_rng_state()
    pool = make()
    for task in range(3):
        learn(pool, task, epochs=2)
    draw(pool)
    assert torch.equal(torch.get_rng_state(), state)


def test_budgets_that_are_wrong() -> None:
    with pytest.raises(ValueError, match="not both"):
        make(5, 5)
    with pytest.raises(ValueError, match="need a budget"):
        make(None)
    with pytest.raises(ValueError, match="give size, not per_class"):
        Pool(make().generator, per_class=5, share="by-class")
    assert len(make(None, share="unlimited")) == 0
