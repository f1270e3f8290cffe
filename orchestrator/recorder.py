"""The single writer: takes what trials report and stores it, results store first."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.checkpoints import Checkpoints, Keep
from orchestrator.curves import Curves, TaskCurves, write_curves
from orchestrator.errors import UserError
from orchestrator.failures import read_failure
from orchestrator.local_ray import lost_process
from orchestrator.progress import Progress
from orchestrator.results import Record, ResultsStore
from orchestrator.tracking.tracker import Tracker
from orchestrator.trial_queue import TrialQueue
from orchestrator.trial_run import Report

#: Seconds between attempts to write a record; meanwhile the sweep is paused.
_PATIENCE = (1, 2, 5, 10, 30, *(60,) * 10)
#: Seconds without any running trial after which the user is told, and told again.
_IDLE = 60


@dataclass
class Recorder(tune.Callback):
    """Tune callback on the driver.

    Attributes
    ----------
    store : ResultsStore
    progress : Progress
    queue : TrialQueue
        Gets those trials back that a machine failed.
    keep : Keep
        What is kept of a trial that has ended.
    tracker : Tracker, optional
        Mirrors trials to MLflow in the background.
    outcomes : dict
        Outcome of each trial that has ended, by id; ``infrastructure`` where it is left without a
        record.
    failure : UserError, optional
        Why nothing more can be recorded; it ends the sweep.
    interrupted : bool
        Set to end the sweep between two steps of Tune's loop, which take a tenth of a second.
    pauses : tuple of float
        Seconds between attempts to write a record.
    """

    store: ResultsStore
    progress: Progress
    queue: TrialQueue
    keep: Keep = field(default_factory=Keep)
    tracker: Tracker | None = None
    outcomes: dict[str, str] = field(default_factory=dict)
    failure: UserError | None = None
    pauses: tuple[float, ...] = _PATIENCE
    interrupted: bool = False
    _idle_since: float = field(default_factory=time.monotonic)
    _curves: dict[str, dict[int, TaskCurves]] = field(default_factory=dict)

    def check(self) -> None:
        """End the sweep if that was asked, or if Ray is no more."""
        if self.interrupted:
            raise KeyboardInterrupt
        if lost := lost_process():
            self.failure = UserError(
                f"Ray has ended on this machine (its {lost} was killed, or failed); what has "
                "finished is kept, and the same command goes on"
            )
            raise self.failure

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """End the sweep if that was asked; say so where nothing runs for long."""
        self.check()
        now = time.monotonic()
        if self.progress.running:
            self._idle_since = now
        elif now - self._idle_since > _IDLE:
            self._idle_since = now
            self.progress.note("no machine has had room for a trial for the last minute; waiting")

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a trial was given to a worker, for the first time or again."""
        self.progress.started(_id(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Take what a trial reports: a task has been learnt, or the trial has ended."""
        report = Report.from_json(result["report"])
        identity = _id(trial)
        self.progress.task_done(identity, report.task)
        self.queue.progressed(identity)
        # A trial that began again, because its worker was lost, reports its tasks once more.
        curves = self._curves.setdefault(identity, {})
        for part in (*report.earlier, report):
            curves[part.curves.task] = part.curves
        if report.record is not None:
            del self._curves[identity]
            tasks = [curves[task] for task in sorted(curves) if task <= report.curves.task]
            self._finish(report.record, Curves(tasks, report.confusion))
        if self.tracker is not None:
            self.tracker.report(identity, report)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Let go of what Tune keeps of a trial that has ended: its last report, statistics."""
        kept = trial.run_metadata
        kept.last_result, kept.metric_analysis, kept.metric_n_steps = {}, {}, {}

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Give a trial that a machine failed another attempt, or leave it for the next sweep."""
        identity = _id(trial)
        if identity in self.outcomes:
            return
        failure = read_failure(_written_about(trial))
        again = self.queue.again(identity, failure)
        if again is not None:
            self.progress.set_aside(identity, failure.cause, again)
            return
        self._curves.pop(identity, None)
        self.outcomes[identity] = "infrastructure"
        self.progress.ended(identity, "infrastructure", failure.cause)

    def _finish(self, record: Record, curves: Curves) -> None:
        self._patiently(lambda: self._store(record, curves), record["id"])
        self.outcomes[record["id"]] = record["outcome"]
        self.queue.ended(record["id"])
        self.progress.ended(record["id"], record["outcome"], record["cause"])

    def _store(self, record: Record, curves: Curves) -> None:
        # Before the record, so that none is without its curves.
        write_curves(self.store.storage, record["id"], curves)
        self.store.write(record)
        Checkpoints(self.store.storage).tidy(record["id"], self.keep)

    def _patiently(self, write: Callable[[], None], trial: str) -> None:
        """Write, and where that fails, again and again for some minutes: a disk may be full."""
        for pause in (*self.pauses, None):
            try:
                write()
                return
            except OSError as error:
                where = f"{self.store.storage.shown}: the record of {trial} cannot be written"
                reason = error.strerror or (str(error).splitlines() or [""])[0]
                if pause is None:
                    self.failure = UserError(
                        f"{where} ({reason}); what was recorded before is safe, and once this is "
                        "mended the same command goes on"
                    )
                    raise self.failure from error
                self.progress.note(f"{where} ({reason}); the sweep waits, next try in {pause:g} s")
            until = time.monotonic() + pause
            while time.monotonic() < until:
                self.check()
                time.sleep(min(0.1, pause))

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles callbacks into a state that is never restored here."""
        return {}


def _id(trial: Any) -> str:
    identity: str = trial.config["trial"]
    return identity


def _written_about(trial: Any) -> str:
    """Return what Tune has written, on this machine, about what happened to a trial's worker."""
    try:
        return Path(trial.error_file).read_text(encoding="utf-8")
    except (OSError, TypeError):  # it wrote nothing
        return ""
