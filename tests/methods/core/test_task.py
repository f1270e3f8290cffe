"""Tasks, their examples, and what a stream tells beforehand."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from methods.core.task import Scenario, StreamInfo, Task, TaskClosed, TensorExamples

CLASSES_OF = ((0, 3), (1, 4), (2, 5))


def examples(n: int = 6) -> TensorExamples:
    return TensorExamples(torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1), torch.arange(n))


def info(scenario: Scenario) -> StreamInfo:
    return StreamInfo(scenario, 3, (1, 1, 1), 6, CLASSES_OF)


def test_rows_select_without_a_copy() -> None:
    whole = examples()
    part = TensorExamples(whole.x, whole.y, torch.tensor([5, 1, 3]))
    assert len(part) == 3
    assert len(whole) == 6
    batch = part.gather(torch.tensor([2, 0]))
    assert batch.x.flatten().tolist() == [3, 5]
    assert batch.y is not None
    assert batch.y.tolist() == [3, 5]
    assert batch.task is None
    assert part.x is whole.x


def test_rows_carry_their_task() -> None:
    mixed = TensorExamples(examples().x, examples().y, torch.tensor([4, 0]), torch.arange(6) // 2)
    batch = mixed.gather(torch.tensor([0, 1]))
    assert batch.task is not None
    assert batch.task.tolist() == [2, 0]


def test_gathered_rows_are_fresh() -> None:
    whole = examples()
    whole.gather(torch.arange(6)).x.fill_(9)
    assert whole.x.flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_closed_task_gives_nothing() -> None:
    task = Task(0, (0,), examples(), examples(2))
    assert task.validation is not None
    assert len(task.train.gather(torch.arange(3)).x) == 3
    assert len(task.validation.gather(torch.arange(2)).x) == 2
    task.close()
    for closed, length in ((task.train, 6), (task.validation, 2)):
        assert len(closed) == length
        with pytest.raises(TaskClosed, match="task is over"):
            closed.gather(torch.arange(1))
    task.close()  # twice does no harm


def test_closed_task_keeps_no_data_alive() -> None:
    whole = examples()
    alive, task = weakref.ref(whole), Task(0, (0,), whole)
    del whole
    assert alive() is not None
    task.close()
    gc.collect()
    assert alive() is None


def test_closing_a_task_leaves_the_stream_its_data() -> None:
    whole = examples()
    Task(0, (0,), whole).close()
    assert len(Task(0, (0,), whole).train.gather(torch.arange(6)).x) == 6


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        (Scenario.CLASS_INCREMENTAL, [[], [0, 3], [0, 1, 3, 4], [0, 1, 2, 3, 4, 5]]),
        (Scenario.DOMAIN_INCREMENTAL, [[0, 1, 2, 3, 4, 5]] * 4),
        (Scenario.TASK_INCREMENTAL, [[0, 1, 2, 3, 4, 5]] * 4),
    ],
)
def test_eligible_classes(scenario: Scenario, expected: list[list[int]]) -> None:
    masks = [info(scenario).eligible(seen) for seen in range(4)]
    assert all(mask.dtype == torch.bool and mask.shape == (6,) for mask in masks)
    assert [mask.nonzero().flatten().tolist() for mask in masks] == expected


def test_eligible_classes_by_task() -> None:
    masks = info(Scenario.TASK_INCREMENTAL).eligible_by_task()
    assert masks.dtype == torch.bool
    assert [mask.nonzero().flatten().tolist() for mask in masks] == [list(c) for c in CLASSES_OF]
