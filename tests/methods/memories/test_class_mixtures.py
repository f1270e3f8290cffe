"""Generators of a class and task: what they learn, drop, draw and keep."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from methods.core.accounting import reachable_bytes
from methods.core.rng import Rng
from methods.core.task import Batch, TensorExamples
from methods.core.training import Diverged
from methods.memories.class_mixtures import (
    ClassMixtures,
    GaussianConfig,
    GmmConfig,
    KMeansConfig,
)

#: Class 0 comes back in each task; counts differ.
STREAM = ([0] * 60 + [1] * 120, [0] * 30 + [5] * 90, [0] * 50 + [3] * 50)
SHAPE = (2, 3, 1)
CONFIGS: dict[str, Any] = {
    "gaussian": GaussianConfig(),
    "gaussian-low-rank": GaussianConfig(covariance="low-rank", rank=2),
    "gmm": GmmConfig(),
    "gmm-low-rank": GmmConfig(covariance="low-rank", rank=2),
    "gmm-full": GmmConfig(covariance="full", components=2),
    "kmeans": KMeansConfig(centroids=4),
}
every = pytest.mark.parametrize("name", CONFIGS)


def centre(task: int, label: int) -> float:
    return 10.0 * label + 3.0 * task


def items(task: int, labels: list[int]) -> TensorExamples:
    """Latents around the centre of their class and task."""
    y = torch.tensor(labels)
    g = torch.Generator().manual_seed(task)
    shape = (-1, 1, 1, 1)
    centres = torch.tensor([centre(task, label) for label in labels]).view(shape)
    scale = 1 + torch.arange(6.0).view(SHAPE) / 6
    x = centres + scale * torch.randn(len(y), *SHAPE, generator=g)
    order = torch.randperm(len(y), generator=g)
    return TensorExamples(x[order], y[order])


def empty(name: str, **options: Any) -> ClassMixtures:
    return ClassMixtures(CONFIGS[name].fit, **options)


def filled(name: str, tasks: int = 3, **options: Any) -> ClassMixtures:
    memory = empty(name, **options)
    for task, labels in enumerate(STREAM[:tasks]):
        memory.absorb(items(task, labels), task, Rng(0).at(task))
    return memory


def draw(memory: ClassMixtures, n: int = 3000, seed: int = 0, **asked: Any) -> Batch:
    return memory.sample(n, torch.Generator().manual_seed(seed), **asked)


def shares(batch: Batch) -> dict[tuple[int, int], int]:
    assert batch.y is not None
    assert batch.task is not None
    pairs = list(zip(batch.task.tolist(), batch.y.tolist(), strict=True))
    return {pair: pairs.count(pair) for pair in sorted(set(pairs))}


@every
def test_draws_look_like_their_class_and_task(name: str) -> None:
    batch = draw(filled(name, clamp=False))
    assert batch.x.shape == (3000, *SHAPE)
    assert batch.x.dtype == torch.float32
    assert batch.y is not None
    assert batch.task is not None
    assert batch.y.dtype == batch.task.dtype == torch.int64
    for task, label in shares(batch):
        x = batch.x[(batch.y == label) & (batch.task == task)]
        labels = STREAM[task]
        real = items(task, labels)
        same = real.x[real.y == label]
        assert torch.allclose(x.mean(0), same.mean(0), atol=0.4)
        assert torch.allclose(x.std(0), same.std(0), rtol=0.25)


@every
def test_groups_come_in_proportion_to_their_items(name: str) -> None:
    memory = filled(name)
    assert memory.tasks == {0: 180, 1: 120, 2: 100}
    assert sorted({c for of in memory.classes_of.values() for c in of}) == [0, 1, 3, 5]
    assert len(memory) == 400
    counts = shares(draw(memory, 4000))
    expected = {(0, 0): 600, (0, 1): 1200, (1, 0): 300, (1, 5): 900, (2, 0): 500, (2, 3): 500}
    assert counts.keys() == expected.keys()
    assert all(abs(counts[group] - n) <= 2 for group, n in expected.items())


def test_tasks_come_by_weight_and_classes_within_by_their_items() -> None:
    counts = shares(draw(filled("gmm"), 400, weights={0: 1.0, 1: 3.0}))
    expected = {(0, 0): 33, (0, 1): 67, (1, 0): 75, (1, 5): 225}
    assert counts.keys() == expected.keys()
    assert all(abs(counts[group] - n) <= 2 for group, n in expected.items())


def test_draws_of_classes_and_of_a_task() -> None:
    memory = filled("gmm")
    assert set(shares(draw(memory, classes=(0, 3)))) == {(0, 0), (1, 0), (2, 0), (2, 3)}
    assert set(shares(draw(memory, task=1))) == {(1, 0), (1, 5)}
    assert set(shares(draw(memory, task=1, classes=(0, 1)))) == {(1, 0)}
    assert len(draw(memory, 0).x) == 0


def test_nothing_to_draw() -> None:
    with pytest.raises(LookupError):
        draw(empty("gmm"))
    memory = filled("gmm")
    asked: dict[str, Any]
    for asked in ({"classes": (9,)}, {"classes": ()}, {"task": 7}, {"weights": {7: 1.0}}):
        with pytest.raises(LookupError, match="nothing of this kind"):
            draw(memory, **asked)


def test_draws_are_shuffled_and_repeat_themselves() -> None:
    memory, state = filled("gmm"), torch.get_rng_state()
    one, same, other = draw(memory, 400), draw(memory, 400), draw(memory, 400, seed=1)
    assert torch.equal(one.x, same.x)
    assert not torch.equal(one.x, other.x)
    assert one.task is not None
    assert int((one.task[1:] != one.task[:-1]).sum()) > 150
    assert torch.equal(torch.get_rng_state(), state)


def test_many_values_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = filled("gmm")
    monkeypatch.setattr("methods.memories.class_mixtures._VALUES", 64)
    batch = draw(memory, 501)
    assert batch.x.shape == (501, *SHAPE)
    assert batch.y is not None
    assert batch.task is not None
    centres = torch.tensor(
        [centre(t, y) for t, y in zip(batch.task.tolist(), batch.y.tolist(), strict=True)]
    )
    assert (batch.x.flatten(1).mean(1) - centres).abs().max() < 3


# Cutting


@every
def test_draws_are_cut_at_the_smallest_value(name: str) -> None:
    x = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(500) % 2
    x = torch.where(y[:, None] == 0, x.relu(), x.clamp_min(-0.5))
    free, cut = empty(name, clamp=False), empty(name)
    for memory in (free, cut):
        memory.absorb(TensorExamples(x, y), 0, Rng(0))
    assert draw(free, classes=(0,)).x.min() < 0
    assert draw(free, classes=(1,)).x.min() < -0.5
    assert draw(cut, classes=(0,)).x.min() == 0
    assert draw(cut, classes=(1,)).x.min() == -0.5


@every
@pytest.mark.parametrize("clamp", [True, False])
def test_images_come_back_as_images(name: str, clamp: bool) -> None:
    g = torch.Generator().manual_seed(0)
    x = (torch.randn(400, 1, 4, 4, generator=g) * 90 + 100).round().clamp(0, 255).byte()
    x[:, :, 0, 0] = 17
    memory = empty(name, clamp=clamp)
    memory.absorb(TensorExamples(x, torch.arange(400) % 2), 0, Rng(0))
    drawn = draw(memory).x
    assert drawn.dtype == torch.uint8
    assert drawn.shape[1:] == (1, 4, 4)
    for value in (0, 255):  # cut, not wrapped around
        assert float((drawn == value).float().mean()) > 0.3 * float((x == value).float().mean())
    assert torch.allclose(drawn.float().mean((0, 1)), x.float().mean((0, 1)), atol=12)
    assert set(drawn[:, :, 0, 0].flatten().tolist()) <= {16, 17, 18}


def test_large_tasks_are_read_class_by_class(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = filled("gmm")
    monkeypatch.setattr("methods.memories.reading._MOST_HELD", 100)
    monkeypatch.setattr("methods.memories.reading._CHUNK", 7)
    assert torch.equal(draw(filled("gmm")).x, draw(at_once).x)


@pytest.mark.parametrize("value", [torch.inf, torch.nan, 1e25])
@pytest.mark.parametrize("covariance", ["diagonal", "full", "low-rank"])
def test_what_has_no_finite_variance_is_not_learnt(value: float, covariance: str) -> None:
    examples = items(0, STREAM[0])
    examples.x[5, 0, 0, 0] = value
    with pytest.raises(Diverged, match=r"class [01] in task 1 have no finite variance"):
        ClassMixtures(GmmConfig(covariance=covariance, rank=2).fit).absorb(examples, 0, Rng(0))


# What is kept


@every
def test_bytes_are_those_of_the_parameters(name: str) -> None:
    memory = filled(name)
    tensors = [v for v in vars(memory).values() if isinstance(v, Tensor)]
    assert reachable_bytes(memory) == sum(v.numel() * v.element_size() for v in tensors)
    assert all(v.untyped_storage().nbytes() == v.numel() * v.element_size() for v in tensors)
    assert memory.means is not None
    assert memory.means.dtype == torch.float32
    if name == "kmeans":
        assert memory.deviations is not None
        assert len(memory.deviations) == 6  # one a class and task
        assert len(memory.means) == 24


@every
def test_old_tasks_are_dropped(name: str) -> None:
    memory, reference = filled(name, max_tasks=2), filled(name)
    assert memory.tasks == {1: 120, 2: 100}
    assert sorted({c for of in memory.classes_of.values() for c in of}) == [0, 3, 5]
    assert reachable_bytes(memory) < 0.7 * reachable_bytes(reference)
    with pytest.raises(LookupError):
        draw(memory, task=0)
    assert torch.equal(draw(memory, task=2).x, draw(reference, task=2).x)
    assert set(shares(draw(memory))) == {(1, 0), (1, 5), (2, 0), (2, 3)}


@every
def test_state_goes_round(name: str) -> None:
    one, other = filled(name, tasks=2), empty(name)
    state = one.state_dict()
    assert all(isinstance(v, (Tensor, bool, tuple)) for v in state.values())
    other.load_state_dict(state)
    for value in state.values():
        if isinstance(value, Tensor):
            value.zero_()  # nothing is shared
    for memory in (one, other):
        memory.absorb(items(2, STREAM[2]), 2, Rng(0).at(2))
    assert torch.equal(draw(one).x, draw(other).x)
    assert reachable_bytes(one) == reachable_bytes(other)
    assert all(torch.equal(v, w) for v, w in zip(tensors(one), tensors(other), strict=True))


def tensors(memory: ClassMixtures) -> list[Tensor]:
    return [v for v in memory.state_dict().values() if isinstance(v, Tensor)]


def test_empty_state_goes_round() -> None:
    memory = filled("gmm")
    memory.load_state_dict(empty("gmm").state_dict())
    assert len(memory) == 0
    assert memory.tasks == {}
    memory.absorb(items(0, STREAM[0]), 0, Rng(0).at(0))
    assert torch.equal(draw(memory).x, draw(filled("gmm", tasks=1)).x)


def test_a_class_is_fitted_alike_whatever_the_others() -> None:
    both, alone = empty("gmm"), empty("gmm")
    examples = items(0, STREAM[0])
    both.absorb(examples, 0, Rng(0))
    rows = (examples.y == 1).nonzero().squeeze(1)
    alone.absorb(TensorExamples(examples.x, examples.y, rows), 0, Rng(0))
    assert both.means is not None
    assert alone.means is not None
    assert torch.equal(both.means[-3:], alone.means)
