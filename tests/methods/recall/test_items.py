"""Items of a memory as the network sees them: their classes, and what the head reads of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.core.classifier import Network
from methods.core.task import Batch, Scenario, StreamInfo, TensorExamples
from methods.networks import Mlp
from methods.recall import head_inputs, items, labelled, of_classes

CLASSES_OF = torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 0, 1]], dtype=torch.bool)
LOGITS = torch.tensor([[0.0, 1.0, 3.0, 2.0, 9.0], [5.0, 1.0, 2.0, 3.0, 9.0]])


@pytest.mark.parametrize(
    ("scenario", "task", "tasks", "expected"),
    [
        (Scenario.CLASS_INCREMENTAL, None, 1, [1, 0]),
        (Scenario.CLASS_INCREMENTAL, None, 2, [2, 0]),
        (Scenario.CLASS_INCREMENTAL, [0, 1], 2, [2, 0]),
        (Scenario.TASK_INCREMENTAL, None, 2, [2, 0]),
        (Scenario.TASK_INCREMENTAL, [0, 1], 2, [1, 3]),
    ],
)
def test_items_get_the_likeliest_class_that_they_may_have(
    scenario: Scenario, task: list[int] | None, tasks: int, expected: list[int]
) -> None:
    x, of = torch.zeros(2, 1, 2, 2), None if task is None else torch.tensor(task)
    found = labelled(Batch(x, None, of), LOGITS, CLASSES_OF, tasks, scenario)
    assert found.y is not None
    assert found.y.tolist() == expected
    assert (found.x is x, found.task is of, found.logits is LOGITS) == (True, True, True)


class Counting:
    """Items 0, 1, 2, …, whose classes are their remainders."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.asked: list[int] = []

    def __call__(self, n: int) -> Batch:
        x = torch.arange(n) + sum(self.asked)
        self.asked.append(n)
        return Batch(x, x % self.classes)


@pytest.mark.parametrize(("n", "asked"), [(3, [64]), (64, [64, 64, 64]), (100, [100, 100, 100])])
def test_items_of_some_classes_are_the_first_that_are_drawn(n: int, asked: list[int]) -> None:
    draw = Counting(5)
    found = of_classes(n, [1, 3], draw)
    rows = torch.arange(400)
    first: Tensor = rows[(rows % 5 == 1) | (rows % 5 == 3)][:n]
    assert torch.equal(found.x, first)
    assert found.y is not None
    assert torch.equal(found.y, first % 5)
    assert draw.asked == asked


@pytest.mark.parametrize("classes", [(), (7,)])
def test_a_class_that_nothing_is_taken_for_is_not_sought_for_ever(classes: tuple[int, ...]) -> None:
    draw = Counting(5)
    with pytest.raises(LookupError, match="one of the classes"):
        of_classes(2, classes, draw)
    assert len(draw.asked) == 40


def test_what_the_head_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "_CHUNK", 3)
    stream = StreamInfo(Scenario.CLASS_INCREMENTAL, 2, (1, 3, 3), 4, ((0, 1), (2, 3)))
    network = Network(Mlp(widths=(6, 5)).build(stream.shape), stream)
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    read = head_inputs(network, TensorExamples(x, torch.zeros(8, dtype=torch.int64)), 1)
    assert read.shape == (8, 5)
    assert not read.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(network.head(read), network(x, 1))
