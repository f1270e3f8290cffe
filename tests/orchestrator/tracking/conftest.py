"""A real MLflow server that can be killed, trials that were really run, and what MLflow has."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.curves import Curves, write_curves
from orchestrator.plan import Plan, make_plan
from orchestrator.results import Record, ResultsStore
from orchestrator.storage import Storage
from orchestrator.tracking.client import connect
from orchestrator.tracking.runs import SweepRuns
from orchestrator.tracking.tracker import Tracker
from orchestrator.trial import identifying_columns
from orchestrator.trial_run import Report, TrialRun

SPACE = """\
name: told
dataset: split-digits
tasks: 5
network: {name: mlp, widths: [8]}
budget: {iterations: 20, batch_size: 8}
buffer_size: 10
method: [naive, replay]
seed: 0..1
"""


def wait_until(condition: Callable[[], Any], seconds: float = 90) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(name="until")
def until_() -> Callable[..., None]:
    """Waits: ``until(lambda: something)``."""
    return wait_until


class Server:
    """`mlflow server` on this machine; its database can be read while it is down."""

    def __init__(self, home: Path) -> None:
        self.home, self.process = home, None
        self.database = f"sqlite:///{home / 'mlflow.db'}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    process: subprocess.Popen[bytes] | None

    def launch(self) -> None:
        """Start it, without waiting."""
        if self.process is not None:
            return
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
                *("--backend-store-uri", self.database),
                *("--artifacts-destination", self.home / "artifacts"),
                *("--host", "127.0.0.1", "--port", str(self.port)),
            ],
            cwd=self.home,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.launch()
        wait_until(self._answers)

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                return True
        except OSError:
            return False

    def kill(self) -> None:
        """Kill it with all its processes, as a machine does that loses its power."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, which has not been started."""
    server = Server(tmp_path_factory.mktemp("mlflow"))
    yield server
    server.kill()


@dataclass(frozen=True)
class Runs:
    """What MLflow has of an experiment."""

    client: MlflowClient
    parents: list[Any]
    children: dict[str, Any]

    def steps(self, trial: str, metric: str) -> list[int]:
        """Steps of a metric, in the order in which they were written."""
        history = self.client.get_metric_history(self.children[trial].info.run_id, metric)
        return [entry.step for entry in history]


@dataclass(frozen=True)
class World:
    """A sweep of four trials that were run, task by task, and where it is told of."""

    plan: Plan
    reports: dict[str, list[Report]]
    server: Server

    @property
    def ids(self) -> list[str]:
        return list(self.reports)

    def record(self, trial: str) -> Record:
        record = self.reports[trial][-1].record
        assert record is not None
        return record

    def store(self, folder: Path, trials: Sequence[str] = (), name: str = "told") -> ResultsStore:
        """A results folder with the sweep's plan and the records of some trials."""
        store = ResultsStore(folder)
        store.write_sweep(name, identifying_columns(self.plan.trials, self.plan.environment))
        store.write_about(name, {"search_space": SPACE})
        for trial in trials:
            self.record_trial(store, trial)
        return store

    def record_trial(self, store: ResultsStore, trial: str) -> None:
        """Store a trial that has ended, as the recorder does."""
        reports = self.reports[trial]
        curves = Curves([report.curves for report in reports], reports[-1].confusion)
        write_curves(store.storage, trial, curves)
        store.write(self.record(trial))

    def runs(self, name: str, store: ResultsStore, uri: str | None = None) -> SweepRuns:
        """The sweep's runs in an experiment of the test's own."""
        files, ids = {"search_space.yaml": SPACE}, self.ids[::-1]  # their order means nothing
        return SweepRuns(name, ids, files, "", uri or self.server.database, store)

    def tracker(
        self, name: str, store: ResultsStore, uri: str | None = None, pauses: Any = (0.2,)
    ) -> Tracker:
        configs = {trial.id: trial.config for trial in self.plan.trials}
        return Tracker(self.runs(name, store, uri), configs, pauses)

    def tell(
        self, tracker: Tracker, store: ResultsStore, trial: str, tasks: Sequence[int] = range(1, 6)
    ) -> None:
        """Let a trial report some of its tasks."""
        for task in tasks:
            report = self.reports[trial][task - 1]
            if report.record is not None:
                self.record_trial(store, trial)
            tracker.report(trial, report)

    def found(self, name: str) -> Runs:
        """Everything in an experiment, from the database itself; a trial with two runs fails."""
        client = connect(self.server.database)
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            return Runs(client, [], {})
        runs = list(client.search_runs([experiment.experiment_id]))
        children = [run for run in runs if "engram.trial" in run.data.tags]
        counts = Counter(run.data.tags["engram.trial"] for run in children)
        assert set(counts.values()) <= {1}, counts
        parents = [run for run in runs if run not in children]
        of = {run.data.tags["mlflow.parentRunId"] for run in children}
        assert of <= {run.info.run_id for run in parents}
        assert len(parents) <= 1
        return Runs(client, parents, {run.data.tags["engram.trial"]: run for run in children})

    def assert_whole(self, name: str, trials: Sequence[str] | None = None) -> Runs:
        """Each trial is there once, each step of each metric once, all equal to the record."""
        found = self.found(name)
        wanted = set(self.ids if trials is None else trials)
        assert set(found.children) == wanted
        for trial in wanted:
            run, record = found.children[trial], self.record(trial)
            assert run.info.status == "FINISHED"
            assert run.data.tags["engram.outcome"] == "finished"
            assert run.data.params["dataset"] == "split-digits"
            assert sorted(found.steps(trial, "average_accuracy")) == [1, 2, 3, 4, 5]
            assert run.data.metrics["average_accuracy"] == record["average_accuracy"]
            for metric in run.data.metrics:
                steps = found.steps(trial, metric)
                assert len(set(steps)) == len(steps), (metric, steps)
            curves = Curves([report.curves for report in self.reports[trial]]).series()
            for loss, points in curves.items():
                assert sorted(found.steps(trial, loss)) == [at for at, _ in points]
            by_server = run.info.artifact_uri.startswith("mlflow-artifacts")
            client = connect(self.server.uri) if by_server else found.client
            files = {file.path for file in client.list_artifacts(run.info.run_id)}
            assert {"config.yaml", "accuracy_matrix.csv"} <= files
        return found


@pytest.fixture(scope="session")
def world(server: Server, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The sweep, with the reports of its trials."""
    home = tmp_path_factory.mktemp("world")
    (home / "space.yaml").write_text(SPACE)
    plan = make_plan(home / "space.yaml", home / "data")
    reports: dict[str, list[Report]] = {}
    about = {"space": "told", "commit": ""}
    for trial in plan.trials:
        results = Storage(home / "results")
        run = TrialRun(trial, plan.environment, home / "data", about, results=results)
        reports[trial.id] = [run.step() for _ in range(5)]
    return World(plan, reports, server)
