"""The same command again: nothing runs twice, nothing is lost, whatever MLflow does meanwhile."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient

#: The sweep; when records were written and how much was noted before.
OnceMore = tuple[Any, dict[str, int], int]


def test_the_same_command_runs_nothing_twice(first: Any, once_more: OnceMore) -> None:
    again, files, notes = once_more
    assert again.done.returncode == 1
    trials = first.trials
    assert f"mixed: {trials} of {trials} trials done, 0 of them now" in again.done.stdout
    assert again.files() == files
    assert len(again.notes) == notes
    assert again.board == first.board
    assert "Did not finish: 2 diverged, 2 error" in again.done.stdout
    assert "--retry" in again.done.stdout


def test_the_same_command_leaves_no_duplicates_in_mlflow(first: Any, once_more: OnceMore) -> None:
    assert once_more[0].done.returncode == 1
    found = first.mlflow
    assert found.parent.info.status == "FINISHED"
    trials = [run.data.tags["engram.trial"] for run in found.children]
    assert sorted(trials) == sorted(first.store.ids())


def test_a_run_that_was_left_half_written_is_completed(first: Any, once_more: OnceMore) -> None:
    assert once_more[0].done.returncode == 1
    run = first.mlflow.child(first.records("naive")[0])
    assert run.data.tags["engram.outcome"] == "finished"
    assert run.info.status == "FINISHED"
    assert run.data.metrics["average_accuracy"] > 0


# When things go wrong -----------------------------------------------------------------------------


def test_mlflow_that_cannot_be_reached_costs_seconds_and_no_result(
    engram: Any, once_more: OnceMore
) -> None:
    ran, files, _ = once_more
    start = time.monotonic()
    env = ran.env | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
    done = engram("run", "space.yaml", cwd=ran.home, env=env)
    assert time.monotonic() - start < 60
    assert done.returncode == 1
    assert len(re.findall("(?m)^MLflow is incomplete", done.stdout)) == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert replace(ran, done=done).board == ran.board
    assert ran.files() == files


def test_a_comment_makes_no_new_sweep_and_a_deleted_experiment_comes_back(
    engram: Any, once_more: OnceMore
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


def test_a_second_run_is_kept_off_the_folder(engram: Any, once_more: OnceMore) -> None:
    ran, _, _ = once_more
    with FileLock(ran.home / "results" / ".lock"):
        done = engram("run", "space.yaml", "--no-mlflow", cwd=ran.home, env=ran.env)
    assert done.returncode == 2
    assert done.stderr.startswith("engram: results: another engram run works on this folder")
    assert done.stderr.count("\n") == 1
