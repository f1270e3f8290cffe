"""Runs one trial, a task at a time, and makes its record. Knows neither Ray nor MLflow."""

from __future__ import annotations

import json
import platform
import time
import traceback
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from methods.core.rng import Rng
from methods.core.training import Diverged
from orchestrator.checkpoints import Checkpoint, Checkpoints, Keep
from orchestrator.curves import TaskCurves
from orchestrator.data.streams import open_stream
from orchestrator.evaluation import evaluate
from orchestrator.identity import Environment, canonical_json
from orchestrator.machine import NotKept, OtherData, is_of_the_machine
from orchestrator.metrics import CONFUSION_METRICS, METRICS, confusion_summary, summary
from orchestrator.results import SCHEMA_VERSION, Record
from orchestrator.trial import Trial
from orchestrator.trial_log import TrialLog
from orchestrator.watch import Watch, glance

#: Up to so many classes a report carries the final confusion matrix.
_MOST_CLASSES = 200


@dataclass
class Report:
    """What a trial tells after each task.

    Attributes
    ----------
    task : int
        Tasks learned so far.
    row : list of float
        That row of the accuracy matrix.
    measures : dict
        Metrics of the confusion matrix of that row, by name.
    curves : TaskCurves
        What was reported and seen while the task was being learnt.
    record : Record, optional
        The finished record, in the last report.
    confusion : list of list of int, optional
        Confusion matrix after the last task, where the trial finished.
    """

    task: int
    row: list[float]
    measures: dict[str, float]
    curves: TaskCurves
    record: Record | None = None
    confusion: list[list[int]] | None = None

    def to_json(self) -> str:
        """Write the report as the text that travels to the driver."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read what :meth:`to_json` wrote."""
        values = json.loads(text)
        return cls(**values | {"curves": TaskCurves(**values["curves"])})


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
    watch : Watch
    keep : Keep
    results : Path
        Folder of results, where what is kept is written.
    """

    trial: Trial
    environment: Environment
    data_dir: Path
    about: dict[str, str] = field(default_factory=dict)
    watch: Watch = field(default_factory=Watch)
    keep: Keep = field(default_factory=Keep)
    results: Path = Path("results")

    def __post_init__(self) -> None:
        self.log = TrialLog(self.watch.every)
        self.rows: list[list[float]] = []
        self.measures: dict[str, list[float]] = {name: [] for name in CONFUSION_METRICS}
        self.started = datetime.now(UTC)
        self.bytes_kept: dict[str, int] = {}
        self._clock = time.perf_counter()

    def step(self) -> Report:
        """Learn one task, test all tasks, and report."""
        outcome = cause = trace = ""
        try:
            self._prepare()
            task = self.stream.task(len(self.rows) - 1)
            self.log.begin(task.index + 1, self._glance)
            self.method.learn(task, self.log)
            self._evaluate(task.index + 1)
            self.bytes_kept = self.method.bytes_kept()
            final = len(self.rows) == self.stream.info.tasks + 1
            self._keep(final)
            if final:
                outcome = "finished"
        except Diverged as error:
            outcome, cause = "diverged", str(error)
        except Exception as error:
            if is_of_the_machine(error):
                raise
            outcome, cause = "error", f"{type(error).__name__}: {error}"
            trace = traceback.format_exc()
        curves = self.log.end()
        shown = outcome == "finished" and len(self.confusion) <= _MOST_CLASSES
        return Report(
            task=max(0, len(self.rows) - 1),
            row=self.rows[-1] if self.rows else [],
            measures={name: values[-1] for name, values in self.measures.items() if values},
            curves=curves,
            record=self._record(outcome, cause, trace) if outcome else None,
            confusion=self.confusion.tolist() if shown else None,
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
            found = evaluate(self.method, self.stream, tasks_learned)
        self.rows.append(found.accuracies.tolist())
        for name, value in confusion_summary(found.confusion).items():
            self.measures[name].append(value)
        self.confusion = found.confusion

    def _glance(self) -> dict[str, float]:
        """Test the method while it learns the task at hand."""
        return glance(self.method, self.stream, len(self.rows), self.watch.images)

    def _keep(self, final: bool) -> None:
        """Write what is to be kept of the state after a task; whether it can be is no result."""
        if self.keep.checkpoints == "none" and not (self.keep.model and final):
            return
        trial = self.trial
        with self.log.phase("keep"):
            try:
                checkpoint = Checkpoint(
                    trial.id,
                    trial.config.canonical,
                    trial.data,
                    trial.code,
                    json.loads(canonical_json(asdict(self.environment))),
                    len(self.rows) - 1,
                    self.rows,
                    self.measures,
                    self.method.state_dict(),
                )
                Checkpoints(self.results).keep(checkpoint, self.keep, final)
            except Exception as error:
                why = f"the state of {trial.id} could not be kept: {error}"
                raise NotKept(f"{self.results}: {why}") from error

    def _record(self, outcome: str, cause: str, trace: str) -> Record:
        trial, config = self.trial, self.trial.config
        finished = outcome == "finished"
        metrics = summary(np.array(self.rows), self.confusion) if finished else {}
        aside = sum(self.log.seconds.get(phase, 0.0) for phase in ("watch", "keep"))
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
            **{f"{name}_rows": values for name, values in self.measures.items()},
            "bytes_kept": sum(self.bytes_kept.values()),
            "bytes_by_owner": self.bytes_kept,
            "started": int(self.started.timestamp() * 1000),
            "seconds": time.perf_counter() - self._clock - aside,
            "seconds_by_phase": dict(self.log.seconds),
            "samples_per_second": self.log.examples / fit if fit else float("nan"),
            "host": platform.node(),
            "gpu": torch.cuda.get_device_name() if on_gpu else "",
            "engram": engram_version(),
            "traceback": trace,
            **self.about,
        }


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
