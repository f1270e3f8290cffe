"""A folder of files on this machine, and the ways to name one anywhere."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from orchestrator.errors import UserError
from orchestrator.storage import Storage
from orchestrator.storage.uri import StorageFailure, failure, open_place, parse_place

SECRET = "wJalrXUtnFEMI%2FK7MDENG"


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "results")


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff", memoryview(b"view"), pa.py_buffer(b"arrow"), b"x" * 3_000_000]
)
def test_a_file_comes_back(storage: Storage, content: bytes | memoryview | pa.Buffer) -> None:
    assert not storage.exists("a/b.bin")
    storage.write("a/b.bin", content)
    assert storage.read("a/b.bin").to_pybytes() == bytes(content)
    assert storage.exists("a/b.bin")
    storage.write("a/b.bin", b"other")
    assert storage.read("a/b.bin").to_pybytes() == b"other"
    assert storage.names("a") == ["b.bin"]


def test_many_files_come_back_in_the_order_that_was_asked_for(storage: Storage) -> None:
    for i in range(30):
        storage.write(f"many/{i}", str(i).encode())
    asked = [f"many/{i}" for i in (7, 3, 29, 3)]
    assert [content.to_pybytes() for content in storage.read_many(asked)] == [
        *(b"7", b"3", b"29", b"3")
    ]
    with pytest.raises(FileNotFoundError):
        list(storage.read_many(["many/1", "many/absent"]))


def test_files_and_folders_are_listed_apart_and_sorted(storage: Storage) -> None:
    for name in ("f/b.json", "f/a.json", "f/a.txt", "f/.hidden.json", "f/deep/er/c.json"):
        storage.write(name, b"")
    assert storage.names("f") == ["a.json", "a.txt", "b.json"]
    assert storage.names("f", ".json") == ["a.json", "b.json"]
    assert storage.folders("f") == ["deep"]
    assert storage.names("absent") == storage.folders("absent") == []
    assert storage.names("f/a.json") == [], "a file is no folder"


def test_what_is_removed_is_gone_and_may_be_absent(storage: Storage) -> None:
    for name in ("a/one", "a/two", "a/deep/three"):
        storage.write(name, b"")
    storage.remove("a/one")
    storage.remove("a/one")
    storage.remove("a/two/no-folder")
    assert storage.names("a") == ["two"]
    storage.remove_folder("a")
    storage.remove_folder("a")
    assert storage.names("a") == []


def test_absent_files_are_told_as_python_does(storage: Storage) -> None:
    with pytest.raises(FileNotFoundError):
        storage.read("absent")
    assert storage.modified("absent") is None
    storage.write("there", b"")
    modified = storage.modified("there")
    assert modified is not None
    assert abs(datetime.now(UTC) - modified) < timedelta(seconds=60)
    assert not storage.exists("there/inside")


@pytest.mark.parametrize(
    "name",
    ["", "..", "../a", "a/../../b", "/etc/passwd", "a//b", "a/", ".", "a/./b", "a\\b", "a\0"],
)
def test_no_name_leads_out_of_the_folder(storage: Storage, name: str) -> None:
    storage.write("a/b", b"")
    for use in (
        *(storage.read, storage.exists, storage.names, storage.folders, storage.modified),
        *(storage.remove, storage.remove_folder, lambda name: storage.write(name, b"")),
    ):
        with pytest.raises(ValueError, match="is no name of a file in a folder"):
            use(name)


def test_a_failed_write_leaves_the_old_file_and_no_other(storage: Storage) -> None:
    storage.write("file", b"old")
    with pytest.raises(TypeError):
        storage.write("file", "text")  # type: ignore[arg-type]
    assert storage.read("file").to_pybytes() == b"old"
    assert [path.name for path in Path(storage.uri).iterdir()] == ["file"]


def test_checking_makes_the_folder_and_leaves_it_empty(storage: Storage) -> None:
    storage.check_writable()
    assert list(Path(storage.uri).iterdir()) == []
    storage.write("file", b"")
    with pytest.raises(UserError, match=r"results cannot be written here .*--results"):
        Storage(Path(storage.uri, "file", "below")).check_writable()


def test_a_storage_opens_the_same_folder_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        storage = Storage("results")
        storage.write("file", b"content")
    finally:
        os.chdir(here)
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer).read('file').to_pybytes())"
    found = subprocess.run(
        [sys.executable, "-c", script],
        input=pickle.dumps(storage),
        capture_output=True,
        cwd=tmp_path / "elsewhere",
        check=True,
    )
    assert found.stdout.strip() == b"b'content'"
    assert Storage(storage.uri).read("file").to_pybytes() == b"content"
    assert (storage.shown, storage.path("a/b")) == ("results", "results/a/b")


def test_a_file_uri_is_a_folder_of_this_machine(tmp_path: Path) -> None:
    storage = Storage(f"{tmp_path.as_uri()}/my%20results/")
    storage.write("a", b"")
    assert storage.local == tmp_path / "my results"
    assert (tmp_path / "my results" / "a").is_file()
    assert storage.path("a") == f"{tmp_path.as_uri()}/my%20results/a"


@pytest.mark.parametrize(
    "folder", ["results", "./results", "a b", "x:y", "C:/results", "odd:/name"]
)
def test_anything_else_is_a_folder(folder: str) -> None:
    storage = Storage(folder)
    assert storage.local == Path.cwd() / folder
    assert storage.shown == folder


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        (f"s3://AKIA123:{SECRET}@bucket/a", "s3://bucket/a"),
        (
            f"S3://k:{SECRET}@bucket/a/?endpoint_override=127.0.0.1:9&scheme=http",
            "s3://bucket/a?endpoint_override=127.0.0.1:9&scheme=http",
        ),
        ("gs://anonymous@bucket/a", "gs://bucket/a"),
        (f"gs://bucket/a?access_token={SECRET}", "gs://bucket/a"),
        (f"abfs://container:{SECRET}@account/a", "abfs://container@account/a"),
        (f"hdfs://user:{SECRET}@host:9000/a?kerb_ticket={SECRET}", "hdfs://host:9000/a"),
    ],
)
def test_credentials_are_not_shown(uri: str, shown: str) -> None:
    storage = Storage(uri)
    assert storage.local is None
    assert storage.shown == shown
    assert storage.path("trials/x") == f"{shown.partition('?')[0]}/trials/x"
    for text in (repr(storage), str(storage), str(failure(parse_place(uri), OSError(uri)))):
        assert SECRET not in text
    assert pickle.loads(pickle.dumps(storage)).uri == storage.uri


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "has no name"),
        ("s4://bucket/a", "s4://…: results cannot lie there"),
        ("http://host/a", "http://…: results cannot lie there"),
        ("s3://", "names no bucket; write s3://BUCKET/FOLDER"),
        ("gs:///a", "names no bucket"),
        ("file://host/a", "write file:///absolute/folder"),
        (Path("s3://bucket/a"), "begins with s3://, and in Python it is a str"),
        ("s3://bucket/a?reigon=x", "unknown option 'reigon'; did you mean 'region'?"),
        ("s3://bucket/a#b", "is no URI that can be read"),
        ("s3://bucket/a?b", "is no URI that can be read"),
        ("s3://AKIA:sec/ret@bucket/a", "must be percent-encoded"),
        ("s3://AKIA:sec?ret@bucket/a", "must be percent-encoded"),
    ],
)
def test_a_uri_that_is_none_is_told_at_once_in_one_line(where: str | Path, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Storage(where)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "sec" not in str(caught.value)


def test_a_failure_is_a_mistake_and_an_error_of_the_system() -> None:
    place = parse_place("s3://bucket/a")
    told = failure(place, OSError("AWS Error ACCESS_DENIED during PutObject operation: Denied; x"))
    assert isinstance(told, UserError)
    assert isinstance(told, OSError)
    assert str(told).startswith("s3://bucket/a: access was refused (Denied); check the credentials")
    assert told.strerror == str(told).removeprefix("s3://bucket/a: ")
    assert str(pickle.loads(pickle.dumps(told))) == str(told)
    assert "mend it" in str(failure(place, OSError("first line\nsecond line")))
    assert "second" not in str(failure(place, OSError("first line\nsecond line")))


@pytest.mark.parametrize("option", ["", "?retry_limit_seconds=3", "?scheme=http"])
def test_google_storage_is_opened(option: str) -> None:
    system, path = open_place(parse_place(f"gs://anonymous@bucket/a/{option}"))
    assert (system.type_name, path) == ("gcs", "bucket/a")


def test_what_needs_a_library_that_is_not_here_says_so() -> None:
    if "HADOOP_HOME" in os.environ:
        pytest.skip("there may be a Hadoop")
    with pytest.raises(StorageFailure, match="hdfs://host/a: cannot be used"):
        Storage("hdfs://host/a").names("trials")


def test_to_name_a_place_opens_nothing_and_loads_nothing() -> None:
    script = (
        "import sys; from orchestrator.storage import Storage; Storage('s3://bucket/a'); "
        "print('pyarrow' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert found.stdout.strip() == b"False"
