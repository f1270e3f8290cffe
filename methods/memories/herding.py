"""Which examples stand best for their class: herding."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def herding_order(features: Tensor, n: int) -> Tensor:
    """Order examples so that the mean of the first ones is near the mean of all.

    Rebuffi et al. 2017 (iCaRL, arXiv:1611.07725), Algorithm 4: features are normalised to length
    1, and each step takes the example, of those not yet taken, that brings the mean of the taken
    ones nearest to the mean μ of all. With S the sum of those taken, the k-th minimises
    ``‖μ − (S + φ) / k‖²``, that is ``‖φ‖² − 2 φ · (kμ − S)``: one product of a matrix with a vector
    a step.

    Parameters
    ----------
    features : Tensor
        float ``[N, F]``.
    n : int
        How many places of the order are asked for.

    Returns
    -------
    Tensor
        int64 ``[min(n, N)]``, row numbers, the best first. The first of equal ones wins.
    """
    features = normalize(features, dim=1)
    mean = features.mean(0)
    n = min(n, len(features))
    order = torch.empty(n, dtype=torch.int64, device=features.device)
    cost = features.square().sum(1)
    wanted = torch.zeros_like(mean)  # kμ − S
    for k in range(n):
        wanted += mean
        chosen = torch.addmv(cost, features, wanted, alpha=-2).argmin()
        order[k] = chosen
        wanted -= features[chosen]
        cost[chosen] = torch.inf
    return order
