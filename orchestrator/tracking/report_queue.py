"""What waits to be written to MLflow: little, however long MLflow is away."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.trial_run import Report

#: Reports that wait; what an earlier one told is written when its trial ends, from its record.
MOST_WAITING = 100


@dataclass(frozen=True)
class Item:
    """A report to be written, or a trial to be written from its record.

    Attributes
    ----------
    trial : str
    at : int
        When it came, in ms since 1970: the same whenever it is written.
    report : Report, optional
        None where the record is to be read.
    again : bool
        Whether the trial has begun again since its run was written last.
    """

    trial: str
    at: int
    report: Report | None = None
    again: bool = False


class TrackingQueue:
    """Passes reports from the sweep to the thread that writes them.

    Reports come first, then trials that are written from their records. Where many reports wait,
    the oldest is let go: its rows and curves are in the results store once its trial has ended.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Item] = deque()
        self._late: dict[str, int] = {}
        self._latest: dict[str, int] = {}
        self._begun_again: set[str] = set()
        self._outcomes: dict[str, str] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def closed(self) -> bool:
        """Whether nothing more will come."""
        return self._closed

    def recorded(self, outcomes: dict[str, str]) -> None:
        """Note the outcomes of trials that have their records, by id."""
        with self._changed:
            self._outcomes |= outcomes

    def put(self, trial: str, report: Report) -> None:
        """Add a report; the record and the curves of a trial that has ended are stored."""
        with self._changed:
            again = report.record is None and report.task <= self._latest.get(trial, 0)
            self._latest[trial] = report.task
            if report.record is not None:
                del self._latest[trial]
                self._outcomes[trial] = report.record["outcome"]
            self._waiting.append(Item(trial, _now(), report, again))
            if len(self._waiting) > MOST_WAITING:
                self._let_go(self._waiting.popleft())
            self._changed.notify_all()

    def put_missing(self, there: dict[str, str], without: Iterable[str]) -> None:
        """Add the trials that have a record and are not in MLflow with the same outcome.

        Parameters
        ----------
        there : dict
            Outcomes in MLflow, by id.
        without : iterable of str
            Trials that are left out.
        """
        with self._changed:
            # Two errors may be different ones, which their records tell.
            missing = [
                trial
                for trial, outcome in self._outcomes.items()
                if there.get(trial) != outcome or outcome == "error"
            ]
            self._late = dict.fromkeys(missing, _now()) | self._late
            for trial in without:
                self._late.pop(trial, None)

    def next(self) -> Item | None:
        """Wait for something to write; None once the queue is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._late or self._closed)
            if self._waiting:
                item = self._waiting.popleft()
                again = item.again or item.trial in self._begun_again
                self._begun_again.discard(item.trial)
                return Item(item.trial, item.at, item.report, again)
            for trial, at in self._late.items():
                del self._late[trial]
                again = trial in self._begun_again
                self._begun_again.discard(trial)
                return Item(trial, at, None, again)
            return None

    def close(self) -> None:
        """Let nothing more come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def pause(self, seconds: float) -> None:
        """Wait; no longer than until the queue is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)

    def _let_go(self, item: Item) -> None:
        if item.again:
            self._begun_again.add(item.trial)
        if item.report is not None and item.report.record is not None:
            self._late[item.trial] = item.at


def _now() -> int:
    return int(time.time() * 1000)
