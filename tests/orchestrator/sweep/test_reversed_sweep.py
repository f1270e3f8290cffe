"""The same trials in another order, from Python, without MLflow; later with it, and again."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from orchestrator.results import DETERMINISTIC, ResultsStore

#: The sweep, and what Python told of it.
Reverse = tuple[Any, dict[str, Any]]
#: The sweep; how many trials had raised and when records were written before.
Retried = tuple[Any, int, dict[str, int]]


def test_the_order_of_a_sweep_changes_no_digit(first: Any, reverse: Reverse) -> None:
    other = reverse[0].store
    common = first.store.ids()
    assert len(common) == first.trials
    assert common == other.ids()

    def content(store: ResultsStore) -> bytes:
        table = store.read(common).select(DETERMINISTIC).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return sink.getvalue().to_pybytes()

    assert content(first.store) == content(other)


def test_a_worker_that_always_dies_is_tried_again_and_never_scored(reverse: Reverse) -> None:
    ran, told = reverse
    assert told["trials"] == ran.trials
    assert told["ran"] == ran.trials - 2
    assert told["failed"] == ["diverged"] * 2 + ["error"] * 2 + ["infrastructure"] * 2
    assert told["pending"] == ["test-dies"] * 2
    assert ran.notes.count("dies") == 2 * 3
    board = (ran.home / "results/leaderboards/mixed/leaderboard.md").read_text()
    assert "2 missing, 2 diverged, 2 with errors" in board


def test_the_python_api_returns_data_frames(reverse: Reverse) -> None:
    ran, told = reverse
    assert told["board"] is True
    assert told["rows"] == ran.trials - 2
    assert {"id", "method", "seed", "accuracy", "average_accuracy", "outcome"} <= set(
        told["columns"]
    )
    assert "test-dies" not in told["methods"]
    assert all((ran.home / file).is_file() for file in told["files"])
    printed = [line for line in ran.done.stdout.splitlines() if "(raylet)" not in line]
    assert len(printed) == 1, "a library prints nothing; Ray itself tells of killed workers"
    assert not (ran.home / "mlflow.db").exists()


def test_retry_runs_errors_again_and_leaves_the_rest(retried: Retried) -> None:
    ran, raised, files = retried
    assert ran.done.returncode == 1, ran.done.stderr
    assert f"mixed: {ran.trials} of {ran.trials} trials done, 4 of them now" in ran.done.stdout
    assert ran.notes.count("raises") == raised + 2
    assert [record["outcome"] for record in ran.records("test-raises")] == ["error"] * 2
    assert [record["outcome"] for record in ran.records("test-dies")] == ["finished"] * 2
    errors = {f"{record['id']}.arrow" for record in ran.records("test-raises")}
    rewritten = {
        name for name, time_ in ran.files().items() if files.get(name) not in {time_, None}
    }
    assert rewritten == errors


def test_what_mlflow_lacks_is_written_from_the_records(first: Any, retried: Retried) -> None:
    ran = retried[0]
    found, live = ran.mlflow, first.mlflow
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
