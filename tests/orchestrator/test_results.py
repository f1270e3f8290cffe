from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.errors import UserError
from orchestrator.metrics import METRICS
from orchestrator.results import DETERMINISTIC, SCHEMA, VOLATILE, ResultsStore

WRITER = """
import sys
from pathlib import Path
from test_records import record
from orchestrator.results import ResultsStore

store = ResultsStore(Path(sys.argv[1]))
while True:
    for n in range(8):
        store.write(record(f"{n:016x}", traceback="x" * 300_000))
        store.write_sweep("sweep", [{"id": "y" * 300_000}])
        print("wrote", flush=True)
"""


def record(trial: str = "0" * 16, **changed: Any) -> dict[str, Any]:
    """A record as a trial makes it."""
    columns: dict[str, Any] = {
        field.name: ""
        if field.type == pa.string()
        else {"network": 1}
        if pa.types.is_map(field.type)
        else []
        if pa.types.is_list(field.type)
        else 0
        for field in SCHEMA
    }
    columns |= {
        "schema": 1,
        "id": trial,
        "outcome": "finished",
        "accuracy": [[float("nan")] * 2, [0.5, float("nan")], [0.25, 0.75]],
        "started": int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000),
        **dict.fromkeys(METRICS, 0.5),
    }
    return columns | changed


@pytest.fixture
def store(tmp_path: Path) -> ResultsStore:
    return ResultsStore(tmp_path / "results")


def test_a_record_comes_back_as_it_was_written(store: ResultsStore) -> None:
    written = record(bytes_by_owner={"network": 3, "memory": 5}, cause="naïve ✓", seed=2**63 - 1)
    store.write(written)
    (found,) = store.records()
    assert found.pop("started") == datetime(2026, 1, 1, tzinfo=UTC)
    assert repr(found.pop("accuracy")) == repr(written.pop("accuracy"))
    assert found == {key: value for key, value in written.items() if key != "started"}
    assert store.outcomes() == {written["id"]: "finished"}


def test_an_empty_store_has_the_columns_and_no_rows(store: ResultsStore) -> None:
    assert store.read().schema.names == SCHEMA.names
    assert store.read().num_rows == 0
    assert store.outcomes() == {}
    assert store.sweep_names() == []
    assert not store.folder.exists()


def test_records_are_sorted_and_can_be_chosen(store: ResultsStore) -> None:
    for trial in ("cc", "aa", "bb"):
        store.write(record(trial))
    assert store.ids() == {"aa", "bb", "cc"}
    assert [row["id"] for row in store.records()] == ["aa", "bb", "cc"]
    assert [row["id"] for row in store.records(["cc", "aa", "not there"])] == ["aa", "cc"]
    assert store.records([]) == []


def test_writing_again_replaces(store: ResultsStore) -> None:
    store.write(record("aa", outcome="error", cause="first"))
    store.write(record("aa"))
    (found,) = store.records()
    assert (found["outcome"], found["cause"]) == ("finished", "")
    assert [path.name for path in store.trials.iterdir()] == ["aa.arrow"]


def test_equal_records_are_equal_files(store: ResultsStore) -> None:
    first = store.write(record("aa")).read_bytes()
    assert store.write(record("aa")).read_bytes() == first
    assert store.write(record("aa", seed=1)).read_bytes() != first


def test_stores_are_merged_by_copying_their_files(tmp_path: Path) -> None:
    one, two = ResultsStore(tmp_path / "one"), ResultsStore(tmp_path / "two")
    for trial in ("aa", "bb"):
        one.write(record(trial))
    for trial in ("bb", "cc"):
        two.write(record(trial))
    one.write_sweep("first", [{"id": "aa"}])
    two.write_sweep("second", [{"id": "cc"}])
    shutil.copytree(two.folder, one.folder, dirs_exist_ok=True)
    assert [row["id"] for row in one.records()] == ["aa", "bb", "cc"]
    assert one.sweep_names() == ["first", "second"]
    assert one.read_sweep("second") == [{"id": "cc"}]


def test_times_and_hosts_are_volatile_and_results_are_not() -> None:
    assert set(VOLATILE) | set(DETERMINISTIC) == set(SCHEMA.names)
    assert {"started", "seconds", "seconds_by_phase", "host", "commit", "traceback"} < set(VOLATILE)
    assert {"id", "config", "seed", "outcome", "cause", "accuracy", "bytes_by_owner", *METRICS} < (
        set(DETERMINISTIC)
    )


