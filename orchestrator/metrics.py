"""What a trial achieved, as pure functions of its accuracy matrix.

The accuracy matrix ``R`` has T+1 rows and T columns. With tasks counted from 1, ``R[i, j]`` is the
accuracy on the test data of task j after learning tasks 1..i, and row 0 is the accuracy before any
learning. Entries of tasks not learnt yet (i < j, all of row 0 included) are NaN outside
domain-incremental streams, where they would say nothing of the method.

Every entry of a learnt task (1 <= j <= i) must be there: a trial that diverged has no matrix, so a
hole in it is a mistake, and every function raises ``ValueError`` rather than averaging around it.
The values are fractions (0 to 1) by convention; the formulas hold in any unit. No function changes
``R``.

The running example of the docstrings is::

    R = [[0.1, 0.2, 0.3],      before any learning
         [0.9, 0.3, 0.2],      after task 1
         [0.7, 0.8, 0.4],      after task 2
         [0.8, 0.6, 1.0]]      after task 3
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray


def average_accuracy(R: ArrayLike) -> float:
    """Accuracy over all tasks at the end of the stream: ``mean_j R[T, j]``.

    In the example (0.8 + 0.6 + 1.0) / 3 = 0.8.

    Parameters
    ----------
    R : array_like
        Accuracy matrix, shape (T+1, T).

    Raises
    ------
    ValueError
        If the shape is another, or the accuracy of a learnt task is not finite.
    """
    return float(_checked(R)[-1].mean())


def average_incremental_accuracy(R: ArrayLike) -> float:
    """Accuracy over the tasks seen so far, along the stream: ``mean_t mean_{j<=t} R[t, j]``.

    In the example (0.9 + (0.7 + 0.8) / 2 + 0.8) / 3 = 0.81667. Parameters and errors as in
    :func:`average_accuracy`.
    """
    R = _checked(R)
    return float(np.mean([row[:t].mean() for t, row in enumerate(R[1:], start=1)]))


def learning_accuracy(R: ArrayLike) -> float:
    """Accuracy on each task right after learning it: ``mean_j R[j, j]``.

    In the example (0.9 + 0.8 + 1.0) / 3 = 0.9. Parameters and errors as in
    :func:`average_accuracy`.
    """
    return float(_just_learnt(_checked(R)).mean())


def backward_transfer(R: ArrayLike) -> float:
    """Change of the old tasks' accuracy since they were learnt: ``mean_{j<T} R[T, j] - R[j, j]``.

    Negative where tasks are forgotten; NaN for a single task. After Lopez-Paz & Ranzato (2017,
    arXiv:1706.08840, eq. 3). In the example ((0.8 - 0.9) + (0.6 - 0.8)) / 2 = -0.15. Parameters
    and errors as in :func:`average_accuracy`.
    """
    R = _checked(R)
    return _mean((R[-1] - _just_learnt(R))[:-1])


def forgetting(R: ArrayLike) -> float:
    """Loss since each old task's best moment: ``mean_{j<T} max_{j<=i<T} R[i, j] - R[T, j]``.

    The best moment is sought from the learning of task j on, never before it, so luck before
    learning does not count; negative where old tasks still improve with the last one; NaN for a
    single task. After Chaudhry et al. (2018, arXiv:1801.10112, eq. 3). In the example
    ((0.9 - 0.8) + (0.8 - 0.6)) / 2 = 0.15. Parameters and errors as in :func:`average_accuracy`.
    """
    R = _checked(R)
    tasks = R.shape[1]
    return _mean(np.array([R[j + 1 : -1, j].max() - R[-1, j] for j in range(tasks - 1)]))


def forward_transfer(R: ArrayLike) -> float:
    """Return what the tasks before j gave to task j: ``mean_{j>1} R[j-1, j] - R[0, j]``.

    NaN, that is *not meaningful*, for a single task and where any of these entries is NaN, as in
    class- and task-incremental streams: there, the accuracy on classes never seen is a constant
    of the stream. After Lopez-Paz & Ranzato (2017, arXiv:1706.08840, eq. 4). In the example
    ((0.3 - 0.2) + (0.4 - 0.3)) / 2 = 0.1. Parameters and errors as in :func:`average_accuracy`.
    """
    R = _checked(R)
    return _mean((np.diagonal(R) - R[0])[1:])


_METRICS: tuple[Callable[[ArrayLike], float], ...] = (
    average_accuracy,
    average_incremental_accuracy,
    learning_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
)

#: The names of the metrics, in the order in which they are reported.
METRICS: tuple[str, ...] = tuple(metric.__name__ for metric in _METRICS)


def summary(R: ArrayLike) -> dict[str, float]:
    """Return every metric of the matrix by name, in the order of :data:`METRICS`.

    Parameters and errors as in :func:`average_accuracy`.
    """
    return {metric.__name__: metric(R) for metric in _METRICS}


def _checked(R: ArrayLike) -> NDArray[np.float64]:
    """Return ``R`` as float64, or raise ``ValueError`` where it is no complete accuracy matrix."""
    matrix = np.asarray(R, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[1] == 0 or matrix.shape[0] != matrix.shape[1] + 1:
        raise ValueError(
            "an accuracy matrix has shape (T+1, T) with T >= 1: one row before any learning and "
            f"one after each task; this one has shape {matrix.shape}"
        )
    rows, tasks = matrix.shape
    learnt = np.tri(rows, tasks, k=-1, dtype=bool)
    holes = np.argwhere(learnt & ~np.isfinite(matrix))
    if len(holes):
        i, j = holes[0]
        raise ValueError(
            f"the accuracy on task {j + 1} after task {i} is {matrix[i, j]}, not a finite number "
            "(tasks counted from 1)"
        )
    return matrix


def _just_learnt(R: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``R[j, j]`` for every task j counted from 1, shape (T,): one below the diagonal."""
    return np.diagonal(R, offset=-1)


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean, NaN for no values (numpy would warn)."""
    return float(values.mean()) if values.size else float("nan")
