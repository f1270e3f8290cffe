"""Runs one trial, a task at a time, and makes its record. Knows neither Ray nor MLflow."""

from __future__ import annotations

import platform
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods.core.rng import Rng
from methods.core.training import Diverged
from orchestrator.data.streams import open_stream
from orchestrator.evaluation import accuracies
from orchestrator.identity import Environment, canonical_json
from orchestrator.metrics import METRICS, summary
from orchestrator.results import SCHEMA_VERSION, Record
from orchestrator.trial import Trial


@dataclass
class Report:
    """What a trial tells after each task.

    Attributes
    ----------
    task : int
        Tasks learned so far.
    row : list of float
        That row of the accuracy matrix.
    scalars : dict
        Mean over the task of each number that the method logged.
    seconds : float
        Wall seconds since the trial began.
    record : Record, optional
        The finished record, in the last report.
    """

    task: int
    row: list[float]
    scalars: dict[str, float]
    seconds: float
    record: Record | None = None


class TrialLog:
    """Listens to a method: seconds by phase, examples trained on, means of logged numbers."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.examples = 0
        self._in_task = 0
        self._values: defaultdict[str, list[float]] = defaultdict(list)

    def scalar(self, name: str, value: float, step: int) -> None:
        """Keep a number for the task's mean."""
        self._values[name].append(value)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the block's wall time to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start

    def image(self, name: str, x: Tensor) -> None:
        """Ignore images; none of the methods shows any yet."""

    def tick(self, done: int, total: int) -> None:
        """Note how many examples of the task have been trained on."""
        self._in_task = done

    def task_means(self) -> dict[str, float]:
        """Return the means over the task that has ended, and start afresh."""
        means = {name: float(np.mean(values)) for name, values in sorted(self._values.items())}
        self.examples += self._in_task
        self._in_task = 0
        self._values.clear()
        return means


class OtherData(RuntimeError):
    """The data of this machine differ from those that the trial was planned with."""


@dataclass
class TrialRun:
    """A trial under way.

    :meth:`step` does not raise what the method raises: a diverged or failed trial is a result, with
    its cause. What is the machine's doing is passed on: no memory left, other data.

    Parameters
    ----------
    trial : Trial
    environment : Environment
        Numerical environment; its device and threads are used.
    data_dir : Path
        Where data live.
    about : dict
        Volatile columns of the record that the driver knows: ``space``, ``commit``.
    """

    trial: Trial
    environment: Environment
    data_dir: Path
    about: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.log = TrialLog()
        self.rows: list[list[float]] = []
        self.started = datetime.now(UTC)
        self.kept: dict[str, int] = {}
        self._clock = time.perf_counter()

    def step(self) -> Report:
        """Learn one task, test all tasks, and report."""
        outcome = cause = trace = ""
        try:
            self._prepare()
            task = self.stream.task(len(self.rows) - 1)
            self.method.learn(task, self.log)
            self._evaluate(task.index + 1)
            self.kept = self.method.bytes_kept()
            if len(self.rows) == self.stream.info.tasks + 1:
                outcome = "finished"
        except Diverged as error:
            outcome, cause = "diverged", str(error)
        except Exception as error:
            if _is_of_the_machine(error):
                raise
            outcome, cause = "error", f"{type(error).__name__}: {error}"
            trace = traceback.format_exc()
        scalars = self.log.task_means()
        return Report(
            task=max(0, len(self.rows) - 1),
            row=self.rows[-1] if self.rows else [],
            scalars=scalars,
            seconds=time.perf_counter() - self._clock,
            record=self._record(outcome, cause, trace) if outcome else None,
        )

    def _prepare(self) -> None:
        """Build stream and method before the first task; here, so that failures are recorded."""
        if self.rows:
            return
        torch.set_num_threads(self.environment.threads)
        device = torch.device(self.environment.device)
        config = self.trial.config
        with self.log.phase("data"):
            self.stream = open_stream(config.stream, self.data_dir, device)
        if self.stream.fingerprint != self.trial.data:
            raise OtherData(
                f"{platform.node()}: the data in {self.data_dir} are not those of the plan"
            )
        self.method = config.cls(config.options, self.stream.info, Rng(config.seed), device)
        self._evaluate(0)

    def _evaluate(self, tasks_learned: int) -> None:
        with self.log.phase("evaluate"):
            self.rows.append(accuracies(self.method, self.stream, tasks_learned).tolist())

    def _record(self, outcome: str, cause: str, trace: str) -> Record:
        trial, config = self.trial, self.trial.config
        metrics = summary(np.array(self.rows)) if outcome == "finished" else {}
        fit = self.log.seconds["fit"]
        on_gpu = self.environment.device == "cuda"
        return {
            "schema": SCHEMA_VERSION,
            **identifying_columns(trial, self.environment),
            "tasks": config.stream.info().tasks,
            "stream_seed": config.stream.stream_seed,
            "config": canonical_json(config.canonical),
            "data": trial.data,
            "code": trial.code,
            **asdict(self.environment),
            "outcome": outcome,
            "cause": cause,
            "accuracy": self.rows,
            **{name: metrics.get(name, float("nan")) for name in METRICS},
            "bytes_kept": sum(self.kept.values()),
            "bytes_by_owner": self.kept,
            "started": int(self.started.timestamp() * 1000),
            "seconds": time.perf_counter() - self._clock,
            "seconds_by_phase": dict(self.log.seconds),
            "samples_per_second": self.log.examples / fit if fit else float("nan"),
            "host": platform.node(),
            "gpu": torch.cuda.get_device_name() if on_gpu else "",
            "engram": engram_version(),
            "traceback": trace,
            **self.about,
        }


def _is_of_the_machine(error: Exception) -> bool:
    """Whether another machine, or this one later, could do what failed here."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError, OtherData)):
        return True
    # What PyTorch raises where the CPU has no memory left has no class of its own.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def identifying_columns(trial: Trial, environment: Environment) -> dict[str, Any]:
    """Columns that tell which row of a leaderboard a trial belongs to, and the trial itself."""
    config = trial.config
    ingredients = {"data": trial.data, "code": trial.code, **asdict(environment)}
    return {
        "id": trial.id,
        "dataset": config.stream.dataset,
        "scenario": str(config.stream.scenario),
        "method": config.method,
        "settings": config.settings_text,
        "variant": config.options.variant,
        "setup": canonical_json(config.setup | ingredients),
        "seed": config.seed,
    }


def engram_version() -> str:
    """Return the installed version of Engram."""
    try:
        return version("engram-bench")
    except PackageNotFoundError:
        return "not installed"
