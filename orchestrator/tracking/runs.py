"""The runs of one sweep in MLflow: a parent, and a child for each trial, never two."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from pathlib import PurePosixPath
from types import MappingProxyType

from orchestrator.checkpoints import Checkpoints
from orchestrator.curves import Curves
from orchestrator.identity import digest
from orchestrator.results import Record, ResultsStore
from orchestrator.samples import Samples
from orchestrator.tracking.client import StepMetrics, connect, write_batches, write_files
from orchestrator.tracking.run_page import (
    RunHead,
    curve_metrics,
    ended_at,
    final_metrics,
    recorded_rows,
    row_metrics,
    run_files,
    run_tags,
    started_at,
)
from orchestrator.tracking.search import (
    CAUSE_TAG,
    OUTCOME_TAG,
    PARENT_TAG,
    STATUS,
    TRIAL_TAG,
    FoundRun,
    find_children,
    find_experiment,
    find_parent,
    origin,
)
from orchestrator.trial_run import Report


@dataclass
class _OpenRun:
    """A run that this process made and has not ended, and the tasks that it has written there.

    ``ended`` is when its trial ended, in ms since 1970, if the run was made only then.
    """

    id: str
    ended: int = 0
    rows: set[int] = field(default_factory=set)
    curves: set[int] = field(default_factory=set)


class SweepRuns:
    """Finds and writes the runs of one sweep.

    Nothing here waits or tries again: what fails raises, and may be repeated after
    :meth:`connect`. A run is ended once it is whole, so one that was left half written is known by
    its status, and is made anew.

    Parameters
    ----------
    sweep : str
        Name of the search space, which names the experiment.
    trials : collection of str
        Ids of all trials that were planned; they are what tells one parent from another.
    files : mapping
        Name and content of the parent's first artifacts: search space, environment.
    commit : str
        Git commit of the working tree, or empty.
    uri : str
        Tracking server or database.
    store : ResultsStore
        Where models and pictures are.
    upload_models : bool
        Whether final models are artifacts.
    """

    def __init__(
        self,
        sweep: str,
        trials: Collection[str],
        files: Mapping[str, str],
        commit: str,
        uri: str,
        store: ResultsStore,
        upload_models: bool = False,
    ) -> None:
        self.sweep, self.files, self.commit, self.uri = sweep, files, commit, uri
        self.store, self.upload_models = store, upload_models
        self.key = digest(*sorted(trials))[:16]
        #: The parent's status when it was found.
        self.status = ""
        self._parent = ""
        self._open: dict[str, _OpenRun] = {}
        self._stale: dict[str, str] = {}
        self._whole: dict[str, FoundRun] = {}

    # Finding -------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Find what MLflow has of this sweep; make its experiment and its parent if need be."""
        self._client = connect(self.uri)
        self._experiment = find_experiment(self._client, self.sweep, self.uri)
        where = self._client, self._experiment
        parent, self.status = find_parent(*where, self.sweep, self.key, self.commit)
        if parent != self._parent:
            write_files(self._client, parent, self.files)
            self._parent = parent
        by_trial = find_children(*where, parent)
        self._stale, self._whole = {}, {}
        self._open = {trial: run for trial, run in self._open.items() if trial in by_trial}
        for trial, runs in by_trial.items():
            self._sort(trial, runs)

    def outcomes(self) -> dict[str, str]:
        """Return the outcomes of all trials whose run was completed, by id."""
        return {trial: found.outcome for trial, found in self._whole.items()}

    def holds(self, record: Record) -> bool:
        """Whether the run of a trial was completed and says what its record says."""
        found, tags = self._whole.get(record["id"]), run_tags(record)
        says = tags[OUTCOME_TAG], tags.get(CAUSE_TAG, "")
        return found is not None and (found.outcome, found.cause) == says

    def _sort(self, trial: str, runs: Iterable[FoundRun]) -> None:
        """Keep one run of a trial: our own, else one that was completed."""
        own = self._open[trial].id if trial in self._open else None
        kept, *twins = sorted(runs, key=lambda run: (run.id != own, not run.whole))
        for twin in twins:
            self._client.delete_run(twin.id)
        if kept.id == own:
            return
        self._open.pop(trial, None)  # deleted by somebody else
        if kept.whole:
            self._whole[trial] = kept
        else:
            self._stale[trial] = kept.id

    # Writing -------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Show the sweep as running."""
        self._client.update_run(self._parent, status="RUNNING")

    def write_report(self, head: RunHead, report: Report, at: int) -> None:
        """Write what a trial under way reports, and of earlier tasks what its run lacks.

        Parameters
        ----------
        at : int
            When it was reported, in ms since 1970; the same when it is repeated.
        """
        run = self._open.get(head.trial) or self._make(head, at)
        reports = [*report.earlier, report]
        rows = [part for part in reports if part.task and part.task not in run.rows]
        curves = [part.curves for part in reports if part.curves.task not in run.curves]
        metrics: list[StepMetrics] = [
            (part.task, row_metrics(part.row, part.measures, part.task, part.audit))
            for part in rows
        ]
        write_batches(self._client, run.id, at, [*metrics, *curve_metrics(curves)])
        run.rows |= {part.task for part in rows}
        run.curves |= {part.task for part in curves if any(part.series.values())}

    def write_record(self, record: Record, curves: Curves | None, at: int) -> None:
        """Write what the run of a trial that has ended lacks, all of it if need be, and end it.

        Parameters
        ----------
        at : int
            When, in ms since 1970; the same when it is repeated.
        """
        trial, tasks = record["id"], curves.tasks if curves else ()
        run = self._open.get(trial)
        more_rows = run is not None and max(run.rows, default=0) >= len(record["accuracy"])
        if run is not None and (more_rows or (tasks and run.curves - {c.task for c in tasks})):
            self.begin_again(trial)  # it began again, and did not come as far
            run = None
        if run is None:
            run = self._make(RunHead.of_record(record), started_at(record))
            run.ended = min(at, ended_at(record))  # it did not happen now
        at = run.ended or at
        last = max(0, len(record["accuracy"]) - 1)
        metrics: list[StepMetrics] = [
            *(
                (step, row)
                for step, row in enumerate(recorded_rows(record))
                if step not in run.rows
            ),
            *curve_metrics(part for part in tasks if part.task not in run.curves),
            (last, final_metrics(record)),
        ]
        write_batches(self._client, run.id, at, metrics, tags=run_tags(record))
        write_files(self._client, run.id, run_files(record, curves))
        self._write_model(run.id, trial)
        self._write_samples(run.id, trial)
        self._client.set_terminated(run.id, STATUS[record["outcome"]], at)
        del self._open[trial]
        tags, status = run_tags(record), STATUS[record["outcome"]]
        said = tags[OUTCOME_TAG], tags.get(CAUSE_TAG, "")
        self._whole[trial] = FoundRun(run.id, status, *said)

    def begin_again(self, trial: str) -> None:
        """Delete the open run of a trial, which another attempt of the trial has written."""
        run = self._open.pop(trial, None)
        if run is not None:
            self._stale[trial] = run.id

    def end(self, status: str, files: Mapping[str, str] = MappingProxyType({})) -> None:
        """Write the parent's last artifacts and end it, and with it what is still open.

        Parameters
        ----------
        status : str
            Of the parent: ``FINISHED``, ``FAILED`` or ``KILLED``.
        files : mapping
            Name and content.
        """
        for run in self._open.values():
            self._client.set_terminated(run.id, "KILLED")
        write_files(self._client, self._parent, files)
        self._client.set_terminated(self._parent, status)

    def _make(self, head: RunHead, at: int) -> _OpenRun:
        """Make the run of a trial, in place of another one that it may have."""
        found = self._stale.pop(head.trial, "")
        if head.trial in self._whole:
            found = self._whole.pop(head.trial).id
        if found:
            self._client.delete_run(found)
        tags = {
            PARENT_TAG: self._parent,
            TRIAL_TAG: head.trial,
            "engram.label": head.label,
            "engram.variant": head.variant,
            OUTCOME_TAG: "running",
        }
        made = self._client.create_run(
            self._experiment, start_time=at, run_name=head.name, tags=tags | origin(self.commit)
        )
        write_batches(self._client, made.info.run_id, at, parameters=head.parameters)
        self._open[head.trial] = _OpenRun(made.info.run_id)
        return self._open[head.trial]

    def _write_model(self, run: str, trial: str) -> None:
        model = Checkpoints(self.store.storage).model(trial) if self.upload_models else None
        if model is not None:
            content = self.store.storage.read(model)
            files = {PurePosixPath(model).name: content.to_pybytes()}
            write_files(self._client, run, files, "model")

    def _write_samples(self, run: str, trial: str) -> None:
        samples = Samples(self.store.storage)
        for task, found in groupby(samples.names(trial), attrgetter("task")):
            files = {PurePosixPath(each.path).name: samples.read(each.path) for each in found}
            write_files(self._client, run, files, f"samples/task-{task:02d}")
