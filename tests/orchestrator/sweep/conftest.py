"""Few whole sweeps on real Ray and real MLflow, shared by all tests in this folder.

What is asked of the first one comes first, by the names of the files: later ones change its folder
and add to its notes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.results import ResultsStore

CORES = os.cpu_count() or 1
DECAYS = [i / 100 for i in range(CORES + 1)]

#: More trials of test-tells than there are cores, so that some must share a process.
SPACE = f"""\
name: mixed
dataset: split-digits
tasks: 2
network: {{name: mlp, widths: [8]}}
budget: {{iterations: 6, batch_size: 8}}
buffer_size: 10
method:
  - test-tells: {{optimizer.weight_decay: {DECAYS}}}
  - naive
  - test-raises
  - test-diverges
  - test-dies-once
  - replay
seed: 0..1
"""

#: The same trials the other way round, and some that cannot be run.
REVERSED = f"""\
method:
  - test-dies
  - replay
  - test-dies-once
  - test-diverges
  - test-raises
  - naive
  - test-tells: {{optimizer.weight_decay: {DECAYS[::-1]}}}
seed: [1, 0]
buffer_size: 10
budget: {{batch_size: 8, iterations: 6}}
network: {{widths: [8], name: mlp}}
tasks: 2
dataset: split-digits
name: mixed
"""

TRIALS = 2 * (CORES + 1 + 5)

API = """
import json, sys
from pathlib import Path
import orchestrator as engram

sweep = engram.run(sys.argv[1], results=Path(sys.argv[2]), data=sys.argv[3], mlflow=False)
frame = engram.read_results(sys.argv[2])
print(json.dumps({
    "trials": len(sweep.plan.trials),
    "ran": sweep.outcome.ran,
    "failed": sorted(sweep.outcome.failed.values()),
    "pending": sorted(trial.config.method for trial in sweep.outcome.pending),
    "files": [str(path) for path in sweep.files],
    "rows": len(frame),
    "columns": list(frame.columns),
    "methods": sorted(set(frame["method"])),
    "board": sweep.leaderboard.equals(engram.read_leaderboard(sys.argv[2], "mixed")),
}))
"""


@dataclass(frozen=True)
class Ran:
    """A folder in which a sweep was run, and what was printed."""

    home: Path
    env: dict[str, str]
    done: subprocess.CompletedProcess[str]
    space: str
    trials: int  # that the search space has

    @property
    def store(self) -> ResultsStore:
        return ResultsStore(self.home / "results")

    @property
    def notes(self) -> list[str]:
        return Path(self.env["ENGRAM_TEST_NOTES"]).read_text().splitlines()

    @property
    def board(self) -> str:
        """The leaderboard as it was printed."""
        return self.done.stdout[self.done.stdout.index("split-digits, class-") :].split("mixed:")[0]

    @property
    def mlflow(self) -> Mlflow:
        """What MLflow holds now."""
        return Mlflow.of(self.home)

    def records(self, method: str) -> list[dict[str, Any]]:
        found = [record for record in self.store.records() if record["method"] == method]
        return sorted(found, key=lambda record: record["seed"])

    def files(self) -> dict[str, int]:
        """When each record was written."""
        folder = self.home / "results" / "trials"
        return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


@dataclass(frozen=True)
class Mlflow:
    """What MLflow holds of the sweep in a folder."""

    client: MlflowClient
    parent: Any
    children: list[Any]

    @classmethod
    def of(cls, home: Path) -> Mlflow:
        client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
        experiments = [e for e in client.search_experiments() if e.name != "Default"]
        assert [e.name for e in experiments] == ["mixed"]
        runs = list(client.search_runs([experiments[0].experiment_id], max_results=1000))
        (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
        return cls(client, parent, [run for run in runs if run is not parent])

    def child(self, record: dict[str, Any]) -> Any:
        (run,) = (r for r in self.children if r.data.tags["engram.trial"] == record["id"])
        return run

    def files(self, run: Any) -> set[str]:
        return {file.path for file in self.client.list_artifacts(run.info.run_id)}


@pytest.fixture(scope="package")
def plugin(install: Callable[[], dict[str, str]]) -> dict[str, str]:
    """Methods that misbehave, which note for all sweeps here in one file what they did."""
    return install()


@pytest.fixture(scope="package")
def first(engram: Any, plugin: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The sweep, run once."""
    home = tmp_path_factory.mktemp("first")
    (home / "space.yaml").write_text(SPACE)
    return Ran(home, plugin, engram("run", "space.yaml", cwd=home, env=plugin), SPACE, TRIALS)


@pytest.fixture(scope="package")
def once_more(engram: Any, first: Ran) -> tuple[Ran, dict[str, int], int]:
    """The same command again; when the records were written and what was noted before.

    In between, MLflow looks as if the first one had been killed while it wrote a run there.
    """
    files, notes = first.files(), len(first.notes)
    found = first.mlflow
    half = found.child(first.records("naive")[0]).info.run_id
    found.client.set_tag(half, "engram.outcome", "running")
    found.client.update_run(half, status="RUNNING")
    again = engram("run", "space.yaml", cwd=first.home, env=first.env)
    return replace(first, done=again), files, notes


@pytest.fixture(scope="package")
def reverse(
    engram: Any, first: Ran, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Ran, dict[str, Any]]:
    """The trials in another order, from Python, in another folder, without MLflow."""
    home = tmp_path_factory.mktemp("reverse")
    (home / "space.yaml").write_text(REVERSED)
    done = subprocess.run(
        [sys.executable, "-c", API, "space.yaml", "results", str(home / "data")],
        cwd=home,
        env=engram.environment(first.env),
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    ran = Ran(home, first.env, done, REVERSED, TRIALS + 2)
    return ran, json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="package")
def retried(engram: Any, reverse: tuple[Ran, dict[str, Any]]) -> tuple[Ran, int, dict[str, int]]:
    """That folder again with --retry and MLflow, on a machine on which nothing dies any more."""
    ran, _ = reverse
    raised, files = ran.notes.count("raises"), ran.files()
    Path(ran.env["ENGRAM_TEST_CURE"]).touch()
    done = engram("run", "space.yaml", "--retry", cwd=ran.home, env=ran.env)
    return replace(ran, done=done), raised, files
