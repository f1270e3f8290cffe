"""Listens to a method while it learns: seconds by phase, curves, images, examples trained on."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from torch import Tensor

from orchestrator.credentials import without_credentials
from orchestrator.curves import Points, TaskCurves
from orchestrator.machine import machine_failure
from orchestrator.samples import TaskImages

#: Points of one task that a curve of numbers which the method reports is thinned to.
_MOST_REPORTED = 100
#: Points of one task over all curves: what one report can carry.
_MOST_POINTS = 20_000

#: Tests the method as it is now: the values of some curves, by name.
Glance = Callable[[], Mapping[str, float]]


class TrialLog:
    """A method's log.

    Watching changes nothing: no time of it counts as the method's, and an error in it ends the
    watching, not the trial.

    Parameters
    ----------
    every : int, optional
        Iterations between two glances at the method while it is being fitted.
    pictures : bool
        Whether the images that the method reports are collected.

    Attributes
    ----------
    seconds : dict
        Wall seconds by phase; ``watch`` holds those of the glances, which no other phase includes.
    examples : int
        Examples that were trained on, over the tasks that have ended.
    images : TaskImages
        Images of the task at hand; once it has ended, of that one until another begins.
    """

    def __init__(self, every: int | None = None, pictures: bool = True) -> None:
        self.every, self.pictures = every, pictures
        self.images = TaskImages()
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.examples = 0
        self._glance: Glance | None = None
        self._problem = ""
        self._before = 0  # iterations of the tasks that have ended
        self._ends: dict[str, int] = {}  # where each curve is
        self._start(1)

    def _start(self, task: int) -> None:
        self._task, self._in_task, self._step, self._due = task, 0, 0, self.every or 0
        self._reported: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
        self._watched: defaultdict[str, dict[int, float]] = defaultdict(dict)
        self._phases: list[str] = []

    # What a method calls -------------------------------------------------------------------------

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add a point to a curve; while fitting, the steps are the task's iterations."""
        self._reported[name].append((step, value))
        if self._fitting:
            self._step = max(self._step, step)

    @property
    def _fitting(self) -> bool:
        """Whether the classifier is being fitted, rather than something else meanwhile."""
        return self._phases[-1:] == ["fit"]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the block's wall time to a phase."""
        start, watched = time.perf_counter(), self.seconds.get("watch", 0.0)
        self._phases.append(name)
        try:
            yield
            if self._phases == ["fit"]:
                self._look()  # what fit leaves, such as the best weights, may not be its last
        finally:
            self._phases.pop()
            watching = self.seconds.get("watch", 0.0) - watched
            self.seconds[name] += time.perf_counter() - start - watching

    def image(self, name: str, x: Tensor, columns: int = 10) -> None:
        """Collect images of the task at hand."""
        if self.pictures:
            self.images.add(name, x, columns)

    def tick(self, done: int, total: int) -> None:
        """Note how many examples of the task have been trained on, and glance where it is due."""
        self._in_task = done
        if self._fitting and self.every is not None and self._step >= self._due:
            self._due = (self._step // self.every + 1) * self.every
            self._look()

    # What the trial calls ------------------------------------------------------------------------

    def begin(self, task: int, glance: Glance) -> None:
        """Prepare for a task, counted from 1."""
        self._start(task)
        self.images = TaskImages()
        self._glance = glance

    def end(self) -> TaskCurves:
        """Return the curves of the task that has ended."""
        self.examples += self._in_task
        curves: dict[str, Points] = {}
        watched = {name: list(points.items()) for name, points in self._watched.items()}
        room = _MOST_POINTS // max(1, len(self._reported) + len(watched))
        reported = dict(sorted(self._reported.items()))
        for named, most in ((watched, room), (reported, min(room, _MOST_REPORTED))):
            for name, points in named.items():
                # What a memory is trained for in between counts its own iterations, and its curve
                # may be ahead of the others.
                start = max(self._before, self._ends.get(name, 0))
                curves[name] = [(start + step, value) for step, value in _thinned(points, most)]
                self._ends[name] = start + max(step for step, _ in points)
        self._before += self._step
        problem = self._problem
        self._start(self._task + 1)
        return TaskCurves(self._task - 1, curves, problem)

    def state_dict(self) -> dict[str, Any]:
        """Return what has been counted over the tasks that have ended, as plain values."""
        return {
            "seconds": dict(self.seconds),
            "examples": self.examples,
            "iterations": self._before,
            "ends": dict(self._ends),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting from where :meth:`state_dict` was."""
        for phase, seconds in state["seconds"].items():
            self.seconds[phase] += seconds
        self.examples, self._before = state["examples"], state["iterations"]
        self._ends = dict(state["ends"])

    def _look(self) -> None:
        if self.every is None or self._glance is None or self._problem:
            return
        start = time.perf_counter()
        try:
            for name, value in self._glance().items():
                self._watched[name][self._step] = value
        except Exception as error:
            if machine_failure(error):
                raise
            self._problem = without_credentials(
                f"iteration {self._before + self._step}: {type(error).__name__}: {error}"
            )
        finally:
            self.seconds["watch"] += time.perf_counter() - start


def _thinned(points: list[tuple[int, float]], most: int) -> Points:
    """Return at most so many points: means of neighbours, at the last one's step, 6 digits each."""
    size = -(-len(points) // max(1, most))
    groups = (points[i : i + size] for i in range(0, len(points), size))
    return [(group[-1][0], _short(float(np.mean([v for _, v in group])))) for group in groups]


def _short(value: float) -> float:
    return float(f"{value:.6g}")
