"""What can be drawn of what has been learnt."""

from __future__ import annotations

import pytest
import torch

from methods.core.learnt import Learnt
from methods.core.task import Scenario, StreamInfo

STREAM = StreamInfo(Scenario.TASK_INCREMENTAL, 3, (1, 2, 2), 5, ((3, 1), (0, 2, 3), (4,)))
LEARNT = Learnt(STREAM, 2, torch.device("cpu"))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


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


def test_choices_that_do_not_divide_are_even_in_expectation() -> None:
    """Eight of five pairs: at most two of each, 1.6 on average, and 2, 2, 0, 2 and 2 at times."""
    counts = []
    for seed in range(400):
        y, task = LEARNT.choose(8, generator(seed))
        counts.append((5 * task + y).bincount(minlength=10)[[1, 3, 5, 7, 8]])
    each = torch.stack(counts)
    assert each.sum(1).unique().tolist() == [8]
    assert each.unique().tolist() == [0, 1, 2]
    torch.testing.assert_close(each.float().mean(0), torch.full((5,), 1.6), atol=0.1, rtol=0)


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
