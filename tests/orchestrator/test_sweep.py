"""Whole sweeps on real Ray and real MLflow, few and shared by many tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from filelock import FileLock
from mlflow import MlflowClient

from orchestrator.results import DETERMINISTIC, ResultsStore

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


@pytest.fixture(scope="module")
def first(engram: Any, plugin: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The sweep, run once."""
    home = tmp_path_factory.mktemp("first")
    (home / "space.yaml").write_text(SPACE)
    return Ran(home, plugin, engram("run", "space.yaml", cwd=home, env=plugin))


@pytest.fixture(scope="module")
def once_more(engram: Any, first: Ran) -> tuple[Ran, dict[str, int], int]:
    """The same command again; when the records were written and what was noted before.

    In between, MLflow looks as if the first one had been killed while it wrote a run there.
    """
    files, notes = first.files(), len(first.notes)
    found = Mlflow.of(first.home)
    half = found.child(first.records("naive")[0]).info.run_id
    found.client.set_tag(half, "engram.outcome", "running")
    found.client.update_run(half, status="RUNNING")
    again = engram("run", "space.yaml", cwd=first.home, env=first.env)
    return Ran(first.home, first.env, again), files, notes


@pytest.fixture(scope="module")
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
    return Ran(home, first.env, done), json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def retried(engram: Any, reverse: tuple[Ran, dict[str, Any]]) -> tuple[Ran, int, dict[str, int]]:
    """That folder again with --retry and MLflow, on a machine on which nothing dies any more."""
    ran, _ = reverse
    raised, files = ran.notes.count("raises"), ran.files()
    Path(ran.env["ENGRAM_TEST_CURE"]).touch()
    done = engram("run", "space.yaml", "--retry", cwd=ran.home, env=ran.env)
    return Ran(ran.home, ran.env, done), raised, files


# One run ------------------------------------------------------------------------------------------


def test_a_sweep_runs_to_its_end_whatever_single_trials_do(first: Ran) -> None:
    assert first.done.returncode == 1, "some trials ended with an error"
    assert f"mixed: {TRIALS} of {TRIALS} trials done, {TRIALS} of them now" in first.done.stdout
    assert "Did not finish: 2 diverged, 2 error" in first.done.stdout
    assert Counter((r["method"], r["outcome"]) for r in first.store.records()) == {
        ("naive", "finished"): 2,
        ("replay", "finished"): 2,
        ("test-tells", "finished"): 2 * (CORES + 1),
        ("test-dies-once", "finished"): 2,
        ("test-raises", "error"): 2,
        ("test-diverges", "diverged"): 2,
    }


def test_a_trial_that_raises_is_recorded_with_cause_and_traceback(first: Ran) -> None:
    for record in first.records("test-raises"):
        assert record["cause"] == "ZeroDivisionError: as planned"
        assert "misbehaving.py" in record["traceback"]
        assert "before_task" in record["traceback"]
        assert len(record["accuracy"]) == 2, "the task learnt before is kept"
        assert record["average_accuracy"] != record["average_accuracy"], "but not scored"
        assert re.search(rf"error: .*/test-raises/.*{record['id']}", first.done.stdout)


def test_a_trial_that_diverges_is_recorded_with_its_cause(first: Ran) -> None:
    for record in first.records("test-diverges"):
        assert record["cause"] == "loss term 'new' is nan at step 6 of task 2"
        assert record["traceback"] == ""
        assert f"({record['id']}): {record['cause']}" in first.done.stdout


def test_a_trial_whose_worker_is_killed_is_run_again_from_its_start(first: Ran) -> None:
    assert Path(first.env["ENGRAM_TEST_NOTES"]).with_name("scar").exists()
    for died, naive in zip(first.records("test-dies-once"), first.records("naive"), strict=True):
        assert died["outcome"] == "finished"
        assert died["id"] != naive["id"]
        assert repr(died["accuracy"]) == repr(naive["accuracy"])


def test_trials_share_processes_and_have_one_thread(first: Ran) -> None:
    told = [line.split() for line in first.notes if line.startswith("process")]
    trials = len(first.records("test-tells"))
    assert len(told) >= 2 * trials  # one for each task
    assert {line[3] for line in told} == {"1"}
    assert len({line[1] for line in told}) < trials


def test_another_seed_gives_another_result(first: Ran) -> None:
    for method in ("naive", "replay"):
        zero, one = first.records(method)
        assert (zero["seed"], one["seed"]) == (0, 1)
        assert repr(zero["accuracy"]) != repr(one["accuracy"])


def test_the_leaderboard_counts_what_did_not_finish(first: Ran) -> None:
    assert "2 errors" in first.board
    assert "2 diverged" in first.board
    assert "Trials not in the means: 0 missing, 2 diverged, 2 with errors." in first.board
    saved = first.home / "results" / "leaderboards" / "mixed"
    kinds = {"leaderboard.md", "leaderboard.parquet", "leaderboard.html"}
    assert {path.name for path in saved.iterdir()} == kinds
    for path in saved.iterdir():
        assert str(path.relative_to(first.home)) in first.done.stdout
    assert " ui mixed" in first.done.stdout


