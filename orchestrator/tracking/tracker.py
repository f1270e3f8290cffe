"""Mirrors a sweep to MLflow while it runs, whether MLflow is there or not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from orchestrator.curves import read_curves
from orchestrator.tracking.client import is_refusal, reason, shown_uri
from orchestrator.tracking.report_queue import Item, TrackingQueue
from orchestrator.tracking.run_page import RunHead
from orchestrator.tracking.runs import SweepRuns
from orchestrator.trial import TrialConfig
from orchestrator.trial_run import Report

#: What a server is given to come back.
_PAUSES = (1, 2, 5, 10, 30, 60)
#: Seconds for the last attempt, where MLflow is away when the sweep ends.
_LAST_ATTEMPT = 10
#: After so many attempts, MLflow being there, what cannot be written is left out; and what MLflow
#: refuses: twice, since a run may just have been deleted.
_MOST_ATTEMPTS, _MOST_REFUSALS = 8, 2


class Tracker:
    """Writes to MLflow in a thread of its own, so that the sweep never waits for it.

    When MLflow does not answer, the thread tries again with growing pauses, finds what is there and
    writes what is missing. The results store has everything meanwhile. What is missing in the end,
    ``engram sync`` or the next sweep of the search space writes.

    Parameters
    ----------
    runs : SweepRuns
        The sweep's runs.
    configs : mapping
        Configuration of each trial, by id.
    pauses : sequence of float
        Seconds between attempts to reach MLflow; the last one again and again.
    """

    def __init__(
        self,
        runs: SweepRuns,
        configs: Mapping[str, TrialConfig],
        pauses: Sequence[float] = _PAUSES,
    ) -> None:
        self.runs, self.configs, self.pauses = runs, configs, pauses
        self.failure: str | None = None
        self._queue = TrackingQueue()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._say: Callable[[str], None] = lambda line: None
        self._away: str | None = None
        self._given_up = False
        self._end: tuple[str, Mapping[str, str]] = ("KILLED", {})
        self._current: Item | None = None
        self._attempts = 0
        self._refused: dict[str, str] = {}

    def start(
        self,
        recorded: Mapping[str, str] = MappingProxyType({}),
        say: Callable[[str], None] | None = None,
    ) -> None:
        """Connect in the background; first write trials recorded earlier that MLflow lacks.

        Parameters
        ----------
        recorded : mapping
            Outcomes of trials that have their records, by id.
        say : callable, optional
            Is told, in the thread, when MLflow goes away and when it is back.
        """
        self._say = say or self._say
        self._queue.recorded(dict(recorded))
        self._thread.start()

    def report(self, trial: str, report: Report) -> None:
        """Queue what a trial reports; the record and the curves of one that ended are stored."""
        self._queue.put(trial, report)

    def close(self, status: str, files: Mapping[str, str] = MappingProxyType({})) -> str | None:
        """Write what is queued and some last files of the parent run, and end it.

        If MLflow is away, it gets one last chance of a few seconds.

        Parameters
        ----------
        status : str
            Of the parent run: ``FINISHED``, ``FAILED`` or ``KILLED``. Trials that are under way
            are ``KILLED`` with it.
        files : mapping
            Name and content of the last artifacts.

        Returns
        -------
        str or None
            What went wrong, if anything did.
        """
        if self._thread.ident is None:  # never started
            return None
        self._end = status, files
        self._queue.close()
        until = time.monotonic() + _LAST_ATTEMPT
        while self._thread.is_alive():
            self._thread.join(0.2)
            if self._away is None:
                until = time.monotonic() + _LAST_ATTEMPT
            elif time.monotonic() > until:  # no answer, nor a refusal
                self._given_up, self.failure = True, self._away
                break
        if self.failure is None and self._refused:
            first = next(iter(self._refused.items()))
            more = f" and {len(self._refused) - 1} more" if len(self._refused) > 1 else ""
            self.failure = f"trial {first[0]}{more} could not be written: {first[1]}"
        return self.failure

    # In the thread -------------------------------------------------------------------------------

    def _work(self) -> None:
        failures = 0
        while not self._given_up:
            last = self._queue.closed
            if self._reach():
                if self._write_all():
                    return
                failures = 0
            elif last:
                self.failure = self._away
                return
            self._queue.pause(self.pauses[min(failures, len(self.pauses) - 1)])
            failures += 1

    def _reach(self) -> bool:
        """Connect and find what MLflow lacks; tell when it goes and when it is back."""
        try:
            self.runs.connect()
            self.runs.begin()
        except Exception as error:  # whatever a tracking server answers, the sweep goes on
            told, self._away = self._away, f"{shown_uri(self.runs.uri)}: {reason(error)}"
            if told is None:
                self._say(
                    f"MLflow does not answer ({self._away}); the sweep goes on, and MLflow gets "
                    "what it misses when it is back"
                )
            return False
        if self._away is not None:
            self._away = None
            self._say("MLflow answers again and gets what it missed")
        self._queue.put_missing(self.runs.outcomes(), self._refused)
        return True

    def _write_all(self) -> bool:
        """Write what comes until the sweep has ended; False as soon as something fails."""
        while not self._given_up:
            self._current = self._current or self._queue.next()
            try:
                if self._current is None:
                    self.runs.end(*self._end)
                    return True
                self._write(self._current)
            except Exception as error:  # as above
                return self._leave_out(error)
            self._current, self._attempts = None, 0
        return True

    def _leave_out(self, error: Exception) -> bool:
        """Go on without what MLflow does not take, though it is there; True if that was the end."""
        self._attempts += 1
        if self._attempts < (_MOST_REFUSALS if is_refusal(error) else _MOST_ATTEMPTS):
            return False
        item, self._current, self._attempts = self._current, None, 0
        if item is None:
            self.failure = reason(error)
            return True
        self._refused[item.trial] = reason(error)
        return False

    def _write(self, item: Item) -> None:
        trial, report = item.trial, item.report
        if trial in self._refused:
            return
        if item.again:
            self.runs.begin_again(trial)
        if report is not None and report.record is None:
            self.runs.write_report(RunHead.of_config(trial, self.configs[trial]), report, item.at)
            return
        store = self.runs.store
        for record in [report.record] if report is not None else store.records([trial]):
            assert record is not None
            if report is not None or not self.runs.holds(record):
                self.runs.write_record(record, read_curves(store.storage, trial), item.at)
