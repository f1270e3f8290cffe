"""Budgets divided: used in full, evenly or as asked for, and never growing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.memories.shares import Share, even_shares, task_counts, task_weights

groups = st.lists(st.integers(0, 30), min_size=1, max_size=8)


@settings(deadline=None)
@given(available=groups, total=st.integers(0, 100))
def test_even_shares(available: list[int], total: int) -> None:
    shares = even_shares(torch.tensor(available), total).tolist()
    assert sum(shares) == min(total, sum(available))
    assert all(0 <= share <= size for share, size in zip(shares, available, strict=True))
    limited = [share for share, size in zip(shares, available, strict=True) if share < size]
    if limited:  # nobody who could use more has less than another, but for the indivisible rest
        assert max(shares) - min(limited) <= 1
        assert limited == sorted(limited, reverse=True)


@settings(deadline=None)
@given(available=groups, total=st.integers(0, 60), which=st.integers(0, 7), more=st.integers(1, 9))
def test_a_share_never_grows_while_others_arrive(
    available: list[int], total: int, which: int, more: int
) -> None:
    """Else a group that was cut would be refilled with late arrivals alone."""
    grown = list(available)
    grown[which % len(grown)] += more
    before, after = (even_shares(torch.tensor(a), total).tolist() for a in (available, grown))
    for share, new, size in zip(before, after, available, strict=True):
        assert new <= share or share == size


@pytest.mark.parametrize(
    ("available", "total", "expected"),
    [
        ([2, 50, 50], 11, [2, 5, 4]),
        ([50, 3, 50, 50], 14, [4, 3, 4, 3]),
        ([1, 1, 1], 10, [1, 1, 1]),
        ([5, 5, 5], 2, [1, 1, 0]),
        ([5], 0, [0]),
    ],
)
def test_even_shares_of(available: list[int], total: int, expected: list[int]) -> None:
    assert even_shares(torch.tensor(available), total).tolist() == expected


# Tasks


items = st.lists(st.integers(1, 50), min_size=1, max_size=9)
shares = st.sampled_from(["even", "decaying", "by-class"])


@settings(deadline=None)
@given(items=items, share=shares, decay=st.floats(0.05, 0.95), total=st.integers(1, 80))
def test_the_budget_of_draws_is_used(
    items: list[int], share: Share, decay: float, total: int
) -> None:
    counts = task_counts(items, share, decay, total)
    assert len(counts) == len(items)
    assert sum(counts) == total
    assert min(counts) >= 0


@settings(deadline=None)
@given(items=items, share=shares, decay=st.floats(0.05, 0.95), total=st.integers(1, 80))
def test_counts_of_draws_never_grow(
    items: list[int], share: Share, decay: float, total: int
) -> None:
    before = task_counts(items, share, decay, total)
    after = task_counts([*items, 7], share, decay, total)
    assert all(new <= old for old, new in zip(before, after, strict=False))


@pytest.mark.parametrize(
    ("share", "weights", "counts"),
    [
        ("even", [1, 1, 1], [4, 3, 3]),
        ("decaying", [0.25, 0.5, 1], [1, 2, 7]),
        ("unlimited", [30, 10, 20], [30, 10, 20]),
        ("by-class", [1, 1 / 3, 2 / 3], [6, 1, 3]),
    ],
)
def test_shares_of_tasks(share: Share, weights: list[float], counts: list[int]) -> None:
    assert task_weights([30, 10, 20], share, 0.5) == weights
    assert task_counts([30, 10, 20], share, 0.5, 10) == counts


@settings(deadline=None)
@given(tasks=st.integers(1, 9), classes=st.integers(1, 20), total=st.integers(1, 80))
def test_tasks_with_as_many_classes_share_evenly(tasks: int, classes: int, total: int) -> None:
    sizes = [classes] * tasks
    assert task_counts(sizes, "by-class", 0.5, total) == task_counts(sizes, "even", 0.5, total)
    assert task_weights(sizes, "by-class", 0.5) == task_weights(sizes, "even", 0.5)


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=9), total=st.integers(1, 300))
def test_shares_by_class_are_in_proportion(sizes: list[int], total: int) -> None:
    """None falls short of its part by a draw; where all parts are whole, they are met."""
    counts = task_counts(sizes, "by-class", 0.5, total)
    for count, size in zip(counts, sizes, strict=True):
        assert count >= total * size // sum(sizes)
    assert task_counts(sizes, "by-class", 0.5, 7 * sum(sizes)) == [7 * size for size in sizes]


def test_no_tasks_no_shares() -> None:
    assert task_counts([], "by-class", 0.5, 10) == []
    assert task_counts([], "even", 0.5, 10) == []
    assert task_counts([], "decaying", 0.5, 10) == []
