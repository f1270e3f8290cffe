"""Accuracy along the stream: after each task, and on each task at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orchestrator.leaderboard.statistics import Interval, mean_interval
from orchestrator.leaderboard.table import Record, independent


def accuracy_so_far(R: ArrayLike) -> NDArray[np.float64]:
    """Return the accuracy over the tasks learned so far, after each task: ``mean_{j<=t} R[t, j]``.

    Parameters
    ----------
    R : array_like
        Accuracy matrix, shape (T+1, T), as in :mod:`orchestrator.metrics`.

    Returns
    -------
    ndarray
        float64, shape (T,). For the example of :mod:`orchestrator.metrics` ``[0.9, 0.75, 0.8]``.
    """
    learned = np.asarray(R, dtype=np.float64)[1:]
    so_far = np.tri(len(learned), dtype=bool)
    means: NDArray[np.float64] = np.mean(learned, axis=1, where=so_far)
    return means


def final_accuracies(R: ArrayLike) -> NDArray[np.float64]:
    """Return the accuracy on each task at the end of the stream: ``R[T, j]``, shape (T,)."""
    last: NDArray[np.float64] = np.array(R, dtype=np.float64)[-1]
    return last


def along(
    trials: Sequence[Record], curve: Callable[[ArrayLike], NDArray[np.float64]]
) -> list[Interval]:
    """Return a curve's mean over the finished trials of one row, with its interval at each point.

    Parameters
    ----------
    trials : sequence of mapping
        Records that are pooled on one row of the leaderboard, with their matrices in ``accuracy``.
    curve : callable
        :func:`accuracy_so_far` or :func:`final_accuracies`.

    Returns
    -------
    list of Interval
        One per task; empty where no trial finished, or the records have no matrices. Trials of one
        seed on several stream seeds are averaged, as on the leaderboard.
    """
    done = [trial for trial in trials if trial["outcome"] == "finished"]
    if not done or any(trial.get("accuracy") is None for trial in done):
        return []
    values = [
        np.mean([curve(np.stack(list(trial["accuracy"]))) for trial in group], axis=0)
        for group in independent(done)
    ]
    return [mean_interval(column) for column in np.transpose(values)]
