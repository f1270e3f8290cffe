"""A small quadratic program, solved exactly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Below this share of the largest slope, a slope is none.
_FLAT = 1e-10


def nonnegative_minimum(curvature: Floats, slope: Floats) -> Floats:
    r"""Return the v that minimises :math:`\tfrac12 v^T P v + q^T v` subject to v ≥ 0.

    The active-set algorithm of Lawson & Hanson 1974 (*Solving Least Squares Problems*, chapter 23),
    written for :math:`P = G G^T` and :math:`q = G g`, which is least squares :math:`\lVert G^T v +
    g \rVert^2`. P may be singular; where several v are best, one of them is returned.

    Parameters
    ----------
    curvature : ndarray
        P, float ``[n, n]``, symmetric and positive semidefinite.
    slope : ndarray
        q, float ``[n]``, in the range of P. Where not all numbers are finite, v is NaN.
    """
    if not (np.isfinite(curvature).all() and np.isfinite(slope).all()):
        return np.full_like(slope, np.nan)
    # In units in which all constraints weigh alike.
    scale = np.sqrt(np.where(curvature.diagonal() > 0, curvature.diagonal(), 1))
    p, q = curvature / np.outer(scale, scale), slope / scale
    v, free = np.zeros_like(q), np.zeros(len(q), bool)
    for _ in range(10 * len(q)):  # far more than it takes; rounding must not make it endless
        descent = np.where(free, 0, -(p @ v + q))
        steepest = int(descent.argmax())
        if descent[steepest] <= _FLAT * np.abs(q).max():
            break
        free[steepest] = True
        while True:
            best = np.zeros_like(v)
            best[free] = np.linalg.lstsq(p[np.ix_(free, free)], -q[free], rcond=None)[0]
            negative = free & (best <= 0)
            if not negative.any():
                break
            # As far as the first bound, which holds from now on.
            way = (v / np.where(negative, v - best, 1))[negative]
            v = v + way.min() * (best - v)
            free[np.flatnonzero(negative)[way.argmin()]] = False
            v = np.where(free, v, 0)
        v = best
    return v / scale
