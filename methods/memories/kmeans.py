"""k-means with k-means++ seeds."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from methods.memories.mixture import Mixture


class Clusters(NamedTuple):
    """``centroids`` float ``[K, D]``, and the cluster of each item, int64 ``[N]``."""

    centroids: Tensor
    labels: Tensor


def kmeans(x: Tensor, k: int, generator: torch.Generator, iterations: int = 100) -> Clusters:
    """Cluster items by Lloyd's algorithm from k-means++ seeds.

    Parameters
    ----------
    x : Tensor
        float ``[N, D]``.
    k : int
        Clusters; there are fewer where fewer items differ.
    generator : torch.Generator
        On the CPU.
    iterations : int
        At most so many; it ends earlier where no item changes its cluster.
    """
    centre = x.mean(0)
    x = x - centre  # distances are differences of squares: these shall be small
    clusters = lloyd(x, seeds(x, k, generator), iterations)
    return Clusters(clusters.centroids + centre, clusters.labels)


def seeds(x: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Choose centroids to start from, float ``[K, D]``: greedy k-means++.

    Arthur & Vassilvitskii 2007: the first is any item. For each further one a few are drawn in
    proportion to their squared distances from the nearest of those chosen, and the one that leaves
    the smallest sum of these is taken. It ends early when every item is equal to one of them.

    Parameters
    ----------
    x : Tensor
        float ``[N, D]``, centred.
    k : int
    generator : torch.Generator
        On the CPU.
    """
    tries = 2 + int(math.log(k))
    square = x.square().sum(1)
    chosen = [int(torch.randint(len(x), (1,), generator=generator))]
    distance = _distances(x, square, torch.tensor(chosen, device=x.device))[0]
    while len(chosen) < k:
        cumulative = distance.double().cumsum(0)
        if not float(cumulative[-1]):
            break
        places = torch.rand(tries, dtype=torch.float64, generator=generator).to(x.device)
        rows = torch.searchsorted(cumulative, places * cumulative[-1], right=True)
        rows.clamp_(max=len(x) - 1)
        left = torch.minimum(distance, _distances(x, square, rows))
        best = int(left.sum(1).argmin())
        chosen.append(int(rows[best]))
        distance = left[best]
    return x[chosen]


def _distances(x: Tensor, square: Tensor, rows: Tensor) -> Tensor:
    """Squared distances of all items from some of them, ``[n, N]``; 0 where it is rounding."""
    sums = square[rows].unsqueeze(1) + square
    distances = torch.addmm(sums, x[rows], x.T, alpha=-2)
    return distances.where(distances > 1e-6 * sums, 0)


def lloyd(x: Tensor, centroids: Tensor, iterations: int) -> Clusters:
    """Move centroids to the means of the items nearest to them, until no item changes sides.

    A centroid that is nearest to none moves to the item farthest from its own.
    """
    k = len(centroids)
    labels = torch.full((len(x),), -1, device=x.device)
    square = x.square().sum(1)
    for _ in range(iterations):
        distance = torch.addmm(centroids.square().sum(1), x, centroids.T, alpha=-2)
        nearest, now = distance.min(1)
        if torch.equal(now, labels):
            break
        labels = now
        sizes = labels.bincount(minlength=k)
        for empty in (sizes == 0).nonzero().flatten().tolist():
            far = int((nearest + square).masked_fill(sizes[labels] == 1, -1).argmax())
            labels[far], nearest[far] = empty, -square[far]
            sizes = labels.bincount(minlength=k)
        # A product instead of index_add: its order of summation is fixed on every device.
        centroids = (one_hot(labels, k).to(x.dtype).T @ x) / sizes.unsqueeze(1)
    return Clusters(centroids, labels)


def fit_centroids(x: Tensor, centroids: int, generator: torch.Generator) -> Mixture:
    """Fit clusters whose items scatter alike around their centroids.

    Returns
    -------
    Mixture
        Weights are the clusters' sizes; all share one variance for each dimension, which is pooled
        over the clusters, with ``N − K`` degrees of freedom.
    """
    means, labels = kmeans(x, centroids, generator)
    residuals = x - means[labels]
    variance = residuals.square().sum(0) / max(len(x) - len(means), 1)
    weights = labels.bincount(minlength=len(means)).to(x.dtype) / len(x)
    return Mixture(weights, means, variance.sqrt().unsqueeze(0))
