"""Distances of embeddings, against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from methods.core.alignment import DistanceKind, embedding_distance

KINDS: tuple[DistanceKind, ...] = ("cosine", "euclidean")


def draws(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(7, 5, generator=generator) for _ in range(2))  # type: ignore[return-value]


def test_by_hand() -> None:
    now = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, -3.0]])
    before = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    cosine = (0 + (1 - math.sqrt(0.5)) + 2) / 3
    assert float(embedding_distance(now, before, "cosine")) == pytest.approx(cosine)
    assert float(embedding_distance(now, before, "euclidean")) == pytest.approx((3 + 1 + 4) / 3)


def test_cosine_is_one_less_the_cosine() -> None:
    now, before = draws()
    expected = 1 - torch.cosine_similarity(now, before).mean()
    torch.testing.assert_close(embedding_distance(now, before, "cosine"), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_not_moved_is_at_distance_0_and_pulls_nowhere(kind: DistanceKind) -> None:
    _, before = draws()
    now = before.clone().requires_grad_()
    distance = embedding_distance(now, before, kind)
    distance.backward()
    assert float(distance.detach()) == 0
    assert now.grad is not None
    assert not now.grad.any()


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_is_right_and_leads_back(kind: DistanceKind) -> None:
    now, before = (part.double() for part in draws())
    now.requires_grad_()
    assert torch.autograd.gradcheck(lambda e: embedding_distance(e, before, kind), now)
    distance = embedding_distance(now, before, kind)
    (gradient,) = torch.autograd.grad(distance, now)
    assert embedding_distance(now.detach() - 0.1 * gradient, before, kind) < distance


def test_a_row_of_zeros_has_no_direction() -> None:
    now, before = draws()
    rest = embedding_distance(now[2:], before[2:], "cosine") * 5 / 7
    now[0], before[1] = 0, 0
    now.requires_grad_()
    distance = embedding_distance(now, before, "cosine")
    distance.backward()
    torch.testing.assert_close(distance.detach(), rest)
    assert now.grad is not None
    assert not now.grad[:2].any()
    assert (now.grad[2:].abs().amax(1) > 0).all()