def test_nothing_is_left_in_the_working_folder_but_what_is_named(first: Ran) -> None:
    assert {path.name for path in first.home.iterdir()} == {
        *("space.yaml", "data", "results"),
        *("mlflow.db", "mlartifacts"),
    }
    assert {path.name for path in (first.home / "results").iterdir()} == {
        *("trials", "curves", "sweeps", "leaderboards", "code", ".lock"),
        "checkpoints",  # of the trial that has no record
    }


# MLflow -------------------------------------------------------------------------------------------


def test_mlflow_holds_one_parent_and_one_child_for_each_trial(first: Ran) -> None:
    found = Mlflow.of(first.home)
    assert found.parent.info.status == "FINISHED"
    assert found.files(found.parent) >= {
        "search_space.yaml",
        "environment.json",
        "leaderboard.md",
        "leaderboard.html",
    }
    text = found.client.download_artifacts(found.parent.info.run_id, "search_space.yaml")
    assert Path(text).read_text() == SPACE
    assert {run.data.tags["mlflow.parentRunId"] for run in found.children} == {
        found.parent.info.run_id
    }
    assert len(found.children) == TRIALS
    for record in first.store.records():
        tags = found.child(record).data.tags
        assert tags["engram.outcome"] == record["outcome"]
        assert tags["engram.variant"] == "corrected"
        assert tags.get("engram.cause", "") == record["cause"]
        assert record["id"] in tags["mlflow.note.content"]


def test_a_run_has_the_flat_configuration_as_parameters(first: Ran) -> None:
    found = Mlflow.of(first.home)
    for record in first.records("replay"):
        params = found.child(record).data.params
        wanted = {
            "method": "replay",
            "dataset": "split-digits",
            "scenario": "class-incremental",
            "tasks": "2",
            "buffer_size": "10",
            "freeze_depth": "0",
            "network.name": "mlp",
            "budget.iterations": "6",
            "seed": str(record["seed"]),
        }
        assert {key: params.get(key) for key in wanted} == wanted


def test_a_run_has_its_metrics_by_task(first: Ran) -> None:
    found = Mlflow.of(first.home)
    for record in [*first.records("naive"), *first.records("test-dies-once")]:
        run = found.child(record)
        history = found.client.get_metric_history(run.info.run_id, "average_accuracy")
        rows = record["accuracy"]
        assert [(m.step, m.value) for m in history] == [
            (1, pytest.approx(rows[1][0])),
            (2, pytest.approx(sum(rows[2]) / 2)),
        ]
        metrics = run.data.metrics
        assert metrics["average_accuracy"] == pytest.approx(record["average_accuracy"])
        assert metrics["forgetting"] == pytest.approx(record["forgetting"])
        assert metrics["bytes/network"] == dict(record["bytes_by_owner"])["network"]
        assert metrics["seconds/fit"] > 0
        assert any(name.startswith("loss/") for name in metrics)


def test_a_run_has_its_pictures_and_its_status(first: Ran) -> None:
    found = Mlflow.of(first.home)
    always = {"config.yaml", "accuracy_matrix.csv", "accuracy_matrix.svg"}
    more = {
        "finished": {"confusion_matrix.csv", "confusion_matrix.svg"},
        "error": {"traceback.txt"},
        "diverged": set(),
    }
    for record in first.store.records():
        run = found.child(record)
        assert found.files(run) == always | more[record["outcome"]]
        assert run.info.status == ("FINISHED" if record["outcome"] == "finished" else "FAILED")


# The same command again ---------------------------------------------------------------------------


def test_the_same_command_runs_nothing_twice(
    first: Ran, once_more: tuple[Ran, dict[str, int], int]
) -> None:
    again, files, notes = once_more
    assert again.done.returncode == 1
    assert f"mixed: {TRIALS} of {TRIALS} trials done, 0 of them now" in again.done.stdout
    assert again.files() == files
    assert len(again.notes) == notes
    assert again.board == first.board
    assert "Did not finish: 2 diverged, 2 error" in again.done.stdout
    assert "--retry" in again.done.stdout


def test_the_same_command_leaves_no_duplicates_in_mlflow(
    first: Ran, once_more: tuple[Ran, dict[str, int], int]
) -> None:
    assert once_more[0].done.returncode == 1
    found = Mlflow.of(first.home)
    assert found.parent.info.status == "FINISHED"
    trials = [run.data.tags["engram.trial"] for run in found.children]
    assert sorted(trials) == sorted(first.store.ids())


def test_a_run_that_was_left_half_written_is_completed(
    first: Ran, once_more: tuple[Ran, dict[str, int], int]
) -> None:
    assert once_more[0].done.returncode == 1
    run = Mlflow.of(first.home).child(first.records("naive")[0])
    assert run.data.tags["engram.outcome"] == "finished"
    assert run.info.status == "FINISHED"
    assert run.data.metrics["average_accuracy"] > 0


# Another order, from Python -----------------------------------------------------------------------


