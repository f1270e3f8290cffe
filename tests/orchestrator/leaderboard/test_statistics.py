from __future__ import annotations

import math
import random
import subprocess
import sys
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats  # type: ignore[import-untyped]

from orchestrator.leaderboard import statistics
from orchestrator.leaderboard.statistics import mean_interval

samples = st.lists(st.floats(0, 1), min_size=2, max_size=12)


def test_three_values_against_the_table_of_student() -> None:
    # s = 0.1, and the printed table gives t(2 degrees of freedom, 97.5 %) = 4.302653.
    mean, low, high, n = mean_interval([0.6, 0.7, 0.8])
    margin = 4.302653 * 0.1 / math.sqrt(3)
    assert (mean, low, high) == pytest.approx((0.7, 0.7 - margin, 0.7 + margin), abs=1e-6)
    assert n == 3


@settings(deadline=None, max_examples=60)
@given(samples, st.floats(0.5, 0.99))
def test_agrees_with_scipy(values: list[float], confidence: float) -> None:
    result = mean_interval(values, confidence)
    if np.ptp(values) < 1e-9:
        return
    low, high = stats.t.interval(
        confidence, len(values) - 1, loc=np.mean(values), scale=stats.sem(values)
    )
    assert result[:3] == pytest.approx((np.mean(values), low, high), rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=60)
@given(samples, st.randoms(use_true_random=False))
def test_order_changes_not_a_bit(values: list[float], rng: random.Random) -> None:
    assert mean_interval(rng.sample(values, len(values))) == mean_interval(values)


@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3, 0.0, 1e9 + 0.1])
@pytest.mark.parametrize("n", [2, 3, 7, 10])
def test_identical_values_have_no_width(value: float, n: int) -> None:
    assert mean_interval([value] * n) == (value, value, value, n)


def test_one_value_has_a_mean_and_no_bounds() -> None:
    mean, low, high, n = mean_interval([0.4])
    assert (mean, n) == (0.4, 1)
    assert math.isnan(low)
    assert math.isnan(high)


@pytest.mark.parametrize("values", [[], [math.nan], [0.5, math.nan, 0.6], [0.5, math.inf]])
def test_no_values_or_unknown_ones_give_nan_and_their_number(values: list[float]) -> None:
    result = mean_interval(values)
    assert all(math.isnan(x) for x in result[:3])
    assert result.n == len(values)


def test_more_confidence_is_wider() -> None:
    narrow, wide = mean_interval([0.1, 0.2, 0.4], 0.8), mean_interval([0.1, 0.2, 0.4], 0.99)
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95, -0.1, math.nan])
def test_confidence_out_of_range(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        mean_interval([0.1, 0.2], confidence)


def test_only_one_dimension() -> None:
    with pytest.raises(ValueError, match="one-dimensional"):
        mean_interval(np.zeros((2, 2)))


def test_needs_nothing_but_numpy_and_scipy() -> None:
    program = (
        "import runpy, sys; runpy.run_path(sys.argv[1]);"
        "sys.exit(any(m in sys.modules for m in ('pandas', 'rich', 'torch', 'ray', 'mlflow')))"
    )
    path = str(Path(statistics.__file__))
    assert subprocess.run([sys.executable, "-c", program, path], check=False).returncode == 0
