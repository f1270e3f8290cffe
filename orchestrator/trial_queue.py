"""The trials of a sweep in the order in which they start, and again where a machine failed them."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from orchestrator.failures import PAUSES, Failure, Kind
from orchestrator.space.config import Resources
from orchestrator.trial import Trial


@dataclass(order=True)
class _Entry:
    """A trial that waits: due at a time of the monotonic clock, then in its order."""

    due: float
    order: int
    trial: Trial = field(compare=False)
    share: Resources = field(compare=False)
    #: Failures since the last task that was learnt.
    failures: int = field(default=0, compare=False)


class TrialQueue(Searcher):
    """Hands trials to Tune one by one, and those again that a machine failed.

    A lost trial waits a little longer each time, and goes on from its last checkpoint; one that ran
    out of memory gets a share twice as large, up to a whole machine. Whether there are attempts
    left is told by :meth:`again`.

    Parameters
    ----------
    trials : sequence of Trial
        In the order in which they are to start.
    resources : Resources
        What each gets at first.
    job : callable
        Writes a trial with its share for a worker.
    largest : callable
        Returns what the largest machine has, when it is asked.
    stopped : callable
        Raises where the sweep is to end; called while Tune waits for a trial.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        resources: Resources,
        job: Callable[[Trial, Resources], object],
        largest: Callable[[], Resources],
        stopped: Callable[[], None],
    ) -> None:
        super().__init__()
        self._job, self._largest, self._stopped = job, largest, stopped
        self._order = itertools.count()
        self._waiting = [_Entry(0.0, next(self._order), trial, resources) for trial in trials]
        self._running: dict[str, _Entry] = {}

    # What Tune calls -----------------------------------------------------------------------------

    def suggest(  # type: ignore[override]  # Tune's own searchers return FINISHED, a text, as well
        self, trial_id: str
    ) -> dict[str, Any] | str | None:
        """Return the next trial's job; None while none is due, and at the end that it is the end.

        ``trial_id`` is Tune's own, of no meaning here.
        """
        self._stopped()
        if not self._waiting:
            return None if self._running else self.FINISHED
        if self._waiting[0].due > time.monotonic():
            return None
        entry = heapq.heappop(self._waiting)
        self._running[entry.trial.id] = entry
        return {"trial": entry.trial.id, "job": self._job(entry.trial, entry.share)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Do nothing: the recorder, which knows how a trial ended, says so."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: what a sweep resumes from are records and checkpoints of trials."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing; see :meth:`save`."""

    def __getstate__(self) -> dict[str, Any]:
        """Return nothing: Tune pickles its parts into a state that is never restored here."""
        return {}

    # What the recorder calls ---------------------------------------------------------------------

    def progressed(self, trial: str) -> None:
        """Note that a trial has learnt a task since it last failed."""
        self._running[trial].failures = 0

    def ended(self, trial: str) -> None:
        """Note that a trial has its record."""
        self._running.pop(trial, None)

    def again(self, trial: str, failure: Failure) -> str | None:
        """Queue a failed trial once more, and say when; None if it has no attempt left."""
        entry = self._running.pop(trial)
        if failure.kind is Kind.MEMORY:
            return self._in_a_larger_share(entry)
        pauses = PAUSES[failure.kind]
        if entry.failures >= len(pauses):
            return None
        pause = pauses[entry.failures]
        entry.failures += 1
        entry.due = time.monotonic() + pause
        heapq.heappush(self._waiting, entry)
        return f"runs again in {pause:g} s"

    def _in_a_larger_share(self, entry: _Entry) -> str | None:
        """Double what shrinks the number of trials beside it: GPUs where it has one, or CPUs."""
        there, share = self._largest(), entry.share
        if 0 < share.gpus < 1:
            larger = share.model_copy(update={"gpus": min(1.0, 2 * share.gpus)})
        elif share.gpus == 0 and share.cpus < there.cpus:
            larger = share.model_copy(update={"cpus": min(there.cpus, 2 * share.cpus)})
        else:
            return None  # it had a whole one
        entry.share, entry.due = larger, 0.0
        heapq.heappush(self._waiting, entry)
        kind = "gpus" if share.gpus else "cpus"
        return f"runs again with {kind}: {getattr(larger, kind):g}"


class InOrder(FIFOScheduler):
    """Starts trials in their order, as Tune's own does, but without a look at all that ended."""

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the trial that has waited longest; None if none waits."""
        waiting = (t for t in tune_controller.get_live_trials() if t.status == TuneTrial.PENDING)
        # Tune's tag of a trial begins with its number.
        return min(waiting, key=lambda t: int(t.experiment_tag.partition("_")[0]), default=None)