@pytest.mark.parametrize("kept", [0, 1, 100, -8])
def test_a_damaged_file_is_named_with_what_to_do(kept: int, store: ResultsStore) -> None:
    store.write(record("aa"))
    path = store.write(record("bb"))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError) as caught:
        store.read()
    assert str(path) in str(caught.value)
    assert "delete it to run the trial again" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    path.unlink()
    assert store.outcomes() == {"aa": "finished"}


def test_a_bad_record_is_no_matter_to_whom_does_not_ask_for_it(store: ResultsStore) -> None:
    store.write(record("aa"))
    store.write(record("bb", schema=2))
    assert store.outcomes(["aa", "not there"]) == {"aa": "finished"}
    with pytest.raises(UserError, match="delete it, or use another folder with --results"):
        store.outcomes(["aa", "bb"])


def test_a_record_of_another_version_is_named(store: ResultsStore) -> None:
    path = store.write(record("aa", schema=2))
    with pytest.raises(UserError, match="another version of Engram") as caught:
        store.read()
    assert str(path) in str(caught.value)

    fewer = pa.table({"schema": pa.array([1], pa.int32()), "id": ["aa"]})
    for table in (fewer, SCHEMA.empty_table()):
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
        with pytest.raises(UserError, match="another version of Engram"):
            store.read()


def test_sweeps_come_back_and_unknown_ones_list_the_others(store: ResultsStore) -> None:
    store.write_sweep("b", [{"id": "aa", "seed": 1}])
    store.write_sweep("a", [])
    assert store.sweep_names() == ["a", "b"]
    assert store.read_sweep("b") == [{"id": "aa", "seed": 1}]
    with pytest.raises(UserError, match="holds no sweep 'c'; there are: a, b"):
        store.read_sweep("c")


def test_a_damaged_sweep_is_named_with_what_to_do(store: ResultsStore) -> None:
    store.write_sweep("a", [{"id": "aa"}])
    path = store.sweeps / "a.json"
    path.write_text(path.read_text()[:5])
    with pytest.raises(UserError, match="run the sweep again") as caught:
        store.read_sweep("a")
    assert str(path) in str(caught.value)


def test_a_folder_that_cannot_be_written_is_a_user_s_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for folder in (tmp_path / "file" / "results", tmp_path / "file"):
        store = ResultsStore(folder)
        with pytest.raises(UserError, match="choose another folder with --results"):
            store.check_writable()
    assert ResultsStore(tmp_path / "file").outcomes() == {}, "reading finds nothing there"


def test_checking_leaves_nothing_but_folders(store: ResultsStore) -> None:
    store.check_writable()
    assert [path for path in store.folder.rglob("*") if path.is_file()] == []


def test_a_writer_killed_at_any_moment_leaves_whole_records_only(
    store: ResultsStore, tmp_path: Path
) -> None:
    (tmp_path / "test_records.py").write_text(Path(__file__).read_text())
    (tmp_path / "writer.py").write_text(WRITER)
    for round_ in range(4):
        writer = subprocess.Popen(
            [sys.executable, str(tmp_path / "writer.py"), str(store.folder)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
        )
        assert writer.stdout is not None
        with writer.stdout:
            assert writer.stdout.readline() == b"wrote\n"
            time.sleep(0.037 * round_)
            writer.send_signal(signal.SIGKILL)
            writer.wait()
        records = store.records()
        assert records
        assert {len(found["traceback"]) for found in records} == {300_000}
        assert len(store.read_sweep("sweep")[0]["id"]) == 300_000


def test_what_a_sweep_says_of_itself_is_kept(tmp_path: Path) -> None:
    store = ResultsStore(tmp_path)
    assert store.read_about("digits") == {}
    about = {"description": "A first look: 8 × 8", "command": "engram run digits"}
    store.write_about("digits", about)
    assert store.read_about("digits") == about
    assert store.sweep_names() == []
    (tmp_path / "sweeps" / "about" / "digits.json").write_text("{")
    with pytest.raises(UserError, match="run the sweep again"):
        store.read_about("digits")
