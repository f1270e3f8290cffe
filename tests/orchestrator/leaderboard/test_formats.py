from __future__ import annotations

import math

import pytest

from orchestrator.leaderboard.formats import difference, duration, fraction, size


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 B"),
        (999.4, "999 B"),
        (999.6, "1.0 KB"),
        (1500, "1.5 KB"),
        (999_600, "1.0 MB"),
        (99_940, "99.9 KB"),
        (99_960, "100 KB"),
    ]
    + [(4.5e6, "4.5 MB"), (3e9, "3.0 GB"), (5e15, "5000 TB"), (math.nan, "-")],
)
def test_bytes(value: float, text: str) -> None:
    assert size(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.96, "1.0 min"), (3599, "1.0 h"), (9000, "2.5 h")],
)
def test_seconds(value: float, text: str) -> None:
    assert duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.9125, ".912"), (-0.05, "-.050"), (1.0, "1.000"), (-0.0001, ".000"), (-1.2, "-1.200")]
    + [(10.5, "10.500"), (math.nan, "-")],
)
def test_fractions(value: float, text: str) -> None:
    assert fraction(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0124, "+.012"), (-0.05, "-.050"), (0.0, ".000"), (0.0004, ".000"), (-0.0004, ".000")]
    + [(1.0, "+1.000"), (math.nan, "-")],
)
def test_differences(value: float, text: str) -> None:
    assert difference(value) == text
