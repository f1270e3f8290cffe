"""Mirrors a sweep to MLflow: one experiment, one parent run, one child run per trial."""

from __future__ import annotations

import getpass
import logging
import os
import queue
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from orchestrator.checkpoints import Checkpoints
from orchestrator.curves import Curves, read_curves
from orchestrator.identity import digest
from orchestrator.results import Record
from orchestrator.run_page import (
    curve_metrics,
    final_metrics,
    recorded_rows,
    row_metrics,
    run_files,
    run_name,
    run_parameters,
    run_tags,
)
from orchestrator.trial import TrialConfig
from orchestrator.trial_run import Report

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Tags by which Engram finds its runs again.
TRIAL_TAG, SWEEP_TAG = "engram.trial", "engram.sweep"
_PARENT_TAG = "mlflow.parentRunId"
_STATUS = {"finished": "FINISHED", "diverged": "FAILED", "error": "FAILED"}
#: What MLflow takes in one batch.
_MOST_METRICS = 900
#: Metrics, name and value, at a step: tasks learned, or iterations for curves.
_Metrics = tuple[int, Mapping[str, float]]


def tracking_uri() -> str:
    """Return ``MLFLOW_TRACKING_URI``, or a database in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"


class Tracker:
    """Writes to MLflow in a thread of its own, so that the sweep never waits for it.

    A failure of MLflow is kept and told at the end: the results store has everything, and the next
    sweep of the same search space writes what is missing here.

    Parameters
    ----------
    experiment : str
        Name of the search space.
    configs : mapping
        Configuration of each trial, by id.
    files : mapping
        Name and content of the parent run's artifacts: search space, environment.
    commit : str
        Git commit of the working tree, or empty.
    uri : str
        Tracking server or database.
    results : Path
        Folder of results, where curves and models are.
    upload_models : bool
        Whether final models are artifacts.
    """

    def __init__(
        self,
        experiment: str,
        configs: Mapping[str, TrialConfig],
        files: Mapping[str, str],
        commit: str,
        uri: str,
        results: Path,
        upload_models: bool = False,
    ) -> None:
        self.experiment, self.configs, self.files = experiment, configs, files
        self.commit, self.uri = commit, uri
        self.results, self.upload_models = results, upload_models
        self.failure: str | None = None
        self._runs: dict[str, str] = {}
        self._steps: dict[str, int] = {}
        self._open_runs: set[str] = set()
        self._queue: queue.SimpleQueue[tuple[str, Report] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mlflow", daemon=True)
        self._recorded: Sequence[Record] = ()

    def start(self, recorded: Sequence[Record] = ()) -> None:
        """Connect in the background; first write trials recorded earlier that MLflow lacks."""
        self._recorded = recorded
        self._thread.start()

    def report(self, trial: str, report: Report) -> None:
        """Queue what a trial reports."""
        self._queue.put((trial, report))

    def close(self, status: str, files: Mapping[str, str] = MappingProxyType({})) -> str | None:
        """Write what is queued and some last files of the parent run, and end it.

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
        self._queue.put(None)
        self._thread.join()
        if self.failure is None:
            try:
                for run in self._open_runs:
                    self._client.set_terminated(run, "KILLED")
                self._write_files(self._parent, files)
                self._client.set_terminated(self._parent, status)
            except Exception as error:
                self.failure = _first_line(error)
        return self.failure

    # In the thread -------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._connect()
            for record in self._recorded:
                if self._written.get(record["id"]) != record["outcome"]:
                    self._write_record(record)
            while (item := self._queue.get()) is not None:
                self._write_report(*item)
        except Exception as error:  # whatever a tracking server answers, the sweep goes on
            self.failure = _first_line(error)

    def _connect(self) -> None:
        self._client = connect(self.uri)
        experiment = self._client.get_experiment_by_name(self.experiment)
        if experiment is not None:
            self._experiment_id = experiment.experiment_id
            if experiment.lifecycle_stage == "deleted":
                self._client.restore_experiment(self._experiment_id)
        else:
            self._experiment_id = self._client.create_experiment(
                self.experiment,
                artifact_location=_artifact_location(self.uri),
                tags={"mlflow.experimentKind": "custom_model_development"},
            )
        self._parent = self._open_parent()
        self._known: dict[str, str] = {}
        self._written: dict[str, str] = {}
        for run in list(self._search(f"tags.`{_PARENT_TAG}` = '{self._parent}'")):
            trial, run_id = run.data.tags.get(TRIAL_TAG, ""), run.info.run_id
            done = run.info.status in _STATUS.values()  # else its sweep was killed meanwhile
            if trial in self._known:  # an attempt that came back with a restored experiment
                self._client.delete_run(self._known[trial] if done else run_id)
            if done:
                self._written[trial] = run.data.tags.get("engram.outcome", "")
            if done or trial not in self._known:
                self._known[trial] = run_id

    def _search(self, condition: str) -> Iterable[Any]:
        token = None
        while True:
            page = self._client.search_runs([self._experiment_id], condition, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _open_parent(self) -> str:
        """Return the parent run of these very trials, made if it is not there."""
        key = digest(*sorted(self.configs))[:16]
        found = next(iter(self._search(f"tags.`{SWEEP_TAG}` = '{key}'")), None)
        if found is not None:
            self._client.update_run(found.info.run_id, status="RUNNING")
        else:
            found = self._client.create_run(
                self._experiment_id,
                run_name=f"sweep {self.experiment}",
                tags={SWEEP_TAG: key, **self._origin()},
            )
        self._write_files(found.info.run_id, self.files)
        return str(found.info.run_id)

    def _origin(self) -> dict[str, str]:
        tags = {"mlflow.source.name": "engram run", "mlflow.source.type": "LOCAL"}
        try:
            tags["mlflow.user"] = getpass.getuser()
        except (KeyError, OSError):  # a container without a user database
            tags["mlflow.user"] = str(os.getuid())
        return tags | ({"mlflow.source.git.commit": self.commit} if self.commit else {})

    def _run(self, trial: str) -> str:
        """Return the run of a trial of this sweep, made anew at its first report."""
        if trial not in self._runs:
            stale = self._known.pop(trial, None)
            if stale is not None:  # an interrupted or failed attempt
                self._client.delete_run(stale)
            config = self.configs[trial]
            tags = {
                _PARENT_TAG: self._parent,
                TRIAL_TAG: trial,
                "engram.label": config.label,
                "engram.variant": config.options.variant,
                "engram.outcome": "running",
            }
            run = self._client.create_run(
                self._experiment_id, run_name=run_name(config), tags=tags | self._origin()
            )
            self._runs[trial] = run.info.run_id
            self._open_runs.add(run.info.run_id)
            self._log(run.info.run_id, parameters=run_parameters(config))
        return self._runs[trial]

    def _write_report(self, trial: str, report: Report) -> None:
        again = report.record is None and report.task <= self._steps.get(trial, 0)
        if again and trial in self._runs:
            # Its worker was lost and it began again: what it had written would stand twice.
            lost = self._runs.pop(trial)
            self._open_runs.discard(lost)
            self._client.delete_run(lost)
        self._steps[trial] = report.task
        metrics = [
            (report.task, row_metrics(report.row, report.measures, report.task)),
            *curve_metrics([report.curves]),
        ]
        if report.record is not None:
            self._finish(report.record, metrics, read_curves(self.results, trial))
        elif report.task:
            self._log(self._run(trial), metrics)

    def _write_record(self, record: Record) -> None:
        """Write a trial from what the results folder holds of it."""
        curves = read_curves(self.results, record["id"])
        metrics: list[_Metrics] = [*enumerate(recorded_rows(record))]
        metrics += curve_metrics(curves.tasks if curves else ())
        self._finish(record, metrics, curves)

    def _finish(self, record: Record, metrics: Sequence[_Metrics], curves: Curves | None) -> None:
        run = self._run(record["id"])
        last = max(0, len(record["accuracy"]) - 1)
        self._log(run, [*metrics, (last, final_metrics(record))], tags=run_tags(record))
        self._write_files(run, run_files(record, curves))
        model = Checkpoints(self.results).model(record["id"])
        if self.upload_models and model.is_file():
            self._client.log_artifact(run, str(model), "model")
        self._client.set_terminated(run, _STATUS[record["outcome"]])
        self._open_runs.discard(run)

    def _log(
        self,
        run: str,
        metrics: Sequence[_Metrics] = (),
        parameters: Mapping[str, str] = MappingProxyType({}),
        tags: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Send everything in as few batches as MLflow's limits allow: one, but for long streams."""
        from mlflow.entities import Metric, Param, RunTag

        now = int(time.time() * 1000)
        entries = [Metric(k, v, now, step) for step, row in metrics for k, v in row.items()]
        params = [Param(key, value) for key, value in parameters.items()]
        run_tags = [RunTag(key, value) for key, value in tags.items()]
        for start in range(0, max(1, len(entries)), _MOST_METRICS):
            chunk = entries[start : start + _MOST_METRICS]
            self._client.log_batch(run, chunk, params, run_tags)
            params, run_tags = [], []

    def _write_files(self, run: str, files: Mapping[str, str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, name).write_text(content, encoding="utf-8")
            self._client.log_artifacts(run, folder)


def connect(uri: str) -> MlflowClient:
    """Return a client of a tracking server or database, which is made if it is not there."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def _artifact_location(uri: str) -> str | None:
    """Keep artifacts beside a local database; a server knows its own place."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
