"""A sweep in which single trials fail: what it records, prints, and tells MLflow."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest


def test_a_sweep_runs_to_its_end_whatever_single_trials_do(first: Any) -> None:
    trials = first.trials
    assert first.done.returncode == 1, "some trials ended with an error"
    assert f"mixed: {trials} of {trials} trials done, {trials} of them now" in first.done.stdout
    assert "Did not finish: 2 diverged, 2 error" in first.done.stdout
    assert Counter((r["method"], r["outcome"]) for r in first.store.records()) == {
        ("naive", "finished"): 2,
        ("replay", "finished"): 2,
        ("test-tells", "finished"): trials - 10,  # all others
        ("test-dies-once", "finished"): 2,
        ("test-raises", "error"): 2,
        ("test-diverges", "diverged"): 2,
    }


def test_a_trial_that_raises_is_recorded_with_cause_and_traceback(first: Any) -> None:
    for record in first.records("test-raises"):
        assert record["cause"] == "ZeroDivisionError: as planned"
        assert "misbehaving.py" in record["traceback"]
        assert "before_task" in record["traceback"]
        assert len(record["accuracy"]) == 2, "the task learnt before is kept"
        assert record["average_accuracy"] != record["average_accuracy"], "but not scored"
        assert re.search(rf"error: .*/test-raises/.*{record['id']}", first.done.stdout)


def test_a_trial_that_diverges_is_recorded_with_its_cause(first: Any) -> None:
    for record in first.records("test-diverges"):
        assert record["cause"] == "loss term 'new' is nan at step 6 of task 2"
        assert record["traceback"] == ""
        assert f"({record['id']}): {record['cause']}" in first.done.stdout


def test_a_trial_whose_worker_is_killed_is_run_again_from_its_start(first: Any) -> None:
    assert Path(first.env["ENGRAM_TEST_NOTES"]).with_name("scar").exists()
    for died, naive in zip(first.records("test-dies-once"), first.records("naive"), strict=True):
        assert died["outcome"] == "finished"
        assert died["id"] != naive["id"]
        assert repr(died["accuracy"]) == repr(naive["accuracy"])


def test_trials_share_processes_and_have_one_thread(first: Any) -> None:
    told = [line.split() for line in first.notes if line.startswith("process")]
    trials = len(first.records("test-tells"))
    assert len(told) >= 2 * trials  # one for each task
    assert {line[3] for line in told} == {"1"}
    assert len({line[1] for line in told}) < trials


def test_another_seed_gives_another_result(first: Any) -> None:
    for method in ("naive", "replay"):
        zero, one = first.records(method)
        assert (zero["seed"], one["seed"]) == (0, 1)
        assert repr(zero["accuracy"]) != repr(one["accuracy"])


def test_the_leaderboard_counts_what_did_not_finish(first: Any) -> None:
    assert "2 errors" in first.board
    assert "2 diverged" in first.board
    assert "Trials not in the means: 0 missing, 2 diverged, 2 with errors." in first.board
    saved = first.home / "results" / "leaderboards" / "mixed"
    kinds = {"leaderboard.md", "leaderboard.parquet", "leaderboard.html"}
    assert {path.name for path in saved.iterdir()} == kinds
    for path in saved.iterdir():
        assert str(path.relative_to(first.home)) in first.done.stdout
    assert " ui mixed" in first.done.stdout


def test_nothing_is_left_in_the_working_folder_but_what_is_named(first: Any) -> None:
    assert {path.name for path in first.home.iterdir()} == {
        *("space.yaml", "data", "results"),
        *("mlflow.db", "mlartifacts"),
    }
    assert {path.name for path in (first.home / "results").iterdir()} == {
        *("trials", "curves", "sweeps", "leaderboards", "code", ".lock"),
        "checkpoints",  # of the trial that has no record
    }


# MLflow -------------------------------------------------------------------------------------------


def test_mlflow_holds_one_parent_and_one_child_for_each_trial(first: Any) -> None:
    found = first.mlflow
    assert found.parent.info.status == "FINISHED"
    assert found.files(found.parent) >= {
        "search_space.yaml",
        "environment.json",
        "leaderboard.md",
        "leaderboard.html",
    }
    text = found.client.download_artifacts(found.parent.info.run_id, "search_space.yaml")
    assert Path(text).read_text() == first.space
    assert {run.data.tags["mlflow.parentRunId"] for run in found.children} == {
        found.parent.info.run_id
    }
    assert len(found.children) == first.trials
    for record in first.store.records():
        tags = found.child(record).data.tags
        assert tags["engram.outcome"] == record["outcome"]
        assert tags["engram.variant"] == "corrected"
        assert tags.get("engram.cause", "") == record["cause"]
        assert record["id"] in tags["mlflow.note.content"]


def test_a_run_has_the_flat_configuration_as_parameters(first: Any) -> None:
    found = first.mlflow
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


def test_a_run_has_its_metrics_by_task(first: Any) -> None:
    found = first.mlflow
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


def test_a_run_has_its_pictures_and_its_status(first: Any) -> None:
    found = first.mlflow
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
