"""Audits what a method replays, task by task; changes nothing of the method or its trial."""

from __future__ import annotations

from typing import Any

from methods.core.method import Method
from methods.core.rng import Rng
from orchestrator.audit.comparison import MEASURES, Comparison
from orchestrator.audit.config import Audit
from orchestrator.credentials import without_credentials
from orchestrator.data.streams import TaskStream
from orchestrator.machine import machine_failure

#: Characters of an error that are told.
_LONGEST_REASON = 300


class ReplayAudit:
    """The audit of one trial.

    An error in it ends the audit with a note, not the trial. It draws from generators of its own,
    and the global ones are left as they are.

    Parameters
    ----------
    audit : Audit

    Attributes
    ----------
    rows : list of dict
        For each task learned the value of each of :data:`MEASURES`; NaN where nothing was audited.
    flags : list of str
        For each task learned what is wrong, or nothing.
    """

    def __init__(self, audit: Audit) -> None:
        self.audit = audit
        self.rows: list[dict[str, float]] = []
        self.flags: list[str] = []
        self._problem = ""
        self._comparison: Comparison | None = None

    def after_task(self, method: Method, stream: TaskStream) -> None:
        """Look at what a method replays that has just learnt a task.

        Raises
        ------
        Exception
            Whatever is a failure of the machine; other errors end the audit.
        """
        row, flag = dict.fromkeys(MEASURES, float("nan")), self._problem
        tasks = method.tasks_learned
        if self.audit.enabled and not self._problem:
            rng = Rng(0, "audit").at(tasks - 1)
            try:
                with rng.scoped("audit", method.device):
                    found = self._look(method, stream, rng)
                row, flag = found or (row, flag)
            except Exception as error:
                if machine_failure(error):
                    raise
                said = " ".join(f"{type(error).__name__}: {error}".split())[:_LONGEST_REASON]
                said = without_credentials(said)
                flag = self._problem = f"not audited since task {tasks}: {said}"
        self.rows.append(row)
        self.flags.append(flag)

    def row(self, tasks: int) -> dict[str, float]:
        """Return what was measured after so many tasks; nothing where that was never asked."""
        return self.rows[tasks - 1] if 0 < tasks <= len(self.rows) else {}

    def flag(self, tasks: int) -> str:
        """Return what was found wrong after so many tasks; empty where nothing was."""
        return self.flags[tasks - 1] if 0 < tasks <= len(self.flags) else ""

    @property
    def columns(self) -> dict[str, Any]:
        """What a record has of it: lists over the tasks learned, empty where none was audited."""
        audited = any(self.flags) or any(v == v for row in self.rows for v in row.values())
        rows, flags = (self.rows, self.flags) if audited else ([], [])
        return {"audit": list(rows), "audit_flags": list(flags)}

    def state_dict(self) -> dict[str, Any]:
        """Return what has been found, as plain values."""
        return {"rows": self.rows, "flags": self.flags, "problem": self._problem}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.rows, self.flags = list(state["rows"]), list(state["flags"])
        self._problem = state["problem"]

    def _look(
        self, method: Method, stream: TaskStream, rng: Rng
    ) -> tuple[dict[str, float], str] | None:
        replayed = method.replayed(self.audit.draws)
        if replayed is None or not len(replayed.batch.x):
            return None
        known = self._comparison is not None and self._comparison.depth == replayed.depth
        if not known or method.replay_drifts:
            iterations = self.audit.judge_iterations
            self._comparison = Comparison(method, stream, replayed.depth, iterations)
        assert self._comparison is not None
        return self._comparison.measure(replayed, method.tasks_learned, rng)
