"""A folder of named files, on this machine or in an object store."""

from __future__ import annotations

import errno
import os
import posixpath
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.errors import UserError
from orchestrator.storage.atomic import replacing
from orchestrator.storage.uri import StorageFailure, failure, open_place, parse_place

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileSystem

_T = TypeVar("_T")

#: Requests to an object store at once.
_REQUESTS = 16


class Storage:
    """A folder of named files: ``results``, ``s3://bucket/results``, ``gs://bucket/results``.

    Names of files are paths inside the folder, with slashes, as in ``trials/3f2a.arrow``; one that
    would lead out of it is a ``ValueError``. An object can be sent to another machine, where it
    opens the same place; nothing is opened before it is needed.

    Parameters
    ----------
    where : str or Path
        A folder, or a URI that ``pyarrow.fs`` reads. Credentials come from the environment, as
        services have it (``AWS_ACCESS_KEY_ID``), or stand in the URI:
        ``s3://KEY:SECRET@bucket/folder?endpoint_override=127.0.0.1:9000&scheme=http``.

    Attributes
    ----------
    uri : str
        Absolute path or URI, enough to open it on another machine. It may hold credentials.
    shown : str
        For messages: as the user wrote it, without credentials.
    local : Path, optional
        The folder on this machine, if it is one.

    Raises
    ------
    UserError
        If it is no folder and no URI that can be opened.
    StorageFailure
        By all methods, a `UserError` and an `OSError`: if an object store cannot be reached, has no
        such bucket or refuses access. Folders on this machine raise plain OSErrors.
    """

    def __init__(self, where: str | Path) -> None:
        self._place = parse_place(where)
        self.uri, self.shown, self.local = self._place.uri, self._place.shown, self._place.local

    def __repr__(self) -> str:
        return f"Storage({self.shown!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_opened"}

    def write(self, name: str, content: bytes | memoryview | pa.Buffer) -> None:
        """Write a file, whole or not at all, in place of an older one; folders are made.

        Raises
        ------
        OSError
        """
        _check(name)
        if self.local is not None:
            with replacing(self.local / name) as file:
                file.write(content)
            return
        # In a thread, which Ctrl-C does not reach: an interrupted request would leave a part.
        with ThreadPoolExecutor(1, "storage-write") as writer:
            writer.submit(
                self._ask, lambda fs, folder: self._put(fs, folder, name, content)
            ).result()

    def read(self, name: str) -> pa.Buffer:
        """Return the content of a file.

        Raises
        ------
        FileNotFoundError
        OSError
        """
        import pyarrow as pa

        _check(name)
        if self.local is not None:
            with open(f"{self.uri}/{name}", "rb") as file:
                return pa.py_buffer(file.read())

        def get(fs: FileSystem, folder: str) -> pa.Buffer:
            with fs.open_input_file(f"{folder}/{name}") as file:
                return file.read_buffer()

        return self._ask(get, name)

    def read_many(self, names: Iterable[str]) -> Iterator[pa.Buffer]:
        """Yield the contents of files, in their order; from an object store, several at once.

        Raises
        ------
        FileNotFoundError
        OSError
        """
        if self.local is not None:
            yield from map(self.read, names)
            return
        several = ThreadPoolExecutor(_REQUESTS, "storage-read")
        try:
            yield from several.map(self.read, names)
        finally:
            several.shutdown(wait=False, cancel_futures=True)

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""
        _check(name)
        return self.modified(name) is not None

    def modified(self, name: str) -> datetime | None:
        """Return when a file was written, by the clock of where it lies; None if it is absent."""
        _check(name)
        if self.local is None:
            modified: datetime | None = self._ask(
                lambda fs, folder: fs.get_file_info(f"{folder}/{name}").mtime
            )
            return modified
        try:
            status = os.stat(self.local / name)
        except (FileNotFoundError, NotADirectoryError):
            return None
        is_file = stat.S_ISREG(status.st_mode)
        return datetime.fromtimestamp(status.st_mtime, UTC) if is_file else None

    def names(self, folder: str, suffix: str = "") -> list[str]:
        """Return the names of the files in a folder, sorted; none if there is no such folder.

        Those that begin with a dot are left out: they belong to whoever is writing.
        """
        return self._list(folder, suffix, files=True)

    def folders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder, sorted; errors as in :meth:`names`."""
        return self._list(folder, "", files=False)

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens if it is absent."""
        _check(name)
        try:
            if self.local is not None:
                (self.local / name).unlink(missing_ok=True)
            else:
                self._ask(lambda fs, folder: fs.delete_file(f"{folder}/{name}"), name)
        except (FileNotFoundError, NotADirectoryError):
            return

    def remove_folder(self, name: str) -> None:
        """Remove a folder and all in it; nothing happens if it is absent."""
        _check(name)
        try:
            if self.local is not None:
                shutil.rmtree(self.local / name)
            else:
                self._ask(lambda fs, folder: fs.delete_dir(f"{folder}/{name}"), name)
        except (FileNotFoundError, NotADirectoryError):
            return

    def check_writable(self) -> None:
        """Make the folder, and write something there that does not stay.

        Raises
        ------
        UserError
            If nothing can be written there.
        """
        if self.local is None:
            name = f".writable-{secrets.token_hex(8)}"
            self.write(name, b"")
            self.remove(name)
            return
        try:
            self.local.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.local):
                return
        except OSError as error:
            raise UserError(
                f"{self.shown}: results cannot be written here ({error.strerror}); "
                "choose another folder with --results"
            ) from None

    def path(self, name: str) -> str:
        """Return where a file is, for messages."""
        return posixpath.join(self._place.base, name)

    @cached_property
    def _opened(self) -> tuple[FileSystem, str]:
        return open_place(self._place)

    def _ask(self, question: Callable[[FileSystem, str], _T], name: str | None = None) -> _T:
        """Ask the object store; that a file is absent is an answer where one was named."""
        import pyarrow as pa

        try:
            return question(*self._opened)
        except StorageFailure:
            raise
        except (OSError, pa.ArrowException) as error:
            if name is not None and isinstance(error, FileNotFoundError):
                raise FileNotFoundError(errno.ENOENT, "no such file", self.path(name)) from None
            raise failure(self._place, error) from None

    def _put(
        self, fs: FileSystem, folder: str, name: str, content: bytes | memoryview | pa.Buffer
    ) -> None:
        path = f"{folder}/{name}"
        if self._place.puts_whole:
            with fs.open_output_stream(path) as file:
                file.write(content)
            return
        parent, _, last = path.rpartition("/")
        part = f"{parent}/.{last}.{secrets.token_hex(8)}.part"
        fs.create_dir(parent, recursive=True)
        with fs.open_output_stream(part) as file:
            file.write(content)
        fs.move(part, path)

    def _list(self, folder: str, suffix: str, files: bool) -> list[str]:
        _check(folder)
        if self.local is None:
            found = self._ask(lambda fs, base: _entries(fs, base, folder))
        else:
            try:
                with os.scandir(self.local / folder) as entries:
                    found = [(entry.name, entry.is_file()) for entry in entries]
            except (FileNotFoundError, NotADirectoryError):
                return []
            except OSError as error:
                raise StorageFailure(f"{self.path(folder)}: {error.strerror}") from None
        return sorted(
            name
            for name, is_file in found
            if is_file == files and name.endswith(suffix) and not name.startswith(".")
        )


def _entries(fs: FileSystem, base: str, folder: str) -> list[tuple[str, bool]]:
    from pyarrow.fs import FileSelector, FileType

    found = fs.get_file_info(FileSelector(f"{base}/{folder}", allow_not_found=True))
    if not found and fs.type_name in ("s3", "gcs"):  # which list nothing where there is no bucket
        bucket = base.partition("/")[0]
        if fs.get_file_info(bucket).type == FileType.NotFound:
            raise OSError(f"the bucket does not exist; Details: {bucket}")
    return [(info.base_name, info.type == FileType.File) for info in found]


def _check(name: str) -> None:
    """Refuse a name that would lead out of the folder."""
    parts = name.split("/")
    if {"", ".", ".."}.intersection(parts) or "\\" in name or "\0" in name:
        raise ValueError(f"{name!r} is no name of a file in a folder")
