from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.errors import UserError
from orchestrator.metrics import METRICS
from orchestrator.results import DETERMINISTIC, SCHEMA, SCHEMA_VERSION, VOLATILE, ResultsStore

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


A, B, C = "a" * 16, "b" * 16, "c" * 16


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
        "schema": SCHEMA_VERSION,
        "id": trial,
        "outcome": "finished",
        "accuracy": [[float("nan")] * 2, [0.5, float("nan")], [0.25, 0.75]],
        "started": int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000),
        **dict.fromkeys(METRICS, 0.5),
    }
    return columns | changed


def file(store: ResultsStore, name: str) -> Path:
    return Path(store.storage.uri, name)


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
    assert not Path(store.storage.uri).exists()


def test_records_are_sorted_and_can_be_chosen(store: ResultsStore) -> None:
    for trial in (C, A, B):
        store.write(record(trial))
    assert store.ids() == {A, B, C}
    assert [row["id"] for row in store.records()] == [A, B, C]
    assert [row["id"] for row in store.records([C, A, "not there"])] == [A, C]
    assert store.records([]) == []


def test_writing_again_replaces(store: ResultsStore) -> None:
    store.write(record(A, outcome="error", cause="first"))
    store.write(record(A))
    (found,) = store.records()
    assert (found["outcome"], found["cause"]) == ("finished", "")
    assert store.storage.names("trials") == [f"{A}.arrow"]


def test_equal_records_are_equal_files(store: ResultsStore) -> None:
    first, again, other = (
        store.storage.read(store.write(found)).to_pybytes()
        for found in (record(A), record(A), record(A, seed=1))
    )
    assert first == again
    assert first != other


def test_stores_are_merged_by_copying_their_files(tmp_path: Path) -> None:
    one, two = ResultsStore(tmp_path / "one"), ResultsStore(tmp_path / "two")
    for trial in (A, B):
        one.write(record(trial))
    for trial in (B, C):
        two.write(record(trial))
    one.write_sweep("first", [{"id": A}])
    two.write_sweep("second", [{"id": C}])
    shutil.copytree(two.storage.uri, one.storage.uri, dirs_exist_ok=True)
    assert [row["id"] for row in one.records()] == [A, B, C]
    assert one.sweep_names() == ["first", "second"]
    assert one.read_sweep("second") == [{"id": C}]


def test_times_and_hosts_are_volatile_and_results_are_not() -> None:
    assert set(VOLATILE) | set(DETERMINISTIC) == set(SCHEMA.names)
    assert {"started", "seconds", "seconds_by_phase", "host", "commit", "traceback"} < set(VOLATILE)
    assert {"id", "config", "seed", "outcome", "cause", "accuracy", "bytes_by_owner", *METRICS} < (
        set(DETERMINISTIC)
    )


@pytest.mark.parametrize("kept", [0, 1, 100, -8])
def test_a_damaged_file_is_named_with_what_to_do(kept: int, store: ResultsStore) -> None:
    store.write(record(A))
    path = file(store, store.write(record(B)))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError) as caught:
        store.read()
    assert str(path) in str(caught.value)
    assert "delete it to run the trial again" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    path.unlink()
    assert store.outcomes() == {A: "finished"}


def test_a_bad_record_is_no_matter_to_whom_does_not_ask_for_it(store: ResultsStore) -> None:
    store.write(record(A))
    store.write(record(B, schema=SCHEMA_VERSION + 1))
    assert store.outcomes([A, "not there"]) == {A: "finished"}
    with pytest.raises(UserError, match="delete it, or use another folder with --results"):
        store.outcomes([A, B])


def test_a_record_of_another_version_is_named(store: ResultsStore) -> None:
    path = file(store, store.write(record(A, schema=SCHEMA_VERSION + 1)))
    with pytest.raises(UserError, match="another version of Engram") as caught:
        store.read()
    assert str(path) in str(caught.value)

    fewer = pa.table({"schema": pa.array([1], pa.int32()), "id": [A]})
    for table in (fewer, SCHEMA.empty_table()):
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
        with pytest.raises(UserError, match="another version of Engram"):
            store.read()


