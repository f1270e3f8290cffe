"""How a budget is divided: among groups of stored items, and among tasks to be replayed."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

#: How much of a generator's replay each past task gets, where it can be chosen.
Share = Literal["even", "decaying", "unlimited"]
#: The same, and in proportion to classes.
AnyShare = Share | Literal["by-class"]


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


def task_weights(sizes: list[int], share: AnyShare, decay: float) -> list[float]:
    """Weigh past tasks against each other.

    Parameters
    ----------
    sizes : list of int
        Of each task, the oldest one first: its classes where shares are ``by-class``, or else its
        training items.
    share : str
        ``even``: all alike; ``decaying``: a task ``k`` steps back weighs ``decay ** k``;
        ``unlimited`` and ``by-class``: each as much as its size.
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
            return [1.0] * len(sizes)
        case "decaying":
            return [decay**k for k in reversed(range(len(sizes)))]
        case "unlimited":
            return [float(size) for size in sizes]
        case "by-class":  # tasks with equally many weigh exactly what they weigh with ``even``
            return [size / max(sizes) for size in sizes]


def task_counts(sizes: list[int], share: AnyShare, decay: float, total: int | None) -> list[int]:
    """Divide stored draws among past tasks, so that no count ever grows as tasks arrive.

    Parameters
    ----------
    sizes, share, decay
        As for :func:`task_weights`.
    total : int, optional
        The budget; without meaning where the share is ``unlimited``.

    Returns
    -------
    list of int
        Adding up to ``total``. What does not divide goes to the first tasks where shares are even,
        to the last one where they decay, and with ``by-class`` to those that it leaves with the
        fewest draws of a class, the first ones among equals.

    Examples
    --------
    >>> task_counts([100, 100, 100], "decaying", 0.5, 10)
    [1, 2, 7]
    """
    if share == "unlimited":
        return list(sizes)
    assert total is not None
    if not sizes:
        return []
    if share == "even":
        return even_shares(torch.full((len(sizes),), total), total).tolist()
    if share == "by-class":  # each draw goes where there are fewest of a class, itself included
        after = torch.arange(1, total + 1, dtype=torch.float64) / torch.tensor(sizes)[:, None]
        taken = after.flatten().argsort(stable=True)[:total] // total
        return taken.bincount(minlength=len(sizes)).tolist()
    weights = task_weights(sizes, share, decay)
    counts = [int(total * weight / sum(weights)) for weight in weights]
    counts[-1] += total - sum(counts)
    return counts
