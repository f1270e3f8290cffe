"""What an audit measures, as functions of labels, features and distances."""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: Share of real test items that count as nearer to one training item than is usual.
_UNUSUAL = 0.01


def agreement(y: Tensor, judged: Tensor) -> float:
    """Return the share of labels that are the judge's.

    ``mean over i of [y_i = judged_i]``, between 0 and 1.

    Parameters
    ----------
    y, judged : Tensor
        int64 ``[n]``: the labels that items are replayed with, and those the judge gives them.

    Examples
    --------
    >>> agreement(torch.tensor([0, 1, 1, 2]), torch.tensor([0, 1, 2, 2]))
    0.75
    """
    return float((y == judged).double().mean())


def coverage(judged: Tensor, frequencies: Tensor) -> float:
    """Return how evenly draws are spread over the classes, in comparison with the data.

    ``H(p) / H(q)`` in the entropy ``H(p) = - sum over c of p_c ln p_c``, where p_c is the share of
    class c among the draws that the judge takes for a class seen, and q_c its frequency in the real
    data. 1 is as even as the data, and the most: what is more even than the data counts as 1. 0 is
    one class alone, or none of those seen. With one class seen, 1 if any draw is of it.

    Parameters
    ----------
    judged : Tensor
        int64 ``[n]``, the judge's labels of the draws.
    frequencies : Tensor
        float ``[classes]``, of the real data of the tasks seen; 0 for classes not seen.

    Examples
    --------
    Two classes as frequent as each other; three draws of four are of the first:
    ``(- 3/4 ln 3/4 - 1/4 ln 1/4) / ln 2``.

    >>> round(coverage(torch.tensor([0, 0, 0, 1]), torch.tensor([0.5, 0.5])), 4)
    0.8113
    """
    counts = torch.bincount(judged, minlength=len(frequencies)).double()
    counts = counts.masked_fill(frequencies <= 0, 0.0)
    if not counts.any():
        return 0.0
    whole = _entropy(frequencies.double())
    return min(1.0, _entropy(counts) / whole) if whole > 0 else 1.0


def _entropy(weights: Tensor) -> float:
    shares = weights / weights.sum()
    return max(0.0, float(-torch.xlogy(shares, shares).sum()))  # no negative zero


def frechet(a: Tensor, b: Tensor) -> float:
    """Return the Fréchet distance between Gaussians fitted to two sets of features.

    Heusel et al. 2017 (arXiv:1706.08500), eq. 6: ``|m_a - m_b|² + tr(C_a + C_b - 2 (C_a C_b)^½)``,
    in squared units of the features; 0 where means and covariances agree. It has no scale of its
    own, and few items with many features make it larger: compare it with the distance between two
    real sets of the same size.

    With ``C = R'R``, R being the triangular factor of the centred features over ``(n - 1)^½``, the
    trace of ``(C_a C_b)^½`` is the sum of the singular values of ``R_a R_b'``: exact without a root
    of a matrix, also where there are fewer items than features.

    Parameters
    ----------
    a, b : Tensor
        float ``[n, F]`` and ``[m, F]``.

    Returns
    -------
    float
        NaN where a set has fewer than two items.

    Examples
    --------
    One feature, means 0 and 3, standard deviations 1 and 2: ``3² + (1 - 2)²``.

    >>> unit = torch.tensor([[-1.0], [1.0]]) / 2**0.5
    >>> round(frechet(unit, 3 + 2 * unit), 4)
    10.0
    """
    if min(len(a), len(b)) < 2:
        return float("nan")
    a, b = a.double(), b.double()
    between = (a.mean(0) - b.mean(0)).square().sum()
    r_a, r_b = _root(a), _root(b)
    shared = torch.linalg.svdvals(r_a @ r_b.T).sum()
    return max(0.0, float(between + r_a.square().sum() + r_b.square().sum() - 2 * shared))


def _root(x: Tensor) -> Tensor:
    """Return R with ``R'R`` the covariance of the rows, at most as many rows as columns."""
    centred = (x - x.mean(0)) / math.sqrt(len(x) - 1)
    if len(centred) <= centred.shape[1]:
        return centred
    factor: Tensor = torch.linalg.qr(centred, mode="r")[1]
    return factor


def copying(draws: Tensor, real: Tensor) -> float:
    """Return the share of draws that are as near to one training item as hardly any test item is.

    A draw counts if ``d1 / d2`` is at most what 1 % of real test items have, d1 and d2 being its
    distances to the nearest training item and to the next one. New items of the data's own
    distribution give .01, stored examples 1. The distance alone would take what is typical, or
    blurred, for a copy, and miss a copy with noise on it.

    Parameters
    ----------
    draws, real : Tensor
        float ``[n, 2]`` and ``[m, 2]``: distances to the nearest training item and to the next one,
        of draws and of real test items.

    Examples
    --------
    >>> real = torch.tensor([[0.5, 1.0]]).expand(100, 2)
    >>> copying(torch.tensor([[0.0, 1.0], [0.1, 0.9], [0.8, 1.0], [2.0, 3.0]]), real)
    0.5
    """
    usual = _ratio(real).quantile(_UNUSUAL)
    return float((_ratio(draws) <= usual).double().mean())


def _ratio(distances: Tensor) -> Tensor:
    nearest, next_one = distances.double().unbind(1)
    # Of an item that is in the training data twice, both are 0.
    return torch.where(next_one > 0, nearest / next_one, 0.0)


def drift(features: Tensor, y: Tensor, real_features: Tensor, real_y: Tensor) -> float:
    """Return how far the classes of draws lie from those of the data, in distances between classes.

    ``mean over c of |m_c - r_c| / D``: m_c is the mean feature of the draws that carry label c, r_c
    that of the real items of class c, and D the mean distance between two r_c. 0 is in place, 1 as
    far away as another class is. Classes without draws do not count.

    Parameters
    ----------
    features, real_features : Tensor
        float ``[n, F]`` and ``[m, F]``, of draws and of real items.
    y, real_y : Tensor
        int64 ``[n]`` and ``[m]``: the labels that draws are replayed with, and those of real items.

    Returns
    -------
    float
        NaN where there are fewer than two real classes, or no draws of any of them.

    Examples
    --------
    Classes at 0 and 4; the draws of the first are in place, those of the second at 6:
    ``(0 + 2) / 2 / 4``.

    >>> real, labels = torch.tensor([[0.0], [4.0]]), torch.tensor([0, 1])
    >>> drift(torch.tensor([[0.0], [6.0]]), labels, real, labels)
    0.25
    """
    classes = torch.unique(real_y)
    means = torch.stack([real_features[real_y == c].double().mean(0) for c in classes])
    unit = torch.pdist(means).mean()  # NaN where there is one class
    moved = [
        (features[y == c].double().mean(0) - mean).norm() / unit
        for c, mean in zip(classes, means, strict=True)
        if (y == c).any()
    ]
    return float(torch.stack(moved).mean()) if moved and unit > 0 else float("nan")
