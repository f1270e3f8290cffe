"""Budgets, optimisers and the masked loss."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from methods.core.training import (
    Adam,
    Budget,
    OptimizerConfig,
    Sgd,
    masked_cross_entropy,
    masked_distance,
)

sizes = st.integers(1, 40)


def batches(budget: Budget, examples: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [rows.tolist() for rows in budget.batches(examples, generator)]


# Budget


@settings(deadline=None)
@given(examples=sizes, batch_size=sizes, epochs=st.integers(1, 4))
def test_epochs_show_every_example_once_per_pass(
    examples: int, batch_size: int, epochs: int
) -> None:
    budget = Budget(epochs=epochs, batch_size=batch_size)
    steps = batches(budget, examples)
    assert len(steps) == budget.steps(examples)
    per_pass = len(steps) // epochs
    for start in range(0, len(steps), per_pass):
        one = steps[start : start + per_pass]
        assert sorted(chain(*one)) == list(range(examples))
        assert all(len(rows) == batch_size for rows in one[:-1])
        assert 1 <= len(one[-1]) <= batch_size


@settings(deadline=None)
@given(examples=sizes, batch_size=sizes, iterations=st.integers(1, 30))
def test_iterations_follow_each_other_without_a_seam(
    examples: int, batch_size: int, iterations: int
) -> None:
    budget = Budget(iterations=iterations, batch_size=batch_size)
    steps = batches(budget, examples)
    assert len(steps) == budget.steps(examples) == iterations
    assert all(len(rows) == batch_size for rows in steps)
    order = list(chain(*steps))
    for start in range(0, len(order), examples):
        one = order[start : start + examples]
        assert len(set(one)) == len(one)
        assert set(one) <= set(range(examples))


def test_a_batch_may_span_two_passes() -> None:
    first, second = batches(Budget(iterations=2, batch_size=4), 6)
    assert set(first) | set(second[:2]) == set(range(6))
    assert len(set(second[2:])) == 2


def test_passes_differ_and_the_generator_decides() -> None:
    budget = Budget(epochs=2, batch_size=50)
    one, two = batches(budget, 50)
    assert one != two
    assert batches(budget, 50) == [one, two]
    assert batches(budget, 50, seed=1) != [one, two]


@pytest.mark.parametrize("unit", ["epochs", "iterations"])
def test_no_data_is_an_error(unit: str) -> None:
    with pytest.raises(ValueError, match="no training data"):
        batches(Budget.model_validate({unit: 3}), 0)


def test_default_budget() -> None:
    assert Budget().iterations == 500
    assert Budget(batch_size=7) == Budget(iterations=500, batch_size=7)
    assert Budget(epochs=2).iterations is None


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"iterations": 3, "epochs": 3}, "iterations or epochs, not both"),
        ({"iterations": 0}, "greater than 0"),
        ({"epochs": -1}, "greater than 0"),
        ({"epochs": 1.5}, "valid integer"),
        ({"epochs": "3"}, "valid integer"),
        ({"batch_size": 0}, "greater than 0"),
        ({"steps": 3}, "not permitted"),
    ],
)
def test_impossible_budgets(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Budget.model_validate(values)


# Optimisers


def optimizer(value: Any) -> Any:
    return TypeAdapter(OptimizerConfig).validate_python(value)


def test_optimizers_are_told_apart_by_name() -> None:
    assert optimizer("adam") == Adam() == optimizer({"name": "adam", "betas": [0.9, 0.999]})
    assert optimizer({"name": "sgd", "momentum": 0.9}) == Sgd(momentum=0.9)


@pytest.mark.parametrize(
    "value",
    [
        "rmsprop",
        {"lr": 0.1},
        {"name": "adam", "momentum": 0.9},
        {"name": "sgd", "lr": 0.0},
        {"name": "sgd", "weight_decay": -1.0},
        {"name": "sgd", "reset": "always"},
    ],
)
def test_impossible_optimizers(value: Any) -> None:
    with pytest.raises(ValidationError):
        optimizer(value)


@pytest.mark.parametrize(
    ("config", "kind", "expected"),
    [
        (Adam(lr=0.5, betas=(0.8, 0.9)), torch.optim.Adam, {"lr": 0.5, "betas": (0.8, 0.9)}),
        (Adam(weight_decay=0.25), torch.optim.Adam, {"lr": 1e-3, "weight_decay": 0.25}),
        (Sgd(lr=0.5, momentum=0.75), torch.optim.SGD, {"lr": 0.5, "momentum": 0.75}),
        (Sgd(weight_decay=0.25), torch.optim.SGD, {"weight_decay": 0.25, "momentum": 0.0}),
    ],
)
def test_every_option_reaches_a_fused_optimizer(
    config: Adam | Sgd, kind: type, expected: dict[str, Any]
) -> None:
    parameter = nn.Parameter(torch.ones(3))
    built = config.build([parameter])
    assert type(built) is kind
    group = built.param_groups[0]
    assert group["params"] == [parameter]
    assert {name: group[name] for name in expected} == expected
    assert group["fused"] is True


def test_weight_decay_is_added_to_the_gradient() -> None:
    parameter = nn.Parameter(torch.tensor([2.0]))
    parameter.grad = torch.tensor([1.0])
    Sgd(lr=0.1, weight_decay=0.5).build([parameter]).step()
    torch.testing.assert_close(parameter.detach(), torch.tensor([2.0 - 0.1 * (1.0 + 0.5 * 2.0)]))


# Loss

LOGITS = torch.tensor([[2.0, -1.0, 0.5, 9.0], [0.0, 3.0, -2.0, 9.0]])
Y = torch.tensor([2, 0])


def by_hand(logits: Tensor, y: Tensor, eligible: list[list[int]]) -> Tensor:
    losses = [
        row[classes].exp().sum().log() - row[label]
        for row, label, classes in zip(logits, y.tolist(), eligible, strict=True)
    ]
    return torch.stack(losses).mean()


def test_loss_is_that_of_the_softmax_over_eligible_classes() -> None:
    eligible = torch.tensor([True, False, True, False])
    loss = masked_cross_entropy(LOGITS, Y, eligible)
    torch.testing.assert_close(loss, by_hand(LOGITS, Y, [[0, 2], [0, 2]]))
    cut = nn.functional.cross_entropy(LOGITS[:, [0, 2]], torch.tensor([1, 0]))
    torch.testing.assert_close(loss, cut)


def test_rows_may_have_their_own_classes() -> None:
    eligible = torch.tensor([[False, True, True, False], [True, True, False, False]])
    loss = masked_cross_entropy(LOGITS, Y, eligible)
    torch.testing.assert_close(loss, by_hand(LOGITS, Y, [[1, 2], [0, 1]]))


def test_all_classes_are_plain_cross_entropy() -> None:
    loss = masked_cross_entropy(LOGITS, Y, torch.ones(4, dtype=torch.bool))
    torch.testing.assert_close(loss, nn.functional.cross_entropy(LOGITS, Y))


def test_masked_logits_get_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    eligible = torch.tensor([True, False, True, False])
    masked_cross_entropy(logits, Y, eligible).backward()
    assert logits.grad is not None
    assert logits.grad[:, ~eligible].eq(0).all()
    expected = (LOGITS[:, [0, 2]].softmax(1) - torch.tensor([[0.0, 1.0], [1.0, 0.0]])) / 2
    torch.testing.assert_close(logits.grad[:, eligible], expected)


def test_a_label_that_is_not_eligible_shows() -> None:
    loss = masked_cross_entropy(LOGITS, Y, torch.tensor([True, True, False, False]))
    assert loss.isinf()


def test_masked_distance_by_hand() -> None:
    logits = torch.tensor([[1.0, 2.0, 9.0], [0.0, 4.0, 5.0]])
    targets = torch.tensor([[0.0, 4.0, -9.0], [0.0, 1.0, 1.0]])
    eligible = torch.tensor([[True, True, False], [True, True, True]])
    expected = ((1 + 4) / 2 + (0 + 9 + 16) / 3) / 2
    assert float(masked_distance(logits, targets, eligible)) == pytest.approx(expected)
    alike = torch.tensor([False, True, True])
    expected = ((4 + 324) / 2 + (9 + 16) / 2) / 2
    assert float(masked_distance(logits, targets, alike)) == pytest.approx(expected)
