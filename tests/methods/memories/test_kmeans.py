"""Clusters, against scikit-learn from the same start."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from methods.memories.kmeans import fit_centroids, kmeans, lloyd, seeds
from methods.memories.mixture import draw, stratified


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def groups(n: int = 300, d: int = 5, k: int = 6, seed: int = 0) -> Tensor:
    g = generator(seed)
    means = 6 * torch.randn(k, d, generator=g)
    return means[torch.randint(k, (n,), generator=g)] + torch.randn(n, d, generator=g)


def test_lloyd_is_that_of_sklearn() -> None:
    x = groups(k=20)
    start = x[:8]
    ours = lloyd(x, start, 100)
    theirs = KMeans(8, init=start.numpy(), n_init=1, tol=0, algorithm="lloyd").fit(x.numpy())
    assert np.array_equal(ours.labels, theirs.labels_)
    assert np.allclose(ours.centroids, theirs.cluster_centers_, atol=1e-4)


def test_seeds_are_far_apart() -> None:
    x = groups(k=6)
    label = KMeans(6, n_init=5, random_state=0).fit(x.numpy())
    found = [
        len(set(label.predict(seeds(x, 6, generator(seed)).numpy()).tolist())) for seed in range(20)
    ]
    assert sum(found) / 20 > 5.7  # without greed 5.5; random items 6 (1 − (5/6)⁶) = 4


def test_clusters_do_not_depend_on_where_zero_is() -> None:
    x = groups()
    near, far = kmeans(x, 6, generator()), kmeans(x + 1000, 6, generator())
    assert torch.equal(near.labels, far.labels)
    assert torch.allclose(near.centroids + 1000, far.centroids, atol=1e-2)


def test_no_cluster_stays_empty() -> None:
    x = groups()
    start = torch.cat([x[:3], torch.full((2, 5), 1e4)])  # two that are nearest to no item
    clusters = lloyd(x, start, 100)
    assert clusters.labels.bincount(minlength=5).min() > 0
    assert clusters.centroids.abs().max() < 100


def test_fewer_clusters_where_fewer_items_differ() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).repeat(20, 1)
    clusters = kmeans(x, 5, generator())
    assert sorted(clusters.centroids.tolist()) == [[1, 2], [3, 4]]


def test_centroids_and_residual() -> None:
    x = groups(2000, k=3)
    x[:, 4] = 0.5
    mixture = fit_centroids(x, 3, generator())
    theirs = KMeans(3, n_init=10, random_state=0).fit(x.numpy())
    residuals = x.numpy() - theirs.cluster_centers_[theirs.labels_]
    assert mixture.deviations is not None
    assert mixture.deviations.shape == (1, 5)
    pooled = (residuals**2).sum(0) / (2000 - 3)
    assert np.allclose(mixture.deviations[0] ** 2, pooled, atol=1e-3)
    sizes = sorted(np.bincount(theirs.labels_) / 2000)
    assert np.allclose(sorted(mixture.weights.tolist()), sizes)
    g = generator()
    drawn = draw(mixture, stratified(mixture.weights, 5000, g), g)
    assert torch.allclose(drawn.mean(0), x.mean(0), atol=0.2)
    assert torch.allclose(drawn[:, 4], x[0, 4])


def test_as_many_centroids_as_items() -> None:
    x = groups(4)
    mixture = fit_centroids(x, 10, generator())
    assert mixture.deviations is not None
    assert mixture.deviations.max() < 1e-6
    assert torch.allclose(mixture.means.sort(0).values, x.sort(0).values, atol=1e-5)
