"""How sure a mean over seeds is. Needs numpy and scipy, nothing of the benchmark."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

#: Confidence of the intervals on the leaderboard.
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean, the bounds of its confidence interval, and the number of values behind it."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of independent values with its Student-t interval.

    The bounds are ``mean -+ t * s / sqrt(n)``, where ``s`` is the sample standard deviation
    (divisor n-1) and ``t`` the quantile of Student's distribution with n-1 degrees of freedom at
    ``(1 + confidence) / 2``. They are not cut to the range that the values can take: with few
    seeds a bound of an accuracy may pass 1, which tells that the seeds are too few.

    The result does not depend on the order of the values, to the last bit.

    Parameters
    ----------
    values : array_like
        Shape (n,), one value per seed, n >= 0.
    confidence : float
        Between 0 and 1, both excluded.

    Returns
    -------
    Interval
        Bounds are NaN for a single value, which has no known spread; zero apart for identical
        values; mean and bounds are NaN for no values, or if any value is not finite.

    Raises
    ------
    ValueError
        If ``values`` is not one-dimensional or ``confidence`` out of range.
    """
    sample = np.sort(np.asarray(values, dtype=np.float64))
    if sample.ndim != 1:
        raise ValueError(f"values must be one-dimensional, not of shape {sample.shape}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    n = len(sample)
    if n == 0 or not np.isfinite(sample).all():
        return Interval(np.nan, np.nan, np.nan, n)
    # Measured from the smallest value, so that identical values have exactly no spread.
    above = sample - sample[0]
    mean = float(sample[0] + above.mean())
    if n == 1:
        return Interval(mean, np.nan, np.nan, n)
    quantile = float(stdtrit(n - 1, (1 + confidence) / 2))
    margin = quantile * float(above.std(ddof=1)) / n**0.5
    return Interval(mean, mean - margin, mean + margin, n)


def paired_interval(a: ArrayLike, b: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Return the mean of ``a - b`` over pairs with its Student-t interval.

    What the two of a pair share, such as a seed's first weights and stream, cancels out, so the
    interval is usually narrower than the two means' own ones let expect. It is that of the paired
    t-test: it excludes zero where that test's p-value is below ``1 - confidence``.

    Parameters
    ----------
    a, b : array_like
        Shape (n,), one value per pair, in the same order, n >= 0.
    confidence : float
        Between 0 and 1, both excluded.

    Returns
    -------
    Interval
        As of :func:`mean_interval` for the differences; ``n`` is the number of pairs.

    Raises
    ------
    ValueError
        If the shapes differ or are not one-dimensional, or ``confidence`` is out of range.
    """
    first, second = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if first.shape != second.shape:
        raise ValueError(f"a and b must pair up, not be of shapes {first.shape} and {second.shape}")
    return mean_interval(first - second, confidence)
