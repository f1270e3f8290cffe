"""Counts of what a generator has absorbed, and how often each class and task is drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from methods.core.accounting import reachable_bytes
from methods.core.task import TensorExamples
from methods.memories.ledger import Ledger, chances_of, classes_of, items_of

CPU = torch.device("cpu")
#: Class 0 comes back; the second task is the third of its stream.
STREAM = {0: [1] * 120 + [0] * 60, 2: [0] * 30 + [5] * 90, 3: [3] * 100}


def filled() -> Ledger:
    ledger = Ledger()
    for task, labels in STREAM.items():
        y = torch.tensor(labels)
        ledger.add(TensorExamples(torch.zeros(len(y), 1), y), task, CPU)
    return ledger


def shares(drawn: tuple[Tensor, Tensor]) -> dict[tuple[int, int], int]:
    pairs = list(zip(drawn[1].tolist(), drawn[0].tolist(), strict=True))
    return {pair: pairs.count(pair) for pair in sorted(set(pairs))}


def draw(n: int = 400, seed: int = 0, **asked: Any) -> tuple[Tensor, Tensor]:
    return filled().draw(n, torch.Generator().manual_seed(seed), **asked)


def test_tasks_and_their_classes() -> None:
    ledger = filled()
    assert list(ledger.tasks.items()) == [(0, 180), (2, 120), (3, 100)]
    assert ledger.classes_of == {0: (0, 1), 2: (0, 5), 3: (3,)}
    assert ledger.newest.tolist() == [3]
    assert not Ledger().tasks
    assert not Ledger().classes_of
    task, other = torch.tensor([4, 4, 1]), torch.tensor([7, 2, 7])
    assert items_of(task, other) == {4: 9, 1: 7}
    assert classes_of(task, other) == {4: (2, 7), 1: (7,)}


def test_large_tasks_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = filled()
    monkeypatch.setattr("methods.memories.reading._CHUNK", 7)
    assert torch.equal(filled().count, at_once.count)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {(0, 0): 60, (0, 1): 120, (2, 0): 30, (2, 5): 90, (3, 3): 100}),
        ({"task": 2}, {(2, 0): 100, (2, 5): 300}),
        ({"classes": (0, 3)}, {(0, 0): 126, (2, 0): 63, (3, 3): 211}),
        ({"classes": (0, 9), "task": 0}, {(0, 0): 400}),
        ({"weights": {0: 1.0, 2: 3.0}}, {(0, 0): 33, (0, 1): 67, (2, 0): 75, (2, 5): 225}),
        ({"weights": {0: 1.0, 2: 3.0}, "classes": (0,)}, {(0, 0): 123, (2, 0): 277}),
    ],
)
def test_pairs_come_as_often_as_asked(
    asked: dict[str, Any], expected: dict[tuple[int, int], int]
) -> None:
    found = shares(draw(**asked))
    assert found.keys() == expected.keys()
    assert all(abs(found[pair] - n) <= 2 for pair, n in expected.items())


def test_draws_are_shuffled_and_repeat_themselves() -> None:
    state = torch.get_rng_state()
    one, same, other = draw(), draw(), draw(seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])
    assert int((one[1][1:] != one[1][:-1]).sum()) > 150
    assert one[0].dtype == one[1].dtype == torch.int64
    assert [len(part) for part in draw(0)] == [0, 0]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "asked", [{"classes": (9,)}, {"classes": ()}, {"task": 1}, {"task": 3, "classes": (0,)}]
    + [{"weights": {1: 1.0}}, {"weights": {0: 0.0}}, {"weights": {0: 1.0}, "task": 2}]
)  # fmt: skip
def test_nothing_to_draw(asked: dict[str, Any]) -> None:
    with pytest.raises(LookupError, match="nothing of this kind"):
        draw(**asked)
    with pytest.raises(LookupError):
        Ledger().draw(1, torch.Generator(), **asked)


def test_chances_leave_counts_alone() -> None:
    count = torch.tensor([2, 4])
    chances = chances_of(torch.tensor([0, 1]), torch.tensor([5, 5]), count, only=1)
    assert chances.tolist() == [0, 4]
    assert chances.dtype == torch.float64
    assert count.tolist() == [2, 4]


def test_state_goes_round() -> None:
    one, other = filled(), Ledger()
    state = one.state_dict()
    other.load_state_dict(state)
    for value in state.values():
        value.zero_()  # nothing is shared
    assert other.tasks == one.tasks
    assert other.classes_of == one.classes_of
    one, other = (ledger.draw(50, torch.Generator())[0] for ledger in (one, other))  # type: ignore[assignment]
    assert torch.equal(one, other)  # type: ignore[arg-type]
    assert reachable_bytes(filled()) == 3 * 5 * 8
