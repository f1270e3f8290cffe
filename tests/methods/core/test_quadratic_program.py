"""The quadratic program, against solvers of scipy and the conditions of a minimum."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, nnls

from methods.core.quadratic_program import Floats, nonnegative_minimum


def draws(seed: int) -> tuple[Floats, Floats]:
    """Gradients of past tasks ``[n, p]`` and one of the present ``[p]``, some of them awkward."""
    rng = np.random.default_rng(seed)
    n, p = rng.integers(1, 9), rng.integers(1, 20)
    past, now = rng.standard_normal((n, p)), rng.standard_normal(p)
    match seed % 6:
        case 1:  # one twice, but longer
            past[rng.integers(n)] = 2 * past[rng.integers(n)]
        case 2:  # nothing to keep
            past[rng.integers(n)] = 0
        case 3:  # hardly different
            past = np.outer(rng.uniform(0.5, 2, n), past[0]) + 1e-4 * past
        case 4:  # all in one line with the present
            past = np.outer(rng.uniform(-2, -0.5, n), now)
        case 5:  # one against another
            past[rng.integers(n)] = -past[rng.integers(n)]
    return past * 10 ** rng.uniform(-4, 2, (n, 1)), now


@pytest.mark.parametrize("seed", range(120))
def test_it_is_the_minimum(seed: int) -> None:
    """The conditions of Karush, Kuhn and Tucker; and the same point as nonnegative least squares.

    In units in which all gradients are equally long.
    """
    past, now = draws(seed)
    v = nonnegative_minimum(past @ past.T, past @ now)
    found = now + v @ past
    length = np.linalg.norm(past, axis=1)
    past = past / np.where(length > 0, length, 1)[:, None]
    slope = past @ found
    assert (v >= 0).all()
    assert (slope >= -1e-8).all()
    np.testing.assert_allclose(v * length * slope, 0, atol=1e-6)
    expected = now + nnls(past.T, -now)[0] @ past
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("seed", range(0, 60, 6))
def test_it_is_the_minimum_that_a_general_solver_finds(seed: int) -> None:
    past, now = draws(seed)
    past /= np.linalg.norm(past, axis=1, keepdims=True)
    p, q = past @ past.T, past @ now
    v = nonnegative_minimum(p, q)
    other = minimize(
        lambda u: u @ p @ u / 2 + q @ u,
        np.zeros_like(q),
        jac=lambda u: p @ u + q,
        bounds=[(0, None)] * len(q),
        method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    np.testing.assert_allclose(now + v @ past, now + other.x @ past, atol=1e-5)


def test_by_hand() -> None:
    """Two variables: both free, one at its bound, both at theirs."""
    p = np.array([[2.0, 1.0], [1.0, 2.0]])
    for q, expected in (([-3.0, -3.0], [1, 1]), ([-2.0, 5.0], [1, 0]), ([1.0, 0.0], [0, 0])):
        np.testing.assert_allclose(nonnegative_minimum(p, np.array(q)), expected, atol=1e-12)


def test_what_is_no_number_stays_none() -> None:
    for p, q in ((np.eye(2), [np.nan, 1.0]), (np.diag([np.inf, 1.0]), [1.0, 1.0])):
        assert np.isnan(nonnegative_minimum(p, np.array(q))).all()
