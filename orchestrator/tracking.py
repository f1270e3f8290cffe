"""Mirrors a sweep to MLflow: one experiment, one parent run, one child run per trial."""

from __future__ import annotations

import getpass
import json
import logging
import math
import os
import queue
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from methods.core.config import flatten
from orchestrator.figures import accuracy_csv, accuracy_heatmap, accuracy_markdown
from orchestrator.metrics import METRICS
from orchestrator.results import Record
from orchestrator.trial import TrialConfig
from orchestrator.trial_run import Report

if TYPE_CHECKING:
    from mlflow.entities import Metric

#: Tags by which Engram finds its runs again.
TRIAL_TAG, SWEEP_TAG = "engram.trial", "engram.sweep"
_PARENT_TAG, _NOTE_TAG = "mlflow.parentRunId", "mlflow.note.content"
_STATUS = {"finished": "FINISHED", "diverged": "FAILED", "error": "FAILED"}


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
    """

    def __init__(
        self,
        experiment: str,
        configs: Mapping[str, TrialConfig],
        files: Mapping[str, str],
        commit: str,
        uri: str,
    ) -> None:
        self.experiment, self.configs, self.files = experiment, configs, files
        self.commit, self.uri = commit, uri
        self.failure: str | None = None
        self._runs: dict[str, str] = {}
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

    def close(self, files: Mapping[str, str]) -> str | None:
        """Write what is queued and some last files of the parent run, and end it.

        Returns
        -------
        str or None
            What went wrong, if anything did.
        """
        self._queue.put(None)
        self._thread.join()
        if self.failure is None:
            try:
                self._write_files(self._parent, files)
                self._client.set_terminated(self._parent)
            except Exception as error:
                self.failure = _first_line(error)
        return self.failure

    @property
    def waiting(self) -> int:
        """Number of reports that are still queued."""
        return self._queue.qsize()

    # In the thread -------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            self._connect()
            for record in self._recorded:
                if record["id"] not in self._known:
                    self._write_record(record)
            while (item := self._queue.get()) is not None:
                self._write_report(*item)
        except Exception as error:  # whatever a tracking server answers, the sweep goes on
            self.failure = _first_line(error)

    def _connect(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        for chatty in ("alembic", "mlflow"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        self._client = MlflowClient(tracking_uri=self.uri)
        experiment = self._client.get_experiment_by_name(self.experiment)
        if experiment is not None:
            self._experiment_id = experiment.experiment_id
        else:
            self._experiment_id = self._client.create_experiment(
                self.experiment, artifact_location=_artifact_location(self.uri)
            )
        self._parent = self._open_parent()
        self._known = {
            run.data.tags[TRIAL_TAG]: run.info.run_id
            for run in self._search(f"tags.`{_PARENT_TAG}` = '{self._parent}'")
            if TRIAL_TAG in run.data.tags
        }

    def _search(self, condition: str) -> Iterable[Any]:
        token = None
        while True:
            page = self._client.search_runs([self._experiment_id], condition, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _open_parent(self) -> str:
        """Return the parent run of this very search space, made if it is not there."""
        sweep = self.files["search_space.yaml"]
        from orchestrator.identity import digest

        key = digest(sweep)[:16]
        for run in self._search(f"tags.`{SWEEP_TAG}` = '{key}'"):
            self._client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
        run = self._client.create_run(
            self._experiment_id,
            run_name=f"sweep {self.experiment}",
            tags={SWEEP_TAG: key, **self._origin()},
        )
        self._write_files(run.info.run_id, self.files)
        return str(run.info.run_id)

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
            from mlflow.entities import Param

            stale = self._known.pop(trial, None)
            if stale is not None:  # an interrupted or failed attempt
                self._client.delete_run(stale)
            config = self.configs[trial]
            run = self._client.create_run(
                self._experiment_id,
                run_name=run_name(config),
                tags={
                    _PARENT_TAG: self._parent,
                    TRIAL_TAG: trial,
                    "engram.label": config.label,
                    "engram.variant": config.options.variant,
                    "engram.outcome": "running",
                    **self._origin(),
                },
            )
            self._runs[trial] = run.info.run_id
            parameters = [Param(k, str(v)) for k, v in run_parameters(config).items()]
            self._client.log_batch(run.info.run_id, params=parameters)
        return self._runs[trial]

    def _write_report(self, trial: str, report: Report) -> None:
        if report.task == 0 and report.record is None:
            return
        values = {f"task/accuracy on task {j + 1}": a for j, a in enumerate(report.row)}
        seen = report.row[: report.task]
        values |= {"average_accuracy": sum(seen) / len(seen) if seen else math.nan}
        values |= report.scalars
        if report.record is None:
            self._client.log_batch(self._run(trial), _metrics(values, report.task))
        else:
            self._finish(report.record, _metrics(values, report.task))

    def _write_record(self, record: Record) -> None:
        """Write a trial from its record alone."""
        metrics: list[Metric] = []
        for i, row in enumerate(record["accuracy"][1:], start=1):
            values = {f"task/accuracy on task {j + 1}": a for j, a in enumerate(row)}
            metrics += _metrics(values | {"average_accuracy": sum(row[:i]) / i}, i)
        self._finish(record, metrics)

    def _finish(self, record: Record, metrics: list[Metric]) -> None:
        from mlflow.entities import RunTag

        run = self._run(record["id"])
        final = {name: record[name] for name in METRICS if name != "average_accuracy"}
        final |= {f"bytes/{owner}": kept for owner, kept in record["bytes_by_owner"].items()}
        final |= {f"seconds/{k}": v for k, v in record["seconds_by_phase"].items()}
        final |= {"seconds/total": record["seconds"], "bytes/total": record["bytes_kept"]}
        final["samples_per_second"] = record["samples_per_second"]
        step = len(record["accuracy"]) - 1
        tags = [
            RunTag("engram.outcome", record["outcome"]),
            RunTag("engram.cause", record["cause"][:5000]),
            RunTag(_NOTE_TAG, _note(record)),
        ]
        self._client.log_batch(run, metrics + _metrics(final, step), tags=tags)
        files = {"config.yaml": yaml.safe_dump(json.loads(record["config"]), sort_keys=False)}
        if record["accuracy"]:
            files["accuracy_matrix.csv"] = accuracy_csv(record["accuracy"])
            files["accuracy_matrix.svg"] = accuracy_heatmap(record["accuracy"])
        if record["traceback"]:
            files["traceback.txt"] = record["traceback"]
        self._write_files(run, files)
        self._client.set_terminated(run, _STATUS[record["outcome"]])

    def _write_files(self, run: str, files: Mapping[str, str]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                Path(folder, name).write_text(content, encoding="utf-8")
            self._client.log_artifacts(run, folder)


def run_name(config: TrialConfig) -> str:
    """Name a run so that a list of runs reads well: what differs most comes first."""
    stream = config.stream
    return f"{config.label} · {stream.scenario} · {stream.dataset} · seed {config.seed}"


def run_parameters(config: TrialConfig) -> dict[str, Any]:
    """Return the flat configuration: ``method``, ``dataset``, and so on."""
    canonical = config.canonical
    flat = flatten(canonical["stream"] | {"method": config.method} | canonical["options"])
    return {k: v for k, v in flat.items() if v is not None} | {"seed": config.seed}


def _metrics(values: Mapping[str, float], step: int) -> list[Metric]:
    from mlflow.entities import Metric

    now = int(time.time() * 1000)
    return [Metric(k, float(v), now, step) for k, v in values.items() if math.isfinite(v)]


def _note(record: Record) -> str:
    """Write what a run's page says at its top, in Markdown."""
    head = record["outcome"] + (f": {record['cause']}" if record["cause"] else "")
    shown = f"`engram show {record['id']}` tells the same in a terminal."
    return f"{head}\n\n{accuracy_markdown(record['accuracy'])}\n\n{shown}"


def _artifact_location(uri: str) -> str | None:
    """Keep artifacts beside a local database; a server knows its own place."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
