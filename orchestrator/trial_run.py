"""Runs one trial, a task at a time, and makes its record. Knows neither Ray nor MLflow."""

from __future__ import annotations

import json
import platform
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from methods.core.rng import Rng
from methods.core.training import Diverged
from orchestrator.audit.config import Audit
from orchestrator.audit.replay_audit import ReplayAudit
from orchestrator.checkpoints import Checkpoint, Checkpoints, Keep
from orchestrator.credentials import without_credentials
from orchestrator.curves import TaskCurves
from orchestrator.data.streams import open_stream
from orchestrator.errors import UserError
from orchestrator.evaluation import evaluate
from orchestrator.identity import Environment, canonical_json
from orchestrator.machine import NoDevice, NotKept, OtherCode, OtherData, machine_failure
from orchestrator.metrics import CONFUSION_METRICS, METRICS, confusion_summary, summary
from orchestrator.results import SCHEMA_VERSION, Record
from orchestrator.samples import Samples
from orchestrator.storage import Storage
from orchestrator.trial import Trial, identifying_columns
from orchestrator.trial_code import trial_code
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
    audit : dict
        What the audit measured after the task, by name; NaN where nothing was audited.
    audit_flag : str
        What it found wrong with replay; empty where nothing is.
    earlier : list of Report
        In the first report after an interruption: of the tasks that were learnt before it.
    """

    task: int
    row: list[float]
    measures: dict[str, float]
    curves: TaskCurves
    record: Record | None = None
    confusion: list[list[int]] | None = None
    audit: dict[str, float] = field(default_factory=dict)
    audit_flag: str = ""
    earlier: list[Report] = field(default_factory=list)

    def to_json(self) -> str:
        """Write the report as the text that travels to the driver."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Report:
        """Read what :meth:`to_json` wrote."""
        return cls._of(json.loads(text))

    @classmethod
    def _of(cls, values: dict[str, Any]) -> Report:
        curves, earlier = TaskCurves(**values["curves"]), map(cls._of, values["earlier"])
        return cls(**values | {"curves": curves, "earlier": list(earlier)})


