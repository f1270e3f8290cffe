"""Nearest real items, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from orchestrator.audit import neighbours
from orchestrator.audit.neighbours import Neighbours


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_distances_are_scikit_learn_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_CHUNK", 64)
    real, draws = numbers(150, 3, 4), numbers(40, 3, 4, seed=1)
    found = Neighbours()
    for part in (real[:100], real[100:101], real[101:]):  # task by task, one of a single item
        found.add(found.project(part))
    wanted, _ = NearestNeighbors(n_neighbors=2).fit(real.flatten(1)).kneighbors(draws.flatten(1))
    assert np.allclose(found.distances(found.project(draws)), wanted, atol=1e-5)


def test_few_dimensions_of_many_keep_ratios_and_copies() -> None:
    real, draws = numbers(500, 2000) + 30, numbers(50, 2000, seed=1) + 30
    found = Neighbours()
    projected = found.project(real)
    assert projected.shape == (500, 64)
    found.add(projected)
    distances = found.distances(found.project(torch.cat([draws, real[:5]])))
    assert distances[50:, 0].tolist() == [0.0] * 5
    assert (distances[50:, 1] > 10).all()
    exact = torch.cdist(draws, real).topk(2, 1, largest=False).values
    assert ((distances[:50] / exact - 1).abs() < 0.5).all()


def test_bytes_count_as_fractions() -> None:
    x = torch.randint(256, (9, 1, 4, 4), dtype=torch.uint8)
    projected = Neighbours().project(x)
    assert torch.equal(projected, x.flatten(1).float() / 255)
