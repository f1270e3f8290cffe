"""Normal distributions of independent dimensions: divergence and density."""

from __future__ import annotations

import math

from torch import Tensor


def normal_divergence(
    mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor
) -> Tensor:
    """Return KL(N ‖ other N) of diagonal normals, summed over the last dimension."""
    difference = log_variance - other_log_variance
    away = (mean - other_mean).square() * (-other_log_variance).exp()
    return 0.5 * (difference.exp() + away - 1 - difference).sum(-1)


def normal_log_density(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return log N(z; mean, variance) of diagonal normals, summed over the last dimension."""
    away = (z - mean).square() * (-log_variance).exp()
    return -0.5 * (away + log_variance + math.log(2 * math.pi)).sum(-1)
