"""Gradients of many parameters as one vector."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def gradient_of(loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return the gradient of a scalar, float ``[P]``; 0 where a parameter takes no part in it.

    ``parameter.grad`` is left alone.
    """
    parts = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


def current_gradient(parameters: Sequence[nn.Parameter]) -> Tensor:
    """Return what the last backward pass left in ``parameter.grad``, float ``[P]``.

    0 where that is None.
    """
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    return torch.cat([part.flatten() for part in parts])


def set_gradient(parameters: Sequence[nn.Parameter], vector: Tensor) -> None:
    """Make each ``parameter.grad`` its part of a vector, float ``[P]``, without a copy."""
    parts = torch.split(vector, [p.numel() for p in parameters])
    for parameter, part in zip(parameters, parts, strict=True):
        parameter.grad = part.view_as(parameter)
