"""What a trial achieved, as pure functions of its accuracy matrix and its confusion matrix.

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

A confusion matrix ``C`` counts the test images of all tasks learnt so far, pooled: ``C[k, l]`` of
them are of class k and were taken for class l. A class of which there are no test images (its row
is zero) has no part in any metric. The example is::

    C = [[3, 1, 0],
         [1, 3, 0],
         [0, 0, 2]]
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


def union_accuracy(C: ArrayLike) -> float:
    """Accuracy over all test images of the tasks seen, pooled: ``sum_k C[k, k] / sum_kl C[k, l]``.

    Unlike :func:`average_accuracy` it weighs a task by its test images. NaN where there are none.
    In the example (3 + 3 + 2) / 10 = 0.8.

    Parameters
    ----------
    C : array_like
        Confusion matrix of non-negative counts, shape (classes, classes).

    Raises
    ------
    ValueError
        If the shape is another, or a count is negative.
    """
    C = _counts(C)
    return float(np.trace(C) / C.sum()) if C.any() else float("nan")


def macro_f1(C: ArrayLike) -> float:
    """Mean over the classes that occur of ``2 C[k, k] / (sum_l C[k, l] + sum_l C[l, k])``.

    That is the F1 of each class, the harmonic mean of precision and recall, 0 where no image of it
    is recognised: a method that forgets whole classes scores lower than its accuracy. NaN where
    there are no images. In the example (6/8 + 6/8 + 4/4) / 3 = 0.83333. Parameters and errors as
    in :func:`union_accuracy`.
    """
    C = _counts(C)
    images, named = C.sum(1), C.sum(0)
    occurs = images > 0
    return _mean(2.0 * np.diagonal(C)[occurs] / (images + named)[occurs])


_Metric = Callable[[ArrayLike], float]
_OF_ACCURACIES: tuple[_Metric, ...] = (
    average_accuracy,
    average_incremental_accuracy,
    learning_accuracy,
    backward_transfer,
    forgetting,
    forward_transfer,
)
_OF_CONFUSION: tuple[_Metric, ...] = (union_accuracy, macro_f1)

#: Names of the metrics of a confusion matrix, which are known after each task.
CONFUSION_METRICS: tuple[str, ...] = tuple(metric.__name__ for metric in _OF_CONFUSION)
#: Names of all metrics, in the order in which they are reported.
METRICS: tuple[str, ...] = (*(metric.__name__ for metric in _OF_ACCURACIES), *CONFUSION_METRICS)


def summary(R: ArrayLike, C: ArrayLike) -> dict[str, float]:
    """Return every metric by name, in the order of :data:`METRICS`.

    Parameters
    ----------
    R : array_like
        Accuracy matrix, shape (T+1, T).
    C : array_like
        Confusion matrix after the last task, shape (classes, classes).

    Raises
    ------
    ValueError
        As :func:`average_accuracy` and :func:`union_accuracy` do.
    """
    return {metric.__name__: metric(R) for metric in _OF_ACCURACIES} | confusion_summary(C)


def confusion_summary(C: ArrayLike) -> dict[str, float]:
    """Return every metric of a confusion matrix by name; as :func:`union_accuracy`."""
    return {metric.__name__: metric(C) for metric in _OF_CONFUSION}


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


def _counts(C: ArrayLike) -> NDArray[np.int64]:
    """Return ``C`` as int64, or raise ``ValueError`` where it is no confusion matrix."""
    counts = np.asarray(C, dtype=np.int64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(
            f"a confusion matrix has shape (classes, classes); this one has shape {counts.shape}"
        )
    if (counts < 0).any():
        raise ValueError("a confusion matrix holds counts; this one has negative entries")
    return counts


def _just_learnt(R: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``R[j, j]`` for every task j counted from 1, shape (T,): one below the diagonal."""
    return np.diagonal(R, offset=-1)


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean, NaN for no values (numpy would warn)."""
    return float(values.mean()) if values.size else float("nan")
