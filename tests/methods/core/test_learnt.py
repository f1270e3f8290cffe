"""What can be drawn of what has been learnt."""

from __future__ import annotations

import pytest
import torch

from methods.core.learnt import Learnt
from methods.core.task import Scenario, StreamInfo

STREAM = StreamInfo(Scenario.TASK_INCREMENTAL, 3, (1, 2, 2), 5, ((3, 1), (0, 2, 3), (4,)))
LEARNT = Learnt(STREAM, 2, torch.device("cpu"))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_each_class_of_each_task_comes_in_order() -> None:
    """Class 3 occurs in two tasks."""
    y, task = LEARNT.each(2)
    assert y.tolist() == [3, 3, 1, 1, 0, 0, 2, 2, 3, 3]
    assert task.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]


def test_choices_are_even_over_what_was_asked_for() -> None:
    pairs = torch.stack(LEARNT.choose(50, generator()), 1)
    chosen, counts = pairs.unique(dim=0, return_counts=True)  # type: ignore[no-untyped-call]
    assert chosen.tolist() == [[0, 1], [1, 0], [2, 1], [3, 0], [3, 1]]
    assert counts.tolist() == [10] * 5
    y, task = LEARNT.choose(9, generator(), task=0)
    assert (y.unique().tolist(), task.unique().tolist()) == ([1, 3], [0])
    y, task = LEARNT.choose(9, generator(), classes=(3,), task=1)
    assert (y.tolist(), task.tolist()) == ([3] * 9, [1] * 9)


def test_the_order_is_random() -> None:
    y, _ = LEARNT.choose(50, generator())
    assert y.tolist() != LEARNT.each(10).y.tolist()
    assert y.tolist() == LEARNT.choose(50, generator()).y.tolist()


@pytest.mark.parametrize("asked", [((4,), None), (None, 2), ((1,), 1)])
def test_what_was_not_learnt_is_not_chosen(
    asked: tuple[tuple[int, ...] | None, int | None],
) -> None:
    classes, task = asked
    with pytest.raises(LookupError, match="nothing has been learnt of classes"):
        LEARNT.choose(1, generator(), classes=classes, task=task)
