"""Buffers: within budget at all times, and a fair sample of everything seen."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from methods.core.rng import Rng
from methods.core.task import Batch, TensorExamples
from methods.memories.buffer import Buffer, Policy

#: Policies by priority that also take in single batches.
POLICIES: tuple[Policy, ...] = ("reservoir", "class-balanced", "task-balanced")

#: Labels of three tasks: class 0 comes back in each, class 1 in two, and shares shrink.
STREAM = ([0] * 8 + [1] * 12, [0] * 10 + [2] * 9 + [1] * 1, [0] * 2 + [3] * 14)


def batches_of(labels: tuple[list[int], ...] = STREAM) -> list[Batch]:
    """One batch a task; an image is its own number."""
    start, batches = 0, []
    for y in labels:
        x = torch.arange(start, start + len(y), dtype=torch.int16).view(-1, 1, 1, 1)
        batches.append(Batch(x, torch.tensor(y, dtype=torch.int64)))
        start += len(y)
    return batches


def filled(buffer: Buffer, seed: int = 0, step: int = 1000) -> Buffer:
    """Show a buffer the stream, ``step`` examples at a time."""
    for task, batch in enumerate(batches_of()):
        assert batch.y is not None
        generator = Rng(seed).at(task).generator("priorities")
        for start in range(0, len(batch.x), step):
            part = Batch(batch.x[start : start + step], batch.y[start : start + step])
            buffer.add(part, task, generator)
    return buffer


def kept(buffer: Buffer) -> list[int]:
    return sorted(buffer.x.flatten().tolist())


# Budget


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(1, 30),
    policy=st.sampled_from(POLICIES),
    labels=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=12), min_size=1, max_size=6),
)
def test_the_budget_holds_and_is_used(size: int, policy: Policy, labels: list[list[int]]) -> None:
    buffer, generator, seen = Buffer(size, policy=policy), torch.Generator().manual_seed(0), 0
    before: set[int] = set()
    for index, batch in enumerate(batches_of(tuple(labels))):
        buffer.add(batch, index // 2, generator)
        fresh = set(range(seen, seen + len(batch.x)))
        seen += len(batch.x)
        assert len(buffer) == len(buffer.x) == len(buffer.y) == len(buffer.task) == min(size, seen)
        assert len(set(kept(buffer))) == len(buffer)
        assert set(kept(buffer)) <= before | fresh  # what is gone stays gone
        before = set(kept(buffer))
    flat = torch.tensor([y for task in labels for y in task])
    assert torch.equal(buffer.y.long(), flat[buffer.x.flatten().long()])


@settings(deadline=None, max_examples=60)
@given(
    per_class=st.integers(1, 6),
    labels=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=12), min_size=1, max_size=6),
)
def test_per_class_budget(per_class: int, labels: list[list[int]]) -> None:
    buffer, generator = Buffer(per_class=per_class), torch.Generator().manual_seed(0)
    seen: list[int] = []
    for index, batch in enumerate(batches_of(tuple(labels))):
        assert batch.y is not None
        buffer.add(batch, index, generator)
        seen += batch.y.tolist()
        for label in set(seen):
            assert int((buffer.y == label).sum()) == min(per_class, seen.count(label))


def test_no_budget_keeps_everything() -> None:
    buffer = filled(Buffer(), step=7)
    assert kept(buffer) == list(range(56))
    assert buffer.task.bincount().tolist() == [20, 20, 16]


def test_two_budgets_are_an_error() -> None:
    with pytest.raises(ValueError, match="size or per_class, not both"):
        Buffer(10, 2)


@pytest.mark.parametrize(
    ("policy", "by", "counts"),
    [("class-balanced", "y", [4, 3, 3, 3]), ("task-balanced", "task", [5, 4, 4])],
)
@pytest.mark.parametrize("step", [1000, 3])
def test_shares_are_even(policy: Policy, by: str, counts: list[int], step: int) -> None:
    buffer = filled(Buffer(13, policy=policy), step=step)
    assert getattr(buffer, by).bincount().tolist() == counts


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("reservoir", [0, 7, 10, 20, 27, 29, 33, 40, 41, 44, 46, 52, 53]),
        ("class-balanced", [0, 9, 10, 18, 20, 27, 30, 33, 35, 41, 44, 52, 53]),
        ("task-balanced", [0, 4, 7, 10, 18, 20, 27, 29, 33, 41, 44, 52, 53]),
    ],
)
def test_the_same_seed_keeps_the_same_examples(policy: Policy, expected: list[int]) -> None:
    """These numbers are in finished trials: a change of them has to be deliberate."""
    assert kept(filled(Buffer(13, policy=policy))) == expected


# Fairness

RUNS = 300


def p_values(make: Callable[[], Buffer], step: int = 1000) -> list[float]:
    """Test in each group that every example is kept equally often.

    The kept ones of a group are a sample of fixed size k without replacement from n. Over R runs
    the number of times an example is kept then has variance R p (1 - p) with p = k / n, and the
    sum of the squared standard scores, times (n - 1) / n, is chi-square with n - 1 degrees.
    """
    labels = torch.tensor([y for task in STREAM for y in task])
    tasks = torch.tensor([index for index, task in enumerate(STREAM) for _ in task])
    times = torch.zeros(len(labels), dtype=torch.float64)
    for seed in range(RUNS):
        buffer = filled(make(), seed, step)
        times[buffer.x.flatten().long()] += 1
    group = {"reservoir": torch.zeros_like(labels), "task-balanced": tasks}.get(
        buffer.policy, labels
    )
    values = []
    for name in group.unique():
        counts = times[group == name]
        n, p = len(counts), float(counts.sum()) / RUNS / len(counts)
        assert round(n * p, 9) == round(n * p)  # a group keeps equally many in each run
        if p < 1:
            score = ((counts - RUNS * p) ** 2).sum() / (RUNS * p * (1 - p)) * (n - 1) / n
            values.append(float(chi2.sf(float(score), n - 1)))
    return values


@pytest.mark.parametrize("step", [1000, 3])
@pytest.mark.parametrize("policy", POLICIES)
def test_every_example_is_kept_equally_often(policy: Policy, step: int) -> None:
    values = p_values(lambda: Buffer(13, policy=policy), step)
    assert len(values) == {"reservoir": 1, "class-balanced": 4, "task-balanced": 3}[policy]
    assert min(values) > 1e-3


def test_every_example_is_kept_equally_often_per_class() -> None:
    assert min(p_values(lambda: Buffer(per_class=3))) > 1e-3


class DrawsAnew(Buffer):
    """Forgets the priorities that its examples arrived with: the classic mistake."""

    def add(self, batch: Batch, task: int, generator: torch.Generator) -> None:
        super().add(batch, task, generator)
        self.priority = torch.rand(len(self), generator=generator)


@pytest.mark.parametrize("policy", POLICIES)
def test_unfairness_would_show(policy: Policy) -> None:
    assert min(p_values(lambda: DrawsAnew(13, policy=policy), step=3)) < 1e-9


# Reading


def test_absorb_takes_in_a_whole_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("methods.memories.buffer._CHUNK", 7)
    chunks = Buffer(13)
    batch = batches_of()[0]
    assert batch.y is not None
    rows = torch.arange(19, -1, -2)
    chunks.absorb(TensorExamples(batch.x, batch.y, rows), 0, Rng(0))
    assert set(kept(chunks)) == set(range(1, 20, 2))
    assert chunks.task.tolist() == [0] * 10


def test_absorbing_takes_copies() -> None:
    batch = batches_of()[0]
    assert batch.y is not None
    buffer = Buffer()
    buffer.absorb(TensorExamples(batch.x, batch.y), 0, Rng(0))
    batch.x.fill_(0)
    assert kept(buffer) == list(range(20))


def draw(buffer: Buffer, n: int = 500, seed: int = 0, **asked: object) -> Batch:
    return buffer.sample(n, torch.Generator().manual_seed(seed), **asked)  # type: ignore[arg-type]


def test_samples_are_rows_of_the_buffer() -> None:
    buffer = filled(Buffer(20))
    batch = draw(buffer)
    assert batch.x.shape == (500, 1, 1, 1)
    assert batch.y is not None
    assert batch.task is not None
    assert batch.y.dtype == batch.task.dtype == torch.int64
    stored = {
        int(x): (int(y), int(t)) for x, y, t in zip(buffer.x, buffer.y, buffer.task, strict=True)
    }
    drawn = zip(batch.x.flatten().tolist(), batch.y.tolist(), batch.task.tolist(), strict=True)
    assert {x: (y, t) for x, y, t in drawn} == stored
    assert torch.equal(draw(buffer).x, batch.x)
    assert not torch.equal(draw(buffer, seed=1).x, batch.x)


def test_samples_of_classes_and_of_a_task() -> None:
    buffer = filled(Buffer())
    assert set(draw(buffer, classes=(1, 3)).y.tolist()) == {1, 3}  # type: ignore[union-attr]
    assert set(draw(buffer, task=1).x.flatten().tolist()) == set(range(20, 40))
    both = draw(buffer, classes=(0, 2), task=2)
    assert set(both.x.flatten().tolist()) == {40, 41}


def test_nothing_to_draw() -> None:
    with pytest.raises(LookupError):
        draw(Buffer(5))
    buffer = filled(Buffer(20))
    for asked in ({"classes": (9,)}, {"classes": ()}, {"task": 7}, {"classes": (3,), "task": 0}):
        with pytest.raises(LookupError, match="nothing of this kind"):
            draw(buffer, **asked)


def test_latents_keep_their_type() -> None:
    buffer, z = Buffer(4), torch.randn(9, 7, generator=torch.Generator().manual_seed(0))
    buffer.add(Batch(z, torch.zeros(9, dtype=torch.int64)), 0, torch.Generator().manual_seed(0))
    assert buffer.x.dtype == torch.float32
    assert all(any(torch.equal(row, one) for one in z) for row in buffer.x)


# State


@pytest.mark.parametrize("policy", POLICIES)
def test_state_goes_round(policy: Policy) -> None:
    batches = batches_of()
    one, other = Buffer(13, policy=policy), Buffer(13, policy=policy)
    for task in (0, 1):
        one.add(batches[task], task, Rng(0).at(task).generator("priorities"))
    state = one.state_dict()
    other.load_state_dict(state)
    before = {name: value.clone() for name, value in state.items()}
    for buffer in (one, other):
        buffer.add(batches[2], 2, Rng(0).at(2).generator("priorities"))
    assert kept(one) == kept(other)
    assert all(torch.equal(v, other.state_dict()[n]) for n, v in one.state_dict().items())
    one.x.fill_(0)
    other.x.fill_(0)
    assert all(torch.equal(before[name], state[name]) for name in before)


def test_state_and_buffer_share_nothing() -> None:
    buffer = filled(Buffer(13))
    state = buffer.state_dict()
    other = Buffer(13)
    other.load_state_dict(state)
    for name, value in state.items():
        value.fill_(0)
        assert getattr(buffer, name).any()
        assert getattr(other, name).any()


def test_empty_state_goes_round() -> None:
    buffer = Buffer(13)
    buffer.load_state_dict(Buffer(13).state_dict())
    assert kept(filled(buffer)) == kept(filled(Buffer(13)))
