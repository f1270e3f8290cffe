"""Synthetic images pull an encoder back to where their embeddings were."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods.core.rng import Rng
from methods.core.task import Batch
from methods.memories.buffer import Buffer
from methods.networks import Backbone, Mlp
from methods.pseudo_rehearsal import Anchors

SHAPE = (1, 4, 4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*labels: int, n: int = 30) -> Buffer:
    x = torch.randint(256, (n, *SHAPE), generator=seeded(), dtype=torch.uint8)
    buffer = Buffer()
    buffer.put(Batch(x, torch.tensor(labels or (0,)).repeat(n)[:n]))
    return buffer


def made(*blocks: nn.Module) -> Backbone:
    with Rng(0).scoped("initialisation"):
        return Backbone(blocks, SHAPE) if blocks else Mlp(widths=(12, 6)).build(SHAPE)


def moved(backbone: Backbone, by: float = 0.1) -> None:
    generator = seeded(5)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=by)


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_nothing_pulls_where_the_encoder_has_not_moved(kind: Any) -> None:
    backbone = made().train()
    anchors = Anchors(images(), backbone)
    drift = anchors.drift(64, kind, seeded())
    drift.backward()
    assert float(drift.detach()) < 1e-6
    assert all(p.grad is None or p.grad.abs().max() < 1e-3 for p in backbone.parameters())


@pytest.mark.parametrize("kind", ["cosine", "euclidean"])
def test_its_gradient_leads_back(kind: Any) -> None:
    backbone = made()
    anchors = Anchors(images(), backbone)
    moved(backbone)
    optimizer = torch.optim.Adam(backbone.parameters(), 1e-3)
    away = [float(anchors.drift(500, kind, seeded()).detach())]
    for _ in range(150):
        optimizer.zero_grad()
        anchors.drift(500, kind, seeded()).backward()
        optimizer.step()
    away.append(float(anchors.drift(500, kind, seeded()).detach()))
    assert away[0] > 0
    assert away[1] < 0.3 * away[0]


def test_it_is_the_mean_distance_of_the_images_drawn() -> None:
    backbone = made()
    held = images()
    before: Tensor = backbone.run(held.x).detach()
    anchors = Anchors(held, backbone)
    torch.testing.assert_close(anchors.before, before)
    moved(backbone)
    rows = torch.randint(30, (9,), generator=seeded(3))
    now = backbone.run(held.x)[rows].detach()
    away = (now - before[rows]).norm(dim=1).mean()
    torch.testing.assert_close(anchors.drift(9, "euclidean", seeded(3)).detach(), away)
    angle = 1 - nn.functional.cosine_similarity(now, before[rows]).mean()
    torch.testing.assert_close(anchors.drift(9, "cosine", seeded(3)).detach(), angle)


def test_class_by_class_each_weighs_the_same() -> None:
    """Twenty-seven images of one class that have not moved, three of another that have."""
    held = Buffer()
    x = torch.zeros(30, *SHAPE, dtype=torch.uint8)
    x[:3] = 255
    held.put(Batch(x, torch.tensor([4] * 3 + [1] * 27)))
    with Rng(0).scoped("layers"):
        backbone = made(nn.Flatten(), nn.Linear(16, 2, bias=False))
    by_class, alike = Anchors(held, backbone, by_class=True), Anchors(held, backbone)
    with torch.no_grad():
        backbone.blocks[1].weight += 0.25  # type: ignore[operator]
    each = 4 * 2**0.5  # a quarter for each of 16 pixels, in both dimensions
    assert float(by_class.drift(50, "euclidean", seeded()).detach()) == pytest.approx(each / 2)
    assert float(alike.drift(5000, "euclidean", seeded()).detach()) == pytest.approx(
        each / 10, rel=0.2
    )


def test_dropout_and_batch_norm_do_not_count_as_movement() -> None:
    with Rng(0).scoped("layers"):
        layers = (nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
    backbone = made(*layers).train()
    anchors = Anchors(images(), backbone)
    assert float(anchors.drift(64, "euclidean", seeded()).detach()) < 1e-6
    assert backbone.training
    assert int(backbone.blocks[2].num_batches_tracked) == 0  # type: ignore[arg-type]
