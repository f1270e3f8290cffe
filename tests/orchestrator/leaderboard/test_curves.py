from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from orchestrator.leaderboard.curves import accuracy_so_far, along, final_accuracies
from orchestrator.leaderboard.pareto import pareto_front
from orchestrator.leaderboard.statistics import mean_interval
from orchestrator.metrics import average_accuracy, average_incremental_accuracy

Make = Callable[..., dict[str, Any]]

R = [[0.1, 0.2, 0.3], [0.9, 0.3, 0.2], [0.7, 0.8, 0.4], [0.8, 0.6, 1.0]]


def test_the_worked_example() -> None:
    assert accuracy_so_far(R).tolist() == pytest.approx([0.9, 0.75, 0.8])
    assert final_accuracies(R).tolist() == [0.8, 0.6, 1.0]


def test_future_tasks_have_no_part() -> None:
    unknown = np.array(R)
    unknown[~np.tri(4, 3, -1, dtype=bool)] = math.nan
    assert accuracy_so_far(unknown).tolist() == accuracy_so_far(R).tolist()


def test_the_metrics_lie_on_the_curve() -> None:
    curve = accuracy_so_far(R)
    assert curve[-1] == pytest.approx(average_accuracy(R))
    assert curve.mean() == pytest.approx(average_incremental_accuracy(R))


def test_intervals_over_seeds_at_each_point(make_record: Make) -> None:
    trials = [make_record(seed=s, final=[a, 0.9]) for s, a in enumerate([0.2, 0.4, 0.9])]
    trials.append(make_record(seed=3, outcome="diverged"))
    first, second = along(trials, final_accuracies)
    assert first == mean_interval([0.2, 0.4, 0.9])
    assert (second.mean, second.low, second.high) == (0.9, 0.9, 0.9)
    after_two = along(trials, accuracy_so_far)[1]
    assert after_two == pytest.approx(mean_interval([0.55, 0.65, 0.9]))


def test_seeds_crossed_with_stream_seeds_count_once_each(make_record: Make) -> None:
    values = {(0, 0): 0.2, (0, 1): 0.4, (1, 0): 0.6, (1, 1): 1.0}
    trials = [
        make_record(seed=seed, stream_seed=stream, final=[a, a])
        for (seed, stream), a in values.items()
    ]
    assert along(trials, final_accuracies)[0] == pytest.approx(mean_interval([0.3, 0.8]))


def test_matrices_as_arrow_gives_them(make_record: Make) -> None:
    trial = make_record()
    nested = np.empty(3, dtype=object)
    nested[:] = [np.array(row) for row in trial["accuracy"]]
    assert along([trial | {"accuracy": nested}], final_accuracies)[0].mean == 0.5


def test_without_matrices_there_is_no_curve(make_record: Make) -> None:
    assert along([], accuracy_so_far) == []
    assert along([make_record(outcome="error")], accuracy_so_far) == []
    trial = make_record()
    del trial["accuracy"]
    assert along([trial], accuracy_so_far) == []


def test_the_front_is_what_nothing_cheaper_matches() -> None:
    prices = [10, 20, 20, 30, 40, 5]
    values = [0.5, 0.7, 0.6, 0.7, 0.9, math.nan]
    assert pareto_front(prices, values) == [0, 1, 4]


def test_points_alike_are_one_on_the_front() -> None:
    assert pareto_front([1, 1, 2], [0.5, 0.5, 0.5]) == [0]
    assert pareto_front([math.nan], [0.5]) == []


def test_no_point_beats_one_on_the_front() -> None:
    rng = np.random.default_rng(0)
    prices, values = rng.integers(1, 9, 60), rng.integers(0, 9, 60)
    front = pareto_front(prices.tolist(), values.tolist())
    for i in range(60):
        better = (prices <= prices[i]) & (values >= values[i])
        better &= (prices < prices[i]) | (values > values[i])
        first = not any((prices[:i] == prices[i]) & (values[:i] == values[i]))
        assert (i in front) == (not better.any() and first)
