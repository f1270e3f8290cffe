"""MLflow is made whole by hand, from a results folder alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.errors import UserError
from orchestrator.results import ResultsStore
from orchestrator.tracking.run_page import RunHead
from orchestrator.tracking.sync import Synced, sync


def run_ids(found: Any) -> dict[str, str]:
    return {trial: run.info.run_id for trial, run in found.children.items()}


@pytest.fixture
def whole(world: Any) -> Any:
    """Syncs a store of the sweep, which is called `told`, with the server's own database."""

    def write(store: ResultsStore, uri: str = "") -> Synced:
        (done,) = sync(store, ["told"], uri or world.server.database)
        return done

    return write


def test_sweep_and_sync_write_the_same_runs_in_any_order(
    world: Any, whole: Any, tmp_path: Path
) -> None:
    store = world.store(tmp_path, world.ids[:2])
    assert str(whole(store)) == "told: 2 of 4 trials, 2 written, 0 were there"
    half = world.assert_whole("told", world.ids[:2])
    assert half.parents[0].info.status == "KILLED"

    tracker = world.tracker("told", store)
    tracker.start(store.outcomes())
    world.tell(tracker, store, world.ids[2])
    world.tell(tracker, store, world.ids[3], [1, 2])
    assert tracker.close("KILLED") is None
    world.record_trial(store, world.ids[3])

    assert str(whole(store)) == "told: 4 trials, 1 written, 3 were there"
    found = world.assert_whole("told")
    assert found.parents[0].info.run_id == half.parents[0].info.run_id
    assert found.parents[0].info.status == "FINISHED"
    assert run_ids(half).items() <= run_ids(found).items()
    text = found.client.download_artifacts(found.parents[0].info.run_id, "search_space.yaml")
    assert "split-digits" in Path(text).read_text()

    assert str(whole(store)) == "told: 4 trials, 0 written, 4 were there"
    again = world.found("told")
    assert run_ids(again) == run_ids(found)
    assert again.parents[0].info.end_time == found.parents[0].info.end_time


def test_a_merged_folder_is_written_once(world: Any, whole: Any, tmp_path: Path) -> None:
    mine = world.store(tmp_path / "mine", world.ids[:3])
    world.store(tmp_path / "theirs", world.ids[1:])
    with pytest.raises(UserError, match=r"did not take told .Connection refused"):
        whole(mine, "http://127.0.0.1:9")
    shutil.copytree(tmp_path / "theirs", tmp_path / "mine", dirs_exist_ok=True)
    before = world.found("told")
    written = whole(mine)
    assert (written.planned, written.written + written.there) == (4, 4)
    assert run_ids(before).items() <= run_ids(world.assert_whole("told")).items()


def test_results_in_an_object_store_are_written(world: Any, s3: Any) -> None:
    name = "bucket"
    store = world.store(s3.uri(f"{s3.bucket()}/results"), world.ids[:2], name)
    (done,) = sync(store, [name], world.server.database)
    assert str(done) == "bucket: 2 of 4 trials, 2 written, 0 were there"
    world.assert_whole(name, world.ids[:2])


def test_a_run_says_the_same_whether_it_is_planned_or_recorded(world: Any) -> None:
    for trial in world.plan.trials:
        planned = RunHead.of_config(trial.id, trial.config)
        assert planned == RunHead.of_record(world.record(trial.id))
        assert planned.name.endswith(f"split-digits · seed {trial.config.seed}")


def sync_command(monkeypatch: pytest.MonkeyPatch, results: Path, uri: str) -> object:
    """Run `engram sync` and return its exit status."""
    monkeypatch.setattr("sys.argv", ["engram", "sync", "--results", str(results)])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def test_the_command_tells_in_one_line_what_is_wrong(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    world.store(tmp_path, world.ids[:1])
    assert sync_command(monkeypatch, tmp_path, "http://me:hidden@127.0.0.1:9") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("engram: http://127.0.0.1:9: MLflow did not take told (Connection refu")
    assert err.count("\n") == 1


def test_the_command_prints_a_line_for_each_sweep(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    store = world.store(tmp_path, world.ids[:2])
    store.write_sweep("other", [{"id": "0" * 16}])
    assert sync_command(monkeypatch, tmp_path, world.server.database) == 0
    other, told = capsys.readouterr().out.splitlines()
    assert other == "other: 0 of 1 trial, 0 written, 0 were there"
    assert told.startswith("told: 2 of 4 trials, ")
