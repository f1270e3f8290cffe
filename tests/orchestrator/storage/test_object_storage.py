"""Results in an object store: a real server on this machine that speaks S3."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import orchestrator as engram
from orchestrator.checkpoints import Checkpoints
from orchestrator.curves import read_curves
from orchestrator.errors import UserError
from orchestrator.plan import Plan, make_plan
from orchestrator.results import ResultsStore
from orchestrator.storage import Storage

SPACE = """\
name: tiny
dataset: split-digits
tasks: 5
network: {name: mlp, widths: [16]}
budget: {iterations: 5, batch_size: 16}
method: [naive, replay: {buffer_size: 30}]
resources: {cpus: 1}
keep: {model: true}
"""
WRITER = """
import sys
from orchestrator.storage import Storage

storage = Storage(sys.argv[1])
for n in range(1000):
    storage.write("file", bytes([n % 256]) * 30_000_000)
    print("wrote", flush=True)
"""


@pytest.fixture
def uri(s3: Any) -> str:
    found: str = s3.uri(f"{s3.bucket()}/my results")
    return found


@pytest.fixture
def storage(uri: str) -> Storage:
    return Storage(uri)


def copy(source: Storage, to: Storage) -> None:
    """Copy records and sweeps, as ``aws s3 cp --recursive`` does."""
    for folder in ("trials", "sweeps"):
        for name in source.names(folder):
            to.write(f"{folder}/{name}", source.read(f"{folder}/{name}"))


# Files --------------------------------------------------------------------------------------------


def test_files_come_back_from_any_process(storage: Storage) -> None:
    assert storage.names("a") == storage.folders("a") == []
    for name, content in (("a/b/c", b"x"), ("a/empty", b""), ("a/large", b"z" * 20_000_000)):
        storage.write(name, content)
        assert Storage(storage.uri).read(name).to_pybytes() == content
        assert storage.exists(name)
    storage.write("a/b/c", b"other")
    assert storage.read("a/b/c").to_pybytes() == b"other"
    assert (storage.names("a"), storage.names("a", "ge")) == (["empty", "large"], ["large"])
    assert storage.folders("a") == ["b"]
    assert not storage.exists("a/b"), "a folder is no file"


def test_what_is_removed_is_gone_and_may_be_absent(storage: Storage) -> None:
    for name in ("a/one", "a/two", "a/deep/three"):
        storage.write(name, b"")
    for _ in range(2):
        storage.remove("a/one")
        storage.remove_folder("a/deep")
    assert (storage.names("a"), storage.folders("a")) == (["two"], [])
    with pytest.raises(FileNotFoundError):
        storage.read("a/one")
    assert storage.modified("a/one") is None


def test_many_files_come_back_in_their_order(storage: Storage) -> None:
    for i in range(60):
        storage.write(f"many/{i}", str(i).encode())
    asked = [f"many/{i}" for i in reversed(range(60))]
    assert [int(content.to_pybytes()) for content in storage.read_many(asked)] == [
        *reversed(range(60))
    ]
    with pytest.raises(FileNotFoundError):
        list(storage.read_many(["many/1", "many/absent"]))


def test_no_name_leads_out_of_the_folder(storage: Storage) -> None:
    for name in ("../other/file", "/other/file", "a/../../b", ""):
        with pytest.raises(ValueError, match="is no name of a file"):
            storage.write(name, b"")
        with pytest.raises(ValueError, match="is no name of a file"):
            storage.read(name)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_writer_stopped_at_any_moment_leaves_a_whole_file(
    storage: Storage, end: signal.Signals
) -> None:
    for moment in (0.01, 0.12):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, storage.uri],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert writer.stdout is not None
        with writer.stdout:
            assert writer.stdout.readline() == b"wrote\n"
            time.sleep(moment)
            writer.send_signal(end)
            writer.wait()
        content = storage.read("file").to_pybytes()
        assert len(content) == 30_000_000
        assert content == content[:1] * len(content)


# What goes wrong ----------------------------------------------------------------------------------


def told(*uses: Callable[[], object]) -> str:
    """What is said where a store cannot be used; within seconds, and without the credentials."""
    said = set()
    for use in uses:
        start = time.monotonic()
        with pytest.raises(UserError) as caught:
            use()
        assert time.monotonic() - start < 20, "3 s on a free machine"
        assert isinstance(caught.value, OSError)
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)
        said.add(re.split(r" \(|;", str(caught.value))[0])
    assert len(said) == 1, "the same of writing and of reading"
    return said.pop()


def test_a_bucket_that_is_not_there_is_told(s3: Any) -> None:
    storage = Storage(s3.uri("no-such-bucket/results"))
    message = told(storage.check_writable, lambda: storage.names("trials"))
    assert message.startswith("s3://no-such-bucket/results?endpoint_override=127.0.0.1:")
    assert message.endswith("there is no such bucket")


def test_credentials_that_are_refused_are_told(s3: Any, storage: Storage) -> None:
    with s3.refusing():
        uses = (storage.check_writable, lambda: storage.names("a"), lambda: storage.read("a/b"))
        assert told(*uses).endswith("access was refused")
    storage.check_writable()


@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_server_that_is_not_there_is_told(scheme: str) -> None:
    more = "&retry_limit_seconds=1" if scheme == "gs" else ""
    user = "anonymous" if scheme == "gs" else "anybody:secret"
    there = f"endpoint_override=127.0.0.1:9&scheme=http{more}"
    storage = Storage(f"{scheme}://{user}@bucket/results?{there}")
    message = told(lambda: storage.names("trials"))
    assert message.startswith(f"{scheme}://bucket/results?{there}: it cannot be reached")


def test_the_address_and_the_credentials_may_come_from_the_environment(
    s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(key, "anything")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{s3.address}")
    storage = Storage(f"s3://{s3.bucket()}")
    storage.write("a/file", b"content")
    assert storage.read("a/file").to_pybytes() == b"content"
    assert storage.path("a/file") == f"{storage.shown}/a/file"


def test_the_command_line_tells_it_in_one_line(
    s3: Any, engram: Callable[..., Any], tmp_path: Path
) -> None:
    done = engram("leaderboard", "--results", s3.uri("no-such-bucket/results"), cwd=tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "there is no such bucket" in done.stderr
    assert "secret" not in done.stderr


# Results ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def tiny(home: Path) -> Plan:
    (home / "tiny.yaml").write_text(SPACE)
    return make_plan(home / "tiny.yaml", home / "data")


@pytest.fixture(scope="module")
def swept(s3: Any, home: Path, tiny: Plan) -> str:
    """Results of a sweep that were written to the object store and nowhere else."""
    uri: str = s3.uri(f"{s3.bucket()}/my results")
    before = os.getcwd()
    os.chdir(home)
    try:
        done = engram.run(home / "tiny.yaml", results=uri, data=home / "data", mlflow=False)
    finally:
        os.chdir(before)
    assert done.outcome.failed == {}
    assert {path.name for path in home.iterdir()} == {"tiny.yaml", "data"}
    assert set(done.outcome.outcomes) == {trial.id for trial in tiny.trials}
    assert [Path(file).name for file in done.files] == [
        f"leaderboard.{suffix}" for suffix in ("md", "parquet", "html")
    ]
    return uri


def test_a_sweep_is_recorded_in_the_store(swept: str, tiny: Plan) -> None:
    store, ids = ResultsStore(swept), {trial.id for trial in tiny.trials}
    assert store.outcomes() == dict.fromkeys(ids, "finished")
    assert store.sweep_names() == ["tiny"]
    assert Checkpoints(store.storage).models() == ids
    assert Checkpoints(store.storage).under_way() == []
    assert all(read_curves(store.storage, trial) for trial in ids)
    assert store.storage.names("leaderboards/tiny") == [
        *("leaderboard.html", "leaderboard.md", "leaderboard.parquet")
    ]
    assert not store.storage.exists(".running.json"), "the folder is free again"


def test_the_same_command_again_runs_nothing(swept: str, home: Path) -> None:
    again = engram.run(home / "tiny.yaml", results=swept, data=home / "data", mlflow=False)
    assert (again.outcome.ran, again.outcome.pending) == (0, ())


def test_what_was_trained_comes_back(swept: str, tiny: Plan) -> None:
    record = ResultsStore(swept).records()[0]
    method = engram.load(record["id"], results=swept)
    assert method.tasks_learned == record["tasks"]
    frame = engram.read_curves(record["id"], results=swept)
    assert "loss/new" in set(frame["name"])


def test_the_leaderboard_is_that_of_a_folder(swept: str, tmp_path: Path) -> None:
    there, here = ResultsStore(swept), ResultsStore(tmp_path)
    copy(there.storage, here.storage)
    assert repr(here.records()) == repr(there.records())
    pd.testing.assert_frame_equal(engram.read_results(swept), engram.read_results(tmp_path))
    tables = [engram.read_leaderboard(where, "tiny") for where in (swept, tmp_path)]
    pd.testing.assert_frame_equal(*tables)
    assert (tables[0]["n"] == 1).all()
    assert len(tables[0]) == 2


def test_results_of_two_people_merge_by_copying(swept: str, storage: Storage) -> None:
    one, both = ResultsStore(swept), ResultsStore(storage)
    (first, second) = one.records()
    mine = ResultsStore(storage.uri.replace("my results", "their results"))
    for record in (first, second):
        mine.write(record)
    mine.write_sweep("mine", [{"id": first["id"]}])
    both.write(second)
    copy(one.storage, both.storage)
    copy(mine.storage, both.storage)
    assert both.ids() == {first["id"], second["id"]}
    assert both.sweep_names() == ["mine", "tiny"]
    assert len(engram.read_results(both.storage.uri)) == 2


def test_commands_read_the_store(
    swept: str, tiny: Plan, home: Path, engram: Callable[..., Any]
) -> None:
    trial, data = tiny.trials[0].id, ("--data", home / "data")
    for command, wanted in (
        (("plan", home / "tiny.yaml", *data), "2 done"),
        (("show", trial), f"my results/models/{trial}.pt"),
    ):
        done = engram(*command, "--results", swept, cwd=home)
        assert done.returncode == 0, done.stderr
        assert wanted in done.stdout.replace("\n", " ")
        assert "secret" not in done.stdout + done.stderr
