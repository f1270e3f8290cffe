"""The single writer: takes what trials report and stores it, results store first."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ray import tune

from orchestrator.errors import UserError
from orchestrator.progress import Progress
from orchestrator.results import Record, ResultsStore
from orchestrator.tracking import Tracker
from orchestrator.trial_run import Report


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
        report = Report(**json.loads(result["report"]))
        self.progress.task_done(_id(trial), report.task)
        if report.record is not None:
            self._finish(report.record)
        if self.tracker is not None:
            self.tracker.report(_id(trial), report)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Leave a trial whose worker was lost too often for the next sweep."""
        if _id(trial) not in self.outcomes:
            self.outcomes[_id(trial)] = "infrastructure"
            self.progress.ended(_id(trial), "infrastructure", _why(trial))

    def _finish(self, record: Record) -> None:
        try:
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
    """Say in one line what happened to a trial's worker."""
    error = trial.get_error()
    lines = str(error).strip().splitlines() if error else []
    return f"its worker was lost ({lines[-1].strip()})" if lines else "its worker was lost"