def test_the_order_of_a_sweep_changes_no_digit(
    first: Ran, reverse: tuple[Ran, dict[str, Any]]
) -> None:
    other = reverse[0].store
    common = first.store.ids()
    assert len(common) == TRIALS
    assert common == other.ids()

    def content(store: ResultsStore) -> bytes:
        table = store.read(common).select(DETERMINISTIC).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue().to_pybytes()

    assert content(first.store) == content(other)


def test_a_worker_that_always_dies_is_tried_again_and_never_scored(
    reverse: tuple[Ran, dict[str, Any]],
) -> None:
    ran, told = reverse
    assert told["trials"] == TRIALS + 2
    assert told["ran"] == TRIALS
    assert told["failed"] == ["diverged"] * 2 + ["error"] * 2 + ["infrastructure"] * 2
    assert told["pending"] == ["test-dies"] * 2
    assert ran.notes.count("dies") == 2 * 3
    board = (ran.home / "results/leaderboards/mixed/leaderboard.md").read_text()
    assert "2 missing, 2 diverged, 2 with errors" in board


def test_the_python_api_returns_data_frames(reverse: tuple[Ran, dict[str, Any]]) -> None:
    ran, told = reverse
    assert told["board"] is True
    assert told["rows"] == TRIALS
    assert {"id", "method", "seed", "accuracy", "average_accuracy", "outcome"} <= set(
        told["columns"]
    )
    assert "test-dies" not in told["methods"]
    assert all((ran.home / file).is_file() for file in told["files"])
    printed = [line for line in ran.done.stdout.splitlines() if "(raylet)" not in line]
    assert len(printed) == 1, "a library prints nothing; Ray itself tells of killed workers"
    assert not (ran.home / "mlflow.db").exists()


def test_retry_runs_errors_again_and_leaves_the_rest(
    retried: tuple[Ran, int, dict[str, int]],
) -> None:
    ran, raised, files = retried
    assert ran.done.returncode == 1, ran.done.stderr
    assert f"mixed: {TRIALS + 2} of {TRIALS + 2} trials done, 4 of them now" in ran.done.stdout
    assert ran.notes.count("raises") == raised + 2
    assert [record["outcome"] for record in ran.records("test-raises")] == ["error"] * 2
    assert [record["outcome"] for record in ran.records("test-dies")] == ["finished"] * 2
    errors = {f"{record['id']}.arrow" for record in ran.records("test-raises")}
    rewritten = {
        name for name, time_ in ran.files().items() if files.get(name) not in {time_, None}
    }
    assert rewritten == errors


def test_what_mlflow_lacks_is_written_from_the_records(
    first: Ran, retried: tuple[Ran, int, dict[str, int]]
) -> None:
    ran = retried[0]
    found, live = Mlflow.of(ran.home), Mlflow.of(first.home)
    assert sorted(run.data.tags["engram.trial"] for run in found.children) == sorted(
        ran.store.ids()
    )
    for method in ("naive", "test-diverges"):
        for record in ran.records(method):
            late, then = found.child(record), live.child(record)
            assert late.data.params == then.data.params
            assert late.info.status == then.info.status
            assert late.info.run_name == then.info.run_name
            assert found.files(late) == live.files(then)
            for name in ("average_accuracy", "forgetting"):
                assert late.data.metrics.get(name) == then.data.metrics.get(name)


# When things go wrong -----------------------------------------------------------------------------


def test_mlflow_that_cannot_be_reached_costs_seconds_and_no_result(
    engram: Any, once_more: tuple[Ran, dict[str, int], int]
) -> None:
    ran, files, _ = once_more
    start = time.monotonic()
    env = ran.env | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    done = engram("run", "space.yaml", cwd=ran.home, env=env)
    assert time.monotonic() - start < 60
    assert done.returncode == 1
    assert len(re.findall("(?m)^MLflow is incomplete", done.stdout)) == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert Ran(ran.home, env, done).board == ran.board
    assert ran.files() == files


def test_a_comment_makes_no_new_sweep_and_a_deleted_experiment_comes_back(
    engram: Any, once_more: tuple[Ran, dict[str, int], int]
) -> None:
    ran, files, _ = once_more
    client = MlflowClient(f"sqlite:///{ran.home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("mixed")
    assert experiment is not None
    before = {run.info.run_id for run in client.search_runs([experiment.experiment_id])}
    client.delete_experiment(experiment.experiment_id)
    space = ran.home / "space.yaml"
    space.write_text(space.read_text() + "# a comment\n")
    done = engram("run", "space.yaml", cwd=ran.home, env=ran.env)
    assert "MLflow is incomplete" not in done.stdout
    assert ran.files() == files
    assert client.get_experiment(experiment.experiment_id).lifecycle_stage == "active"
    after = {run.info.run_id for run in client.search_runs([experiment.experiment_id])}
    assert after == before


def test_a_second_run_is_kept_off_the_folder(
    engram: Any, once_more: tuple[Ran, dict[str, int], int]
) -> None:
    ran, _, _ = once_more
    with FileLock(ran.home / "results" / ".lock"):
        done = engram("run", "space.yaml", "--no-mlflow", cwd=ran.home, env=ran.env)
    assert done.returncode == 2
    assert done.stderr.startswith("engram: results: another engram run works on this folder")
    assert done.stderr.count("\n") == 1