def test_sweeps_come_back_and_unknown_ones_list_the_others(store: ResultsStore) -> None:
    store.write_sweep("b", [{"id": A, "seed": 1}])
    store.write_sweep("a", [])
    assert store.sweep_names() == ["a", "b"]
    assert store.read_sweep("b") == [{"id": A, "seed": 1}]
    with pytest.raises(UserError, match="holds no sweep 'c'; there are: a, b"):
        store.read_sweep("c")


def test_a_damaged_sweep_is_named_with_what_to_do(store: ResultsStore) -> None:
    store.write_sweep("a", [{"id": A}])
    path = file(store, "sweeps/a.json")
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
    assert [path for path in Path(store.storage.uri).rglob("*") if path.is_file()] == []


def test_a_writer_killed_at_any_moment_leaves_whole_records_only(
    store: ResultsStore, tmp_path: Path
) -> None:
    (tmp_path / "test_records.py").write_text(Path(__file__).read_text())
    (tmp_path / "writer.py").write_text(WRITER)
    for round_ in range(4):
        writer = subprocess.Popen(
            [sys.executable, str(tmp_path / "writer.py"), store.storage.uri],
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


def test_a_record_under_another_name_is_told_and_never_counted(store: ResultsStore) -> None:
    store.write(record(A, outcome="diverged"))
    path = file(store, store.write(record(B)))
    path.write_bytes(file(store, f"trials/{A}.arrow").read_bytes())
    for read in (store.read, store.outcomes, store.records):
        with pytest.raises(UserError, match=f"holds the record of another trial, '{A}'") as caught:
            read()
        assert str(caught.value).startswith(f"{path}: ")
    assert store.outcomes([A]) == {A: "diverged"}


def test_files_that_are_no_records_are_none_of_ours(store: ResultsStore) -> None:
    name = store.write(record(A))
    content = file(store, name).read_bytes()
    for stray in (".DS_Store", "notes.txt", f"{A} (copy).arrow", f"{A.upper()}.arrow", "ab.arrow"):
        file(store, f"trials/{stray}").write_bytes(content)
    file(store, f"trials/{B}.arrow").mkdir()
    assert store.ids() == {A}
    assert len(store.records()) == 1
    with pytest.raises(ValueError, match="is no id of a trial"):
        store.write(record("../escaped"))


def test_bytes_that_were_changed_are_told_or_read_and_never_crash(store: ResultsStore) -> None:
    written = record(A, bytes_by_owner={"a": 1}, traceback="é" * 50, config="{}")
    path = file(store, store.write(written))
    whole, chance, told = path.read_bytes(), random.Random(0), 0
    for _ in range(400):
        changed = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 8))):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        path.write_bytes(changed)
        for read in (store.records, store.outcomes):
            with suppress(UserError):
                read()
                continue
            told += 1
    assert told > 100


@pytest.mark.parametrize("content", ["{}", "[1]", '[{"id": 1}]', '[{"seed": 1}]', "[" * 100_000])
def test_a_sweep_that_is_no_plan_is_told(store: ResultsStore, content: str) -> None:
    store.write_sweep("a", [])
    file(store, "sweeps/a.json").write_text(content)
    with pytest.raises(UserError, match="run the sweep again"):
        store.read_sweep("a")


def test_names_of_sweeps_do_not_lead_out_of_the_folder(store: ResultsStore) -> None:
    Path(store.storage.uri).mkdir()
    file(store, "../outside.json").write_text("[]")
    with pytest.raises(UserError, match=r"holds no sweep '\.\./\.\./outside'"):
        store.read_sweep("../../outside")
    with pytest.raises(ValueError, match="is no name of a file"):
        store.write_sweep("../../outside", [])
