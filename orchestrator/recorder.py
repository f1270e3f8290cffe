"""The single writer: takes what trials report and stores it, results store first."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.curves import Curves, TaskCurves, write_curves
from orchestrator.errors import UserError
from orchestrator.progress import Progress
from orchestrator.results import Record, ResultsStore
from orchestrator.tracking import Tracker
from orchestrator.trial_run import Report

#: The last line of a traceback, and how much of it is told.
_RAISED, _LONGEST = re.compile(r"(?P<name>[\w.]+): (?P<message>.+)"), 500


@dataclass
class Recorder(tune.Callback):
    """Tune callback on the driver.

    Attributes
    ----------
    store : ResultsStore
    progress : Progress
    tracker : Tracker, optional
        Mirrors trials to MLflow in the background.
    outcomes : dict
        Outcome of each trial that has ended, by id; ``infrastructure`` where its worker was lost.
    failure : UserError, optional
        Why nothing more can be recorded; it ends the sweep.
    interrupted : bool
        Set to end the sweep between two steps of Tune's loop, which take a tenth of a second.
    """

    store: ResultsStore
    progress: Progress
    tracker: Tracker | None = None
    outcomes: dict[str, str] = field(default_factory=dict)
    failure: UserError | None = None
    interrupted: bool = False
    _curves: dict[str, dict[int, TaskCurves]] = field(default_factory=dict)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """End the sweep if that was asked."""
        if self.interrupted:
            raise KeyboardInterrupt

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a trial was given to a worker, for the first time or again."""
        self.progress.started(_id(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Take what a trial reports: a task has been learnt, or the trial has ended."""
        report = Report.from_json(result["report"])
        self.progress.task_done(_id(trial), report.task)
        # A trial that began again, because its worker was lost, reports its tasks once more.
        curves = self._curves.setdefault(_id(trial), {})
        curves[report.curves.task] = report.curves
        if report.record is not None:
            del self._curves[_id(trial)]
            tasks = [curves[task] for task in sorted(curves) if task <= report.curves.task]
            self._finish(report.record, Curves(tasks, report.confusion))
        if self.tracker is not None:
            self.tracker.report(_id(trial), report)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Leave a trial whose worker was lost too often for the next sweep."""
        self._curves.pop(_id(trial), None)
        if _id(trial) not in self.outcomes:
            self.outcomes[_id(trial)] = "infrastructure"
            self.progress.ended(_id(trial), "infrastructure", _why(trial))

    def _finish(self, record: Record, curves: Curves) -> None:
        try:
            # Before the record, so that none is without its curves.
            write_curves(self.store.folder, record["id"], curves)
            self.store.write(record)
        except OSError as error:
            self.failure = UserError(
                f"{self.store.folder}: the record of {record['id']} could not be written "
                f"({error.strerror}); what was recorded before is safe, and once this is mended "
                "the same command goes on"
            )
            raise self.failure from error
        self.outcomes[record["id"]] = record["outcome"]
        self.progress.ended(record["id"], record["outcome"], record["cause"])

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles callbacks into a state that is never restored here."""
        return {}


def _id(trial: Any) -> str:
    identity: str = trial.config["job"]["trial"]["id"]
    return identity


def _why(trial: Any) -> str:
    """Say in one line what happened to a trial's worker.

    Tune has written it to a file on this machine; a traceback ends with the name of the error.
    """
    try:
        lines = Path(trial.error_file).read_text(encoding="utf-8").strip().splitlines()
    except (OSError, TypeError):  # it wrote none
        lines = []
    raised = _RAISED.fullmatch(lines[-1]) if lines else None
    if raised is None:
        return "its worker was lost"
    ours = raised["name"].startswith("orchestrator.")  # whose names say nothing to a reader
    return raised["message" if ours else 0][:_LONGEST]
