"""Policies that select from whole tasks: herding and random overwriting."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from methods.core.rng import Rng
from methods.core.task import Batch, TensorExamples
from methods.memories.buffer import Buffer, Policy
from methods.memories.herding import herding_order


def distances(features: np.ndarray, chosen: list[int]) -> np.ndarray:
    """What Algorithm 4 of iCaRL minimises, for each example as the next one, as it is printed."""
    features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    mean, taken, k = features.mean(0), features[chosen].sum(0), len(chosen) + 1
    values = [np.linalg.norm(mean - (taken + phi) / k) for phi in features]
    return np.where(np.isin(np.arange(len(features)), chosen), np.inf, values)


def literally(features: Tensor, n: int) -> list[int]:
    """The order of Algorithm 4."""
    chosen: list[int] = []
    for _ in range(min(n, len(features))):
        chosen.append(int(distances(features.double().numpy(), chosen).argmin()))
    return chosen


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 30),
    width=st.integers(1, 8),
    asked=st.integers(0, 35),
    dead=st.booleans(),
    seed=st.integers(0, 99),
)
def test_each_step_takes_one_of_the_best(
    n: int, width: int, asked: int, dead: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, width, generator=generator, dtype=torch.float64) + 0.3
    features[:1] *= not dead
    order = herding_order(features, asked).tolist()
    assert len(order) == min(n, asked)
    for k, chosen in enumerate(order):
        values = distances(features.numpy(), order[:k])
        assert values[chosen] < values.min() + 1e-7


def test_herding_is_algorithm_4() -> None:
    features = torch.randn(200, 7, generator=torch.Generator().manual_seed(0)).relu()
    assert herding_order(features, 60).tolist() == literally(features, 60)


# Buffers

IMAGES = torch.arange(600, dtype=torch.int16).view(-1, 1, 1, 1)


def task_of(index: int, labels: list[int], seed: int = 0) -> tuple[TensorExamples, Tensor]:
    """A task of 60 examples, each its own number, and the features of each."""
    y = torch.tensor(labels).repeat(60 // len(labels))
    x = IMAGES[60 * index : 60 * (index + 1)]
    generator = torch.Generator().manual_seed(100 * seed + index)
    return TensorExamples(x, y), torch.randn(60, 5, generator=generator) + y[:, None]


def kept(buffer: Buffer) -> list[int]:
    return buffer.x.flatten().tolist()


def of(buffer: Buffer, task: int, label: int) -> list[int]:
    rows = (buffer.task == task) & (buffer.y == label)
    return buffer.x[rows].flatten().tolist()


def test_herding_keeps_the_first_of_each_class_and_task() -> None:
    buffer = Buffer(24, policy="herding")
    orders: dict[tuple[int, int], list[int]] = {}
    assert buffer.wants_features
    for index, labels in enumerate([[0, 1], [0, 2], [3, 4]]):
        examples, features = task_of(index, labels)
        buffer.absorb(examples, index, Rng(0).at(index), features=features)
        for label in labels:
            rows = (examples.y == label).nonzero().squeeze(1)
            best = rows[literally(features[rows], 30)] + 60 * index
            orders[index, label] = best.tolist()
        share = 24 // len(orders)
        for (task, label), order in orders.items():
            assert of(buffer, task, label) == order[:share]


def test_herding_with_a_budget_of_each_class() -> None:
    buffer = Buffer(per_class=5, policy="herding")
    assert buffer.policy == "herding"
    for index, labels in enumerate([[0, 1], [0, 2]]):
        examples, features = task_of(index, labels)
        buffer.absorb(examples, index, Rng(0).at(index), features=features)
    assert [len(of(buffer, *group)) for group in [(0, 0), (1, 0), (0, 1), (1, 2)]] == [3, 2, 5, 5]


def test_herding_without_a_budget_keeps_everything() -> None:
    buffer = Buffer(policy="herding")
    examples, features = task_of(0, [0, 1])
    buffer.absorb(examples, 0, Rng(0), features=features)
    assert sorted(kept(buffer)) == list(range(60))


def test_herding_needs_features() -> None:
    examples, features = task_of(0, [0, 1])
    for wrong in (None, features[:-1]):
        with pytest.raises(ValueError, match="herding needs features, one row for each example"):
            Buffer(5, policy="herding").absorb(examples, 0, Rng(0), features=wrong)


def test_random_ones_overwrite_random_ones() -> None:
    buffer = Buffer(50, policy="random")
    assert not buffer.wants_features
    times = torch.zeros(180)
    for seed in range(200):
        buffer = Buffer(50, policy="random")
        for index in range(3):
            before = set(kept(buffer))
            buffer.absorb(task_of(index, [0, 1])[0], index, Rng(seed).at(index))
            fresh = {x for x in kept(buffer) if x >= 60 * index}
            assert len(kept(buffer)) == len(set(kept(buffer))) == 50
            assert len(fresh) == 50 // (index + 1)
            assert set(kept(buffer)) - fresh <= before
        times[kept(buffer)] += 1
        numbers = buffer.x.flatten().long()
        assert torch.equal(buffer.task.long(), numbers // 60)
        assert torch.equal(buffer.y.long(), numbers % 2)
    # After three tasks an example of each is kept with 16 / 60, 25 / 60 · 34 / 50, 50 / 60 · ½ · …
    means = times.view(3, 60).mean(1) / 200
    expected = torch.tensor([50 * 0.5 * 34 / 50, 25 * 34 / 50, 16]) / 60
    assert torch.allclose(means, expected, atol=0.01)
    assert times.view(3, 60).std(1).max() < 2 * (200 * 0.28 * 0.72) ** 0.5


def test_free_places_are_filled_before_any_is_overwritten() -> None:
    buffer = Buffer(100, policy="random")
    for index in range(3):
        buffer.absorb(task_of(index, [0, 1])[0], index, Rng(0).at(index))
    # 60, then 50 of which 40 found a free place, then 33.
    assert len(buffer) == 100
    assert int((buffer.task == 2).sum()) == 33
    unlimited = Buffer(policy="random")
    for index in range(3):
        unlimited.absorb(task_of(index, [0, 1])[0], index, Rng(0).at(index))
    assert sorted(kept(unlimited)) == list(range(180))


def test_a_budget_below_the_number_of_tasks_takes_nothing_new() -> None:
    buffer = Buffer(2, policy="random")
    for index in range(3):
        buffer.absorb(task_of(index, [0, 1])[0], index, Rng(0).at(index))
    assert sorted(buffer.task.tolist()) == [0, 1]


def test_random_has_no_budget_of_each_class() -> None:
    with pytest.raises(ValueError, match="no budget of each class"):
        Buffer(per_class=3, policy="random")


@pytest.mark.parametrize("policy", ["random", "herding"])
def test_whole_tasks_only(policy: Policy) -> None:
    batch = Batch(IMAGES[:2], torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=f"{policy} selects from a whole task: use absorb"):
        Buffer(5, policy=policy).add(batch, 0, torch.Generator())


@pytest.mark.parametrize("policy", ["random", "herding"])
def test_state_goes_round(policy: Policy) -> None:
    one, other = Buffer(13, policy=policy), Buffer(13, policy=policy)
    for index in range(2):
        examples, features = task_of(index, [0, 1])
        one.absorb(examples, index, Rng(0).at(index), features=features)
    other.load_state_dict(one.state_dict())
    examples, features = task_of(2, [0, 1])
    for buffer in (one, other):
        buffer.absorb(examples, 2, Rng(0).at(2), features=features)
    assert all(torch.equal(v, other.state_dict()[n]) for n, v in one.state_dict().items())
