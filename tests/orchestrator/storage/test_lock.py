"""One run at a time works on a results folder, and the second is told who."""

from __future__ import annotations

import getpass
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UserError
from orchestrator.storage import Storage, lock
from orchestrator.storage.lock import only_run_on

HOLDER = ".running.json"
RUN = """
import sys, time
from orchestrator.storage.lock import only_run_on
from orchestrator.storage import Storage

with only_run_on(Storage(sys.argv[1]), "engram run quickstart", beat=0.2, expiry=2):
    print("in", flush=True)
    time.sleep(60)
"""
#: Short signs of life, for tests with an object store.
BEAT: dict[str, float] = {"beat": 0.2, "expiry": 2}


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        found = Storage(tmp_path / "results")
        found.check_writable()
        return found
    server: Any = request.getfixturevalue("s3")
    return Storage(server.uri(f"{server.bucket()}/results"))


@contextmanager
def another(storage: Storage) -> Iterator[subprocess.Popen[str]]:
    """A run in a process of its own, which has the folder."""
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, storage.uri], stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    try:
        with run.stdout:
            assert run.stdout.readline() == "in\n"
            yield run
    finally:
        run.kill()
        run.wait()


def content(storage: Storage) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(storage.read(HOLDER).to_pybytes())
    return found


def test_the_second_run_is_told_who_holds_the_folder(storage: Storage) -> None:
    now = datetime.now().astimezone()
    with another(storage) as run:
        start = time.monotonic()
        with pytest.raises(UserError) as caught, only_run_on(storage, "engram run other", **BEAT):
            pass
        assert time.monotonic() - start < 5
    who = f"engram run quickstart (pid {run.pid} on {platform.node()}, user {getpass.getuser()}"
    told = str(caught.value)
    assert told.startswith(f"{storage.shown}: {who}, since {now:%H}:")
    assert " works on this folder; wait for it" in told
    assert told.endswith(", or give another one with --results")
    assert ("the folder is free in" in told) == (storage.local is None)
    assert "\n" not in told
    assert "secret" not in told, "as it stands in the address"


def test_the_folder_is_free_after_a_run_whatever_its_end(storage: Storage) -> None:
    for end in (None, ZeroDivisionError, KeyboardInterrupt):
        with suppress(ZeroDivisionError, KeyboardInterrupt), only_run_on(storage, "one", **BEAT):
            assert storage.exists(HOLDER)
            if end is not None:
                raise end
        assert not storage.exists(HOLDER)


def test_a_run_that_was_killed_holds_nothing(storage: Storage) -> None:
    with another(storage) as run:
        run.send_signal(signal.SIGKILL)
        run.wait()
        assert storage.exists(HOLDER), "it could not clean up"
        with only_run_on(storage, "engram run other", **BEAT):
            assert content(storage)["pid"] == str(os.getpid())


def test_one_process_does_not_get_in_twice(storage: Storage) -> None:
    with (
        only_run_on(storage, "engram run one", **BEAT),
        pytest.raises(UserError, match=rf"engram run one \(pid {os.getpid()} on"),
        only_run_on(storage, "engram run two", **BEAT),
    ):
        pass
    with only_run_on(storage, "engram run two", **BEAT):
        pass


@pytest.mark.parametrize("said", ["", "{", "[]", "{}", '{"pid": []}', "null"])
def test_a_file_that_says_nothing_of_a_holder_is_no_matter(tmp_path: Path, said: str) -> None:
    (tmp_path / HOLDER).write_text(said)
    storage = Storage(tmp_path)
    with only_run_on(storage, "engram run one"):
        (tmp_path / HOLDER).write_text(said)
        with (
            pytest.raises(UserError, match=f"{tmp_path}: another engram run works on this folder"),
            only_run_on(storage, "engram run two"),
        ):
            pass


def test_a_folder_that_takes_no_lock_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with (
        pytest.raises(UserError, match="choose another folder with --results"),
        only_run_on(Storage(tmp_path), "engram run one"),
    ):
        pass


# Object stores ------------------------------------------------------------------------------------


@pytest.fixture
def remote(s3: Any) -> Storage:
    return Storage(s3.uri(f"{s3.bucket()}/results"))


def test_a_run_of_another_machine_holds_until_its_signs_of_life_are_old(remote: Storage) -> None:
    with another(remote) as run:
        run.send_signal(signal.SIGKILL)
        run.wait()
    remote.write(HOLDER, json.dumps(content(remote) | {"machine": "another"}).encode())
    with pytest.raises(UserError, match=r"is free in \d+ s"), only_run_on(remote, "two", **BEAT):
        pass
    until, refused = time.monotonic() + 15, 0
    while time.monotonic() < until:
        try:
            with only_run_on(remote, "two", **BEAT):
                break
        except UserError:
            refused += 1
            time.sleep(0.2)
    else:
        pytest.fail("the folder did not become free")
    assert refused


def test_signs_of_life_keep_a_long_run_in(remote: Storage) -> None:
    with another(remote):
        first = content(remote)
        remote.write(HOLDER, json.dumps(first | {"machine": "another"}).encode())
        time.sleep(4)  # twice the time after which it would be free
        with (
            pytest.raises(UserError, match="engram run quickstart"),
            only_run_on(remote, "two", **BEAT),
        ):
            pass


def test_of_two_that_begin_together_one_gives_way(
    remote: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = json.dumps(
        {
            **dict.fromkeys(("user", "machine"), ""),
            "command": "engram run theirs",
            "pid": "1",
            "host": "far",
            "key": "other",
            "since": datetime(2020, 1, 1, tzinfo=UTC).isoformat(),
        }
    ).encode()
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: remote.write(HOLDER, theirs))
    with (
        pytest.raises(UserError, match=r"engram run theirs \(pid 1 on far, since 20\d\d-\d\d-"),
        only_run_on(remote, "engram run ours", **BEAT),
    ):
        pass
    assert content(remote)["key"] == "other", "what is theirs stays"
