"""How a budget is divided: among groups of stored items, and among tasks to be replayed."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

#: How much of a generator's replay each past task gets.
Share = Literal["even", "decaying", "unlimited"]


def even_shares(available: Tensor, total: int) -> Tensor:
    """Divide a budget among groups as evenly as their sizes allow.

    What a small group cannot use goes to the larger ones; what does not divide goes to the first.

    Parameters
    ----------
    available : Tensor
        int64 ``[G]``, members of each group.
    total : int
        The budget.

    Returns
    -------
    Tensor
        int64 ``[G]``, at most ``available``, adding up to ``min(total, available.sum())``.

    Examples
    --------
    >>> even_shares(torch.tensor([2, 50, 50]), 11).tolist()
    [2, 5, 4]
    """
    shares = torch.zeros_like(available)
    left = min(total, int(available.sum()))
    while left:
        open_groups = (shares < available).nonzero().squeeze(1)
        each = left // len(open_groups)
        if each == 0:
            shares[open_groups[:left]] += 1
            break
        given = (available - shares)[open_groups].clamp(max=each)
        shares[open_groups] += given
        left -= int(given.sum())
    return shares


def task_weights(items: list[int], share: Share, decay: float) -> list[float]:
    """Weigh past tasks against each other.

    Parameters
    ----------
    items : list of int
        Training items of each task, the oldest task first.
    share : str
        ``even``: all alike; ``decaying``: a task ``k`` steps back weighs ``decay ** k``;
        ``unlimited``: each as much as it had items.
    decay : float
        Between 0 and 1.

    Returns
    -------
    list of float
        Relative weights; they need not add up to 1.

    Examples
    --------
    >>> task_weights([100, 100, 100], "decaying", 0.5)
    [0.25, 0.5, 1.0]
    """
    match share:
        case "even":
            return [1.0] * len(items)
        case "decaying":
            return [decay**k for k in reversed(range(len(items)))]
        case "unlimited":
            return [float(count) for count in items]


def task_counts(items: list[int], share: Share, decay: float, total: int | None) -> list[int]:
    """Divide stored draws among past tasks, so that no count ever grows as tasks arrive.

    Parameters
    ----------
    items, share, decay
        As for :func:`task_weights`.
    total : int, optional
        The budget; without meaning where the share is ``unlimited``.

    Returns
    -------
    list of int
        Adding up to ``total``. What does not divide goes to the first tasks where shares are even,
        and to the last one where they decay.

    Examples
    --------
    >>> task_counts([100, 100, 100], "decaying", 0.5, 10)
    [1, 2, 7]
    """
    if share == "unlimited":
        return list(items)
    assert total is not None
    if not items:
        return []
    if share == "even":
        return even_shares(torch.full((len(items),), total), total).tolist()
    weights = task_weights(items, share, decay)
    counts = [int(total * weight / sum(weights)) for weight in weights]
    counts[-1] += total - sum(counts)
    return counts
