"""What a trial hears from its method: phases, curves, and glances where they are due."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict

import pytest

from orchestrator.trial_log import TrialLog


def fit(log: TrialLog, steps: int, every: int = 10, batch: int = 4) -> None:
    """Report as a classifier does."""
    with log.phase("fit"):
        for step in range(1, steps + 1):
            if step % every == 0 or step == steps:
                log.scalar("loss/new", 1 / step, step)
                log.tick(step * batch, steps * batch)
    with log.phase("remember"):
        pass


class Counting:
    """A glance that counts itself."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> dict[str, float]:
        self.times += 1
        return {"average_accuracy": float(self.times)}


def test_numbers_are_curves_over_the_iterations_of_all_tasks() -> None:
    log = TrialLog()
    for task, steps in enumerate((25, 40), start=1):
        log.begin(task, Counting())
        fit(log, steps)
        curves = log.end()
        assert curves.task == task
        start = 25 * (task - 1)
        ends = [10, 20, 25] if task == 1 else [10, 20, 30, 40]
        assert [at for at, _ in curves.series["loss/new"]] == [start + step for step in ends]
        assert curves.series["loss/new"][0][1] == pytest.approx(0.1)
    assert log.examples == 4 * (25 + 40)


def test_without_watching_there_is_no_glance() -> None:
    log, glance = TrialLog(), Counting()
    log.begin(1, glance)
    fit(log, 50)
    assert set(log.end().series) == {"loss/new"}
    assert glance.times == 0
    assert "watch" not in log.seconds


@pytest.mark.parametrize(
    ("every", "steps", "seen"),
    [
        (10, 30, [10, 20, 30]),
        (20, 50, [20, 40, 50]),  # and what fit leaves
        (15, 60, [20, 30, 50, 60]),  # at the next report, which comes every 10
        (1, 20, [10, 20]),
        (100, 30, [30]),
    ],
)
def test_glances_come_when_they_are_due_and_say_where_they_were(
    every: int, steps: int, seen: list[int]
) -> None:
    log = TrialLog(every)
    for task in (1, 2):
        log.begin(task, Counting())
        fit(log, steps)
        watched = log.end().series["average_accuracy"]
        assert [at for at, _ in watched] == [steps * (task - 1) + step for step in seen]


def test_the_last_glance_is_of_what_fit_leaves() -> None:
    log, glance = TrialLog(10), Counting()
    log.begin(1, glance)
    fit(log, 20)
    assert log.end().series["average_accuracy"] == [(10, 1.0), (20, 3.0)]


def test_what_is_trained_besides_the_classifier_counts_its_own_steps() -> None:
    log, glance = TrialLog(10), Counting()
    for task in (1, 2):
        log.begin(task, glance)
        with log.phase("fit"):
            with log.phase("generator"):
                for step in (50, 100):
                    log.scalar("loss/generator", 1.0, step)
                    log.tick(step, 100)
            log.scalar("loss/new", 1.0, 10)
            log.tick(40, 40)
        with log.phase("remember"):
            log.scalar("loss/memory", 1.0, 7)
            log.tick(7, 7)
        series = log.end().series
        iterations = {name: [at for at, _ in points] for name, points in series.items()}
        assert iterations == {
            "average_accuracy": [10 * task],
            "loss/generator": [100 * task - 50, 100 * task],  # ahead, and never back
            "loss/memory": [7] if task == 1 else [17],
            "loss/new": [10 * task],
        }


def test_the_time_of_glances_is_no_part_of_fit() -> None:
    def slow() -> dict[str, float]:
        time.sleep(0.05)
        return {}

    log = TrialLog(10)
    log.begin(1, slow)
    fit(log, 40)
    assert log.seconds["watch"] >= 5 * 0.05
    assert log.seconds["fit"] < 0.05


def test_an_error_in_a_glance_ends_the_watching_and_nothing_else() -> None:
    calls = []

    def broken() -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise LookupError("no prototypes yet")
        return {"average_accuracy": 0.5}

    log = TrialLog(10)
    for task in (1, 2):
        log.begin(task, broken)
        fit(log, 30)
        curves = log.end()
        assert curves.problem == "iteration 20: LookupError: no prototypes yet"
        assert curves.series.get("average_accuracy", []) == ([(10, 0.5)] if task == 1 else [])
    assert len(calls) == 2


def test_no_memory_left_in_a_glance_is_the_machines_doing() -> None:
    def greedy() -> dict[str, float]:
        raise MemoryError

    log = TrialLog(10)
    log.begin(1, greedy)
    with pytest.raises(MemoryError):
        fit(log, 30)


def test_a_task_that_fails_has_its_curves_and_no_last_glance() -> None:
    log, glance = TrialLog(10), Counting()
    log.begin(1, glance)
    with suppress(ZeroDivisionError), log.phase("fit"):
        log.scalar("loss/new", 1.0, 10)
        log.tick(1, 2)
        raise ZeroDivisionError
    assert set(log.end().series) == {"loss/new", "average_accuracy"}
    assert glance.times == 1


def test_long_curves_are_thinned_to_means() -> None:
    log = TrialLog()
    log.begin(1, Counting())
    with log.phase("fit"):
        for step in range(1, 1001):
            log.scalar("loss/new", float(step), step)
    points = log.end().series["loss/new"]
    assert len(points) == 100
    assert points[0] == (10, 5.5)
    assert points[-1] == (1000, 995.5)


def test_a_report_of_many_long_curves_stays_small() -> None:
    tasks, points = 50, 3000
    log = TrialLog(1)
    log.begin(tasks, lambda: {f"accuracy/task {j}": 1 / 3 for j in range(1, tasks + 1)})
    log._before = 10**7
    with log.phase("fit"):
        for step in range(1, points + 1):
            for name in "abcdefgh":
                log.scalar(f"loss/{name}", 1 / 3 + step, step)
            log.tick(step, points)
    curves = log.end()
    assert len(curves.series["accuracy/task 50"]) > 100
    assert curves.series["accuracy/task 50"][-1] == (10**7 + points, pytest.approx(1 / 3, 1e-5))
    assert len(json.dumps(asdict(curves))) < 1_000_000