@dataclass
class TrialRun:
    """A trial under way.

    :meth:`step` does not raise what the method raises: a diverged or failed trial is a result, with
    its cause. What is the machine's doing is raised as :class:`MachineFailure`: no memory left,
    other data, other code.

    The state after each task is stored, and a trial that was interrupted goes on from the last one.
    All that is drawn in a task is drawn from generators made for it, so nothing else is needed to
    end as an uninterrupted trial does.

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
    audit : Audit
    results : Storage
        Folder of results, where states are.
    """

    trial: Trial
    environment: Environment
    data_dir: Path
    about: dict[str, str] = field(default_factory=dict)
    watch: Watch = field(default_factory=Watch)
    keep: Keep = field(default_factory=Keep)
    audit: Audit = field(default_factory=Audit)
    results: Storage = field(kw_only=True)

    def __post_init__(self) -> None:
        self.log = TrialLog(self.watch.every, self.keep.samples)
        self.rows: list[list[float]] = []
        self.measures: dict[str, list[float]] = {name: [] for name in CONFUSION_METRICS}
        self.curves: list[TaskCurves] = []
        self.replay_audit = ReplayAudit(self.audit)
        self.checkpoints = Checkpoints(self.results)
        self.started = datetime.now(UTC)
        self.bytes_kept: dict[str, int] = {}
        self._clock = time.perf_counter()

    def step(self) -> Report:
        """Learn one task, test all tasks, store the state, and report."""
        outcome = cause = trace = ""
        earlier: list[Report] = []
        try:
            earlier = self._prepare()
            task = self.stream.task(len(self.rows) - 1)
            self.log.begin(task.index + 1, self._glance)
            self.method.learn(task, self.log)
            self._evaluate(task.index + 1)
            self.bytes_kept = self.method.bytes_kept()
            with self.log.phase("audit"):
                self.replay_audit.after_task(self.method, self.stream)
            if self._final:
                outcome = "finished"
        except Diverged as error:
            outcome, cause = "diverged", str(error)
        except Exception as error:
            failure = machine_failure(error)
            if failure is not None:
                raise failure from error
            outcome, cause = "error", f"{type(error).__name__}: {error}"
            trace = traceback.format_exc()
        self.curves.append(self.log.end())
        self._keep_images(self.curves[-1].task)
        if outcome in ("", "finished"):
            self._keep()
        shown = outcome == "finished" and len(self.confusion) <= _MOST_CLASSES
        return Report(
            task=max(0, len(self.rows) - 1),
            row=self.rows[-1] if self.rows else [],
            measures={name: values[-1] for name, values in self.measures.items() if values},
            curves=self.curves[-1],
            record=self._record(outcome, cause, trace) if outcome else None,
            confusion=self.confusion.tolist() if shown else None,
            audit=self.replay_audit.row(len(self.rows) - 1),
            audit_flag=self.replay_audit.flag(len(self.rows) - 1),
            earlier=earlier,
        )

    @property
    def _final(self) -> bool:
        return len(self.rows) == self.stream.info.tasks + 1

    def _prepare(self) -> list[Report]:
        """Build stream and method before the first task; here, so that failures are recorded.

        Returns the reports of tasks that were learnt before an interruption.
        """
        if self.rows:
            return []
        torch.set_num_threads(self.environment.threads)
        device = torch.device(self.environment.device)
        config = self.trial.config
        self._check_machine()
        with self.log.phase("data"):
            self.stream = open_stream(config.stream, self.data_dir, device)
        if self.stream.fingerprint != self.trial.data:
            raise OtherData(
                f"{platform.node()}: the data in {self.data_dir} are not those of the plan"
            )
        self.method = config.cls(config.options, self.stream.info, Rng(config.seed), device)
        found = self._last_state()
        if found is not None:
            return self._go_on(found)
        self._evaluate(0)
        return []

    def _check_machine(self) -> None:
        """Refuse to make numbers that the identity of the trial does not stand for."""
        here, planned = platform.node(), self.environment
        if trial_code(self.trial.config.cls) != self.trial.code:
            raise OtherCode(
                f"{here}: the code of {self.trial.config.method} is not that of the plan; install "
                "the same version everywhere"
            )
        if torch.__version__ != planned.torch:
            raise OtherCode(
                f"{here}: has PyTorch {torch.__version__}, and the plan {planned.torch}; install "
                "the same everywhere"
            )
        if planned.device == "cuda" and not torch.cuda.is_available():
            raise NoDevice(f"{here}: PyTorch finds no GPU here")

    def _last_state(self) -> Checkpoint | None:
        """Return the state after the last task, if the trial was interrupted after one.

        One that cannot be read is as good as none: the one before it is taken, or the start.
        """
        with self.log.phase("keep"):
            files = self.checkpoints.after_tasks(self.trial.id)
            # The last task of all is learnt again: what it was tested on is in no checkpoint.
            for tasks in sorted((n for n in files if n < self.stream.info.tasks), reverse=True):
                try:
                    found = self.checkpoints.read(files[tasks], self.method.device)
                except UserError:
                    continue
                if (found.trial, found.tasks_learned) == (self.trial.id, tasks):
                    return found
        return None

    def _go_on(self, found: Checkpoint) -> list[Report]:
        """Take up a state, and tell again what was told of its tasks."""
        self.method.load_state_dict(found.state)
        self.log.load_state_dict(found.log)
        self.replay_audit.load_state_dict(found.audit)
        self.rows, self.measures = found.accuracy, found.measures
        self.curves = [TaskCurves(**fields) for fields in found.curves]
        self._clock -= found.seconds + _aside(found.log["seconds"])
        return [
            Report(
                *(i, row, {name: values[i] for name, values in self.measures.items()}, curves),
                audit=self.replay_audit.row(i),
                audit_flag=self.replay_audit.flag(i),
            )
            for i, (row, curves) in enumerate(zip(self.rows[1:], self.curves, strict=True), start=1)
        ]

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

    def _keep_images(self, task: int) -> None:
        """Store what the method showed while it learnt a task, which is no result either."""
        if not (self.log.images or self.log.images.left_out):
            return
        with self.log.phase("keep"):
            try:
                Samples(self.results).write_task(self.trial.id, task, self.log.images)
            except OSError as error:
                raise self._not_kept("images", error) from error

    def _keep(self) -> None:
        """Store the state after a task; whether that can be done is no result."""
        final, keep = self._final, self.keep
        wanted = keep.checkpoints != "none" or (keep.model and final)
        if final and not wanted:
            return
        with self.log.phase("keep"):
            try:
                checkpoint = self._checkpoint()
                if final and keep.model:
                    self.checkpoints.write_model(checkpoint)
                if not final or keep.checkpoints != "none":
                    self.checkpoints.write(checkpoint)
                if not final and keep.checkpoints != "all":
                    self.checkpoints.remove_before(self.trial.id, checkpoint.tasks_learned)
            except Exception as error:
                if not (wanted or isinstance(error, OSError)):
                    return  # a method without a state runs too, and begins again if it is lost
                raise self._not_kept("state", error) from error

    def _not_kept(self, what: str, error: Exception) -> NotKept:
        where = f"{platform.node()}: {self.results.shown}"
        return NotKept(f"{where}: the {what} of {self.trial.id} could not be stored: {error}")

    def _checkpoint(self) -> Checkpoint:
        trial = self.trial
        return Checkpoint(
            trial.id,
            trial.config.canonical,
            trial.data,
            trial.code,
            json.loads(canonical_json(asdict(self.environment))),
            len(self.rows) - 1,
            self.rows,
            self.measures,
            self.method.state_dict(),
            self.log.state_dict(),
            [asdict(curves) for curves in self.curves],
            self._seconds(),
            self.replay_audit.state_dict(),
        )

    def _seconds(self) -> float:
        """Wall seconds so far, without those of what is done aside."""
        return time.perf_counter() - self._clock - _aside(self.log.seconds)

    def _record(self, outcome: str, cause: str, trace: str) -> Record:
        trial, config = self.trial, self.trial.config
        finished = outcome == "finished"
        metrics = summary(np.array(self.rows), self.confusion) if finished else {}
        fit = self.log.seconds["fit"]
        on_gpu = self.environment.device == "cuda"
        return {
            "schema": SCHEMA_VERSION,
            **identifying_columns([trial], self.environment)[0],
            "tasks": config.stream.info().tasks,
            "stream_seed": config.stream.stream_seed,
            "config": canonical_json(config.canonical),
            "data": trial.data,
            "code": trial.code,
            **asdict(self.environment),
            "outcome": outcome,
            "cause": without_credentials(cause),
            "accuracy": self.rows,
            **{name: metrics.get(name, float("nan")) for name in METRICS},
            **{f"{name}_rows": values for name, values in self.measures.items()},
            "bytes_kept": sum(self.bytes_kept.values()),
            "bytes_by_owner": self.bytes_kept,
            "started": int(self.started.timestamp() * 1000),
            "seconds": self._seconds(),
            "seconds_by_phase": dict(self.log.seconds),
            "samples_per_second": self.log.examples / fit if fit else float("nan"),
            "host": platform.node(),
            "gpu": torch.cuda.get_device_name() if on_gpu else "",
            "engram": engram_version(),
            "traceback": without_credentials(trace),
            **self.replay_audit.columns,
            **self.about,
        }


def _aside(seconds: Mapping[str, float]) -> float:
    """Seconds of what a trial does for its user, not for its result."""
    return sum(seconds.get(phase, 0.0) for phase in ("watch", "keep", "audit"))


def engram_version() -> str:
    """Return the installed version of Engram."""
    try:
        return version("engram-bench")
    except PackageNotFoundError:
        return "not installed"
