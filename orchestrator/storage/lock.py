"""Keeps a second run off a results folder: it would run the same trials once more."""

from __future__ import annotations

import getpass
import json
import os
import platform
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from orchestrator.errors import UserError
from orchestrator.storage import Storage

#: The lock itself, where the folder is on this machine; and who holds it.
_LOCK, _HOLDER = ".lock", ".running.json"
#: Seconds between two signs of life in an object store, and after how many the holder is dead.
BEAT, EXPIRY = 20.0, 90.0
#: Seconds to wait whether another run wrote its name over ours; and how much of a name is told.
_SETTLE, _LONGEST = 1.0, 80


@dataclass(frozen=True)
class _Holder:
    """Who works on a folder; all of it is text for whoever comes second."""

    command: str
    pid: str
    host: str
    user: str
    since: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    machine: str = field(default_factory=lambda: _machine())
    key: str = field(default_factory=lambda: secrets.token_hex(16))

    @classmethod
    def here(cls, command: str) -> _Holder:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container may know no names
            user = ""
        return cls(command, str(os.getpid()), platform.node(), user)

    @classmethod
    def read(cls, storage: Storage) -> _Holder | None:
        """Return who says to hold a folder; None where nobody does, or in no words of ours."""
        try:
            said = json.loads(storage.read(_HOLDER).to_pybytes())
            return cls(**{f.name: str(said[f.name])[:_LONGEST] for f in fields(cls)})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None

    def write(self, storage: Storage) -> None:
        storage.write(_HOLDER, json.dumps(asdict(self)).encode())

    def is_dead(self) -> bool:
        """Whether it was a process of this machine that is no more."""
        if not self.machine or self.machine != _machine() or not self.pid.isdigit():
            return False
        try:
            os.kill(int(self.pid), 0)
        except (ProcessLookupError, OverflowError):
            return True
        except PermissionError:  # somebody else's
            return False
        return False

    def __str__(self) -> str:
        told = [f"pid {self.pid} on {self.host}", f"user {self.user}" if self.user else ""]
        try:
            began = datetime.fromisoformat(self.since).astimezone()
            today = began.date() == datetime.now().astimezone().date()
            told.append(f"since {began:%H:%M}" if today else f"since {began:%Y-%m-%d %H:%M}")
        except ValueError:
            pass  # when is not known, the rest is
        return f"{self.command} ({', '.join(filter(None, told))})"


@contextmanager
def only_run_on(
    storage: Storage, command: str, *, beat: float = BEAT, expiry: float = EXPIRY
) -> Iterator[None]:
    """Keep a second run off a results folder while this one is in the context.

    On this machine a file lock decides, which the system frees when its process ends, however that
    ends. Object stores have no locks: there a file says who works on the folder, written anew every
    ``beat`` seconds, and the folder is free when that is missing, older than ``expiry`` seconds by
    the clock of the store, or of a dead process of this very machine. Two runs that begin within
    the same second may both get in; as records are named after their trials, work is then done
    twice, but nothing counts twice.

    Parameters
    ----------
    storage : Storage
    command : str
        What this run tells a second one that it is, such as ``engram run quickstart``.
    beat, expiry : float
        Seconds.

    Raises
    ------
    UserError
        If another run works on the folder; says which.
    """
    lock = _locked(storage)
    if lock is None:
        with _signs_of_life(storage, command, beat, expiry):
            yield
        return
    try:
        _Holder.here(command).write(storage)
        yield
    finally:
        try:
            storage.remove(_HOLDER)
        finally:
            lock.release()


def _locked(storage: Storage) -> FileLock | None:
    """Return the folder's lock, acquired; None where there is no such thing."""
    if storage.local is None:
        return None
    lock = FileLock(storage.local / _LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise _held(storage, _who_has_the_lock(storage)) from None
    except NotImplementedError:  # a network folder that knows no locks
        return None
    except OSError as error:
        raise UserError(
            f"{storage.path(_LOCK)}: cannot be written ({error.strerror}); "
            "choose another folder with --results"
        ) from None
    return lock


@contextmanager
def _signs_of_life(storage: Storage, command: str, beat: float, expiry: float) -> Iterator[None]:
    there = _Holder.read(storage)
    if there is not None and not there.is_dead():
        left = expiry - _age(storage)
        if left > 0:
            raise _held(storage, there, left)
    own = _Holder.here(command)
    own.write(storage)
    time.sleep(min(_SETTLE, beat))
    last = _Holder.read(storage)
    if last is not None and last.key != own.key:
        raise _held(storage, last, expiry)
    done = threading.Event()

    def live() -> None:
        while not done.wait(beat):
            try:
                current = _Holder.read(storage)
                if current is None or current.key == own.key:
                    own.write(storage)
            except OSError:
                continue  # the store is away: the sweep itself will tell, and this tries again

    thread = threading.Thread(target=live, name="results-lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        with suppress(OSError):  # where the store is away, what is left there expires
            current = _Holder.read(storage)
            if current is not None and current.key == own.key:
                storage.remove(_HOLDER)


def _age(storage: Storage) -> float:
    """Return seconds since the last sign of life, by the clock of where the folder lies."""
    asking = f".asking-{secrets.token_hex(8)}"
    try:
        storage.write(asking, b"")
        now, last = storage.modified(asking), storage.modified(_HOLDER)
    finally:
        storage.remove(asking)
    return (now - last).total_seconds() if now and last else float("inf")


def _who_has_the_lock(storage: Storage) -> _Holder | None:
    """Return who holds the file lock; a file of a dead run is not of whom has it now."""
    for _ in range(5):
        holder = _Holder.read(storage)
        if holder is not None and not holder.is_dead():
            return holder
        time.sleep(0.1)  # it has the lock and is about to write its name
    return None


def _held(storage: Storage, holder: _Holder | None, left: float | None = None) -> UserError:
    who = "another engram run" if holder is None else str(holder)
    free = f" (if it is dead, the folder is free in {left:.0f} s)" if left is not None else ""
    return UserError(
        f"{storage.shown}: {who} works on this folder; wait for it{free}, "
        "or give another one with --results"
    )


def _machine() -> str:
    """Name this start of this machine, and what numbers its processes; empty if that is unknown."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""
