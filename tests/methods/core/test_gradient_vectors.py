"""Gradients as vectors."""

from __future__ import annotations

import torch
from torch import nn

from methods.core.gradient_vectors import current_gradient, gradient_of, set_gradient


def small() -> tuple[list[nn.Parameter], torch.Tensor]:
    """Return parameters, the second of which takes no part in the loss."""
    values = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([5.0]), torch.tensor([6.0, 7.0])
    parameters = [nn.Parameter(value) for value in values]
    return parameters, parameters[0].square().sum() + 3 * parameters[2].sum()


def test_gradient_of_a_loss_leaves_the_current_one_alone() -> None:
    parameters, loss = small()
    assert gradient_of(loss, parameters).tolist() == [2, 4, 6, 8, 0, 3, 3]
    assert all(parameter.grad is None for parameter in parameters)


def test_current_gradient_counts_none_as_zero() -> None:
    parameters, loss = small()
    loss.backward()  # type: ignore[no-untyped-call]
    assert parameters[1].grad is None
    assert current_gradient(parameters).tolist() == [2, 4, 6, 8, 0, 3, 3]


def test_each_parameter_gets_its_part() -> None:
    parameters, _ = small()
    set_gradient(parameters, torch.arange(7.0))
    gradients = [p.grad.tolist() for p in parameters if p.grad is not None]
    assert gradients == [[[0, 1], [2, 3]], [4], [5, 6]]
