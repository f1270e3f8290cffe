"""Which training images are held out for validation."""

from __future__ import annotations

import torch
from torch import Tensor


def held_out(y: Tensor, share: float, priority: Tensor) -> Tensor:
    """Choose a share of each class.

    Of a class with n images ``share * n`` are held out, rounded, but at least 1 and at most n - 1,
    so that there are some on either side; none of a class that has a single image.

    Parameters
    ----------
    y : Tensor
        int64 ``[N]``, the class of each image.
    share : float
        Between 0 and 1, both excluded.
    priority : Tensor
        int64 ``[N]``, all different: within a class the lowest are held out.

    Returns
    -------
    Tensor
        bool ``[N]``.
    """
    sizes = torch.bincount(y)
    # By class, and within each by priority.
    order = priority.argsort()
    order = order[y[order].argsort(stable=True)]
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order))
    rank = place - (sizes.cumsum(0) - sizes)[y]
    wanted = (share * sizes.double()).round().long().clamp(min=1).minimum(sizes - 1)
    return rank < wanted[y]
