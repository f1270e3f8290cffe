"""What replayed items are taken for, and what a student is to make of it, on cases by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.core.task import Batch, Scenario, StreamInfo
from methods.core.teacher import Teacher
from methods.core.training import distillation, weight_of_new

CLASSES_OF = ((0, 1), (2, 3), (4, 5))
GENERATOR = torch.Generator().manual_seed(0)
SAID = 3 * torch.randn(7, 6, generator=GENERATOR)
LOGITS = torch.randn(7, 6, generator=GENERATOR)


class Says(nn.Module):
    """Gives logits that it was told, at any depth."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, z: Tensor, depth: int) -> Tensor:
        return self.logits[: len(z)]


def teacher(scenario: Scenario, tasks: int) -> Teacher:
    stream = StreamInfo(scenario, 3, (1, 2, 2), 6, CLASSES_OF)
    return Teacher(Says(SAID), stream, tasks)


def items(task: Tensor | None = None) -> Batch:
    return Batch(torch.zeros(7, 4), None, task)


def test_hard_labels_are_the_likeliest_of_the_classes_it_knows() -> None:
    eligible = torch.tensor([True] * 6)
    loss = teacher(Scenario.CLASS_INCREMENTAL, 2).loss(items(), LOGITS, 0, eligible)
    labels = SAID[:, :4].argmax(1)
    torch.testing.assert_close(loss, functional.cross_entropy(LOGITS, labels))


def test_soft_labels_are_its_probabilities_and_unknown_classes_have_none() -> None:
    eligible = torch.tensor([True] * 6)
    loss = teacher(Scenario.CLASS_INCREMENTAL, 2).loss(items(), LOGITS, 0, eligible, 2.0)
    target = torch.cat([(SAID[:, :4] / 2).softmax(1), torch.zeros(7, 2)], 1)
    expected = 4 * functional.cross_entropy(LOGITS / 2, target)
    torch.testing.assert_close(loss, expected)


def test_with_unknown_tasks_each_past_head_learns_from_its_own() -> None:
    past = teacher(Scenario.TASK_INCREMENTAL, 2)
    at_hand = torch.tensor([False] * 4 + [True] * 2)
    loss = past.loss(items(), LOGITS, 0, at_hand)
    by_task = [
        functional.cross_entropy(LOGITS[:, list(classes)], SAID[:, list(classes)].argmax(1))
        for classes in CLASSES_OF[:2]
    ]
    torch.testing.assert_close(loss, torch.stack(by_task).mean())


def test_with_known_tasks_an_item_is_of_its_own_head() -> None:
    past = teacher(Scenario.TASK_INCREMENTAL, 2)
    task = torch.tensor([0, 1, 1, 0, 0, 1, 0])
    eligible = torch.zeros(7, 6, dtype=torch.bool)
    for row, each in enumerate(task.tolist()):
        eligible[row, list(CLASSES_OF[each])] = True
    loss = past.loss(items(task), LOGITS, 0, eligible)
    expected = [
        functional.cross_entropy(
            LOGITS[row, list(CLASSES_OF[each])], SAID[row, list(CLASSES_OF[each])].argmax()
        )
        for row, each in enumerate(task.tolist())
    ]
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_distillation_pulls_as_the_divergence_does() -> None:
    every = torch.ones(6, dtype=torch.bool)
    student = LOGITS.clone().requires_grad_()
    distillation(student, SAID, every, every, 3.0).backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    expected = 3.0 * ((LOGITS / 3).softmax(1) - (SAID / 3).softmax(1)) / len(LOGITS)
    torch.testing.assert_close(student.grad, expected)
    # A student that says what its teacher does is left alone.
    same = SAID.clone().requires_grad_()
    distillation(same, SAID, every, every, 3.0).backward()  # type: ignore[no-untyped-call]
    assert same.grad is not None
    assert same.grad.abs().max() < 1e-6


def test_a_class_that_is_not_eligible_gets_no_gradient() -> None:
    known, eligible = torch.arange(6) < 2, torch.arange(6) < 4
    student = LOGITS.clone().requires_grad_()
    loss = distillation(student, SAID, eligible, known, 2.0)
    loss.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert student.grad.isfinite().all()
    assert (student.grad[:, 4:] == 0).all()
    assert (student.grad[:, 2:4] > 0).all()  # new to the student: what is old is none of them


@pytest.mark.parametrize(
    ("loss", "weight"), [("mean", 0.25), ("1/t", 0.2), (0.3, 0.3)], ids=["mean", "1/t", "r"]
)
def test_weight_of_new(loss: object, weight: float) -> None:
    assert weight_of_new(loss, new=10, old=30, task=5) == weight  # type: ignore[arg-type]
