"""MLflow has an audit's numbers at their tasks and its last flag, live and from a record alike."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.audit.config import Audit
from orchestrator.results import ResultsStore
from orchestrator.tracking.client import connect
from orchestrator.tracking.run_page import RunHead
from orchestrator.tracking.runs import SweepRuns
from orchestrator.trial_run import Report, TrialRun


@pytest.fixture
def told(trial: Any, steps: Any, replaying: Any) -> tuple[TrialRun, list[Report]]:
    run = trial(replaying(lambda x, y: (x, y * 0)), audit=Audit(draws=200, judge_iterations=50))
    return run, list(steps(run))


def run_in(home: Path, run: TrialRun, reports: list[Report]) -> tuple[MlflowClient, Any]:
    """Write what a trial told, all but the last of it live, and find its run."""
    record = reports[-1].record
    assert record is not None
    store = ResultsStore(home / "store")
    store.write(record)
    uri = f"sqlite:///{home / 'mlflow.db'}"
    runs = SweepRuns("audited", [record["id"]], {}, "", uri, store)
    runs.connect()
    for report in reports[:-1]:
        head = RunHead.of_config(record["id"], run.trial.config)
        runs.write_report(head, report, int(time.time() * 1000))
    (stored,) = store.records()
    runs.write_record(stored, None, int(time.time() * 1000))
    runs.end("FINISHED")
    client = connect(uri)
    (experiment,) = (e for e in client.search_experiments() if e.name == "audited")
    found = client.search_runs([experiment.experiment_id], "tags.`engram.trial` != ''")
    (child,) = found
    return client, child


def test_a_sweep_and_a_later_sync_write_the_same(
    told: tuple[TrialRun, list[Report]], tmp_path: Path
) -> None:
    run, reports = told
    record = reports[-1].record
    assert record is not None
    for name, live in (("live", reports), ("synced", reports[-1:])):
        home = tmp_path / name
        home.mkdir()
        client, child = run_in(home, run, live)
        for measure, last in record["audit"][-1].items():
            history = client.get_metric_history(child.info.run_id, f"audit/{measure}")
            wanted = {i: row[measure] for i, row in enumerate(record["audit"], 1)}
            assert len(history) == len(wanted)
            assert {m.step: m.value for m in history} == pytest.approx(wanted)
            assert child.data.metrics[f"audit/{measure}"] == pytest.approx(last)
        flag = record["audit_flags"][-1]
        assert flag
        assert child.data.tags["engram.replay"] == flag
        assert f"Replay: `{flag}`" in child.data.tags["mlflow.note.content"]


def test_where_nothing_is_audited_nothing_is_written(
    trial: Any, steps: Any, replaying: Any, tmp_path: Path
) -> None:
    run = trial(replaying(), audit=Audit(enabled=False))
    _, child = run_in(tmp_path, run, list(steps(run)))
    assert not [name for name in child.data.metrics if name.startswith("audit/")]
    assert "engram.replay" not in child.data.tags
