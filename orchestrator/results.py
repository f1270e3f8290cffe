"""The results store: one Arrow record per trial, written atomically, merged by copying files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from orchestrator.errors import UserError
from orchestrator.metrics import CONFUSION_METRICS, METRICS
from orchestrator.storage import Storage, StorageFailure

#: Raised when a column changes its meaning.
SCHEMA_VERSION = 2

_VOLATILE = {b"volatile": b"true"}


def _volatile(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, metadata=_VOLATILE)


#: Columns of a record. A rerun with the same build and one thread gives byte-equal columns, but
#: for the volatile ones at the end: times, hosts, versions of what surrounds the computation.
SCHEMA = pa.schema(
    [
        pa.field("schema", pa.int32()),
        pa.field("id", pa.string()),
        pa.field("dataset", pa.string()),
        pa.field("scenario", pa.string()),
        pa.field("tasks", pa.int32()),
        pa.field("method", pa.string()),
        pa.field("settings", pa.string()),
        pa.field("variant", pa.string()),
        pa.field("setup", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("stream_seed", pa.int64()),
        pa.field("config", pa.string()),
        pa.field("data", pa.string()),
        pa.field("code", pa.string()),
        pa.field("torch", pa.string()),
        pa.field("device", pa.string()),
        pa.field("precision", pa.string()),
        pa.field("threads", pa.int32()),
        pa.field("outcome", pa.string()),
        pa.field("cause", pa.string()),
        pa.field("accuracy", pa.list_(pa.list_(pa.float64()))),
        *(pa.field(name, pa.float64()) for name in METRICS),
        *(pa.field(f"{name}_rows", pa.list_(pa.float64())) for name in CONFUSION_METRICS),
        pa.field("bytes_kept", pa.int64()),
        pa.field("bytes_by_owner", pa.map_(pa.string(), pa.int64())),
        _volatile("space", pa.string()),
        _volatile("started", pa.timestamp("ms", tz="UTC")),
        _volatile("seconds", pa.float64()),
        _volatile("seconds_by_phase", pa.map_(pa.string(), pa.float64())),
        _volatile("samples_per_second", pa.float64()),
        _volatile("host", pa.string()),
        _volatile("gpu", pa.string()),
        _volatile("engram", pa.string()),
        _volatile("commit", pa.string()),
        _volatile("traceback", pa.string()),
        # Of each task learned; empty where the method generates nothing.
        _volatile("audit", pa.list_(pa.map_(pa.string(), pa.float64()))),
        _volatile("audit_flags", pa.list_(pa.string())),
    ]
)

VOLATILE = tuple(field.name for field in SCHEMA if field.metadata == _VOLATILE)
DETERMINISTIC = tuple(name for name in SCHEMA.names if name not in VOLATILE)


class _Columns(NamedTuple):
    """What is read of each record."""

    schema: pa.Schema
    options: pa.ipc.IpcReadOptions

    @classmethod
    def named(cls, *names: str) -> _Columns:
        fields = [SCHEMA.get_field_index(name) for name in names]
        schema = pa.schema([SCHEMA.field(at) for at in fields])
        some = fields if len(fields) < len(SCHEMA) else None
        return cls(schema, pa.ipc.IpcReadOptions(included_fields=some))


_ALL, _OUTCOME = _Columns.named(*SCHEMA.names), _Columns.named("schema", "id", "outcome")
_SECONDS = _Columns.named("schema", "id", "device", "outcome", "seconds")

#: A record: a value for each column of :data:`SCHEMA`.
Record = dict[str, Any]


#: Folders of a store, and the name of a record's file: the trial's identity.
_TRIALS, _SWEEPS, _ABOUT = "trials", "sweeps", "sweeps/about"
_FILE = re.compile(r"[0-9a-f]{16}\.arrow")


class ResultsStore:
    """A folder of records, and of what each sweep planned.

    Two people merge their results by copying one folder's files into the other: a trial's file is
    named after its identity, so nothing can count twice.

    Parameters
    ----------
    where : Storage, str or Path
        A folder, or a URI such as ``s3://bucket/results``; made when the first record is written.

    Attributes
    ----------
    storage : Storage
    """

    def __init__(self, where: Storage | str | Path) -> None:
        self.storage = where if isinstance(where, Storage) else Storage(where)

    def check_writable(self) -> None:
        """Make the folder.

        Raises
        ------
        UserError
            If nothing can be written there.
        """
        self.storage.check_writable()

    def is_absent(self) -> bool:
        """Whether there is no such folder; in an object store, whether nothing is in it."""
        if self.storage.local is not None:
            return not self.storage.local.is_dir()
        return not (self.sweep_names() or self.ids())

    def write(self, record: Record) -> str:
        """Store a record: after a crash it is there whole, or not at all.

        Returns
        -------
        str
            Name of its file in the storage.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        name = record_name(record["id"])
        if not _FILE.fullmatch(name.rpartition("/")[2]):
            raise ValueError(f"{record['id']!r} is no id of a trial")
        columns = {column: _as_pairs(value) for column, value in record.items()}
        table = pa.Table.from_pylist([columns], schema=SCHEMA)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, SCHEMA) as writer:
            writer.write_table(table)
        self.storage.write(name, sink.getvalue())
        return name

    def ids(self) -> set[str]:
        """Return the ids of all stored trials, without reading them."""
        found = self.storage.names(_TRIALS, ".arrow")
        return {name.removesuffix(".arrow") for name in found if _FILE.fullmatch(name)}

    def read(self, ids: Iterable[str] | None = None) -> pa.Table:
        """Read records, sorted by id; those of some trials, or all.

        Raises
        ------
        UserError
            If a file is damaged, was written by another version or is another trial's.
        """
        return self._read(ids, _ALL)

    def records(self, ids: Iterable[str] | None = None) -> list[Record]:
        """Read records as plain values, as they were written."""
        return [self._values(row) for row in self.read(ids).to_batches()]

    def _values(self, row: pa.RecordBatch) -> Record:
        try:
            values: Record
            (values,) = row.to_pylist(maps_as_pydicts="strict")
        except (ValueError, OverflowError, KeyError) as error:  # such as a time that is none
            raise self._unreadable(row.column(1)[0].as_py(), error) from None
        return values

    def _unreadable(self, trial: str, error: Exception) -> UserError:
        path = self.storage.path(record_name(trial))
        reason = (str(error) or type(error).__name__).splitlines()[0]
        return UserError(
            f"{path}: is no readable record ({reason}); delete it to run the trial again"
        )

    def outcomes(self, ids: Iterable[str] | None = None) -> dict[str, str]:
        """Return the outcome of stored trials, by id; of some trials, or all."""
        table = self._read(ids, _OUTCOME)
        return dict(zip(table["id"].to_pylist(), table["outcome"].to_pylist(), strict=True))

    def seconds(self, ids: Iterable[str] | None = None) -> dict[str, tuple[float, bool]]:
        """Return how long stored trials took that finished, and whether a GPU computed, by id."""
        rows = self._read(ids, _SECONDS).to_pylist()
        return {
            row["id"]: (row["seconds"], row["device"] != "cpu")
            for row in rows
            if row["outcome"] == "finished" and row["seconds"] is not None
        }

    def _read(self, ids: Iterable[str] | None, columns: _Columns) -> pa.Table:
        wanted = sorted(self.ids() if ids is None else self.ids().intersection(ids))
        contents = self.storage.read_many(map(record_name, wanted))
        try:
            found = [self._row(*each, columns) for each in zip(wanted, contents, strict=True)]
        except StorageFailure:
            raise
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from None
        return pa.Table.from_batches(found, columns.schema)

    def _row(self, trial: str, content: pa.Buffer, columns: _Columns) -> pa.RecordBatch:
        """Take a record's columns out of its file, once it is clear that it is one."""
        path = self.storage.path(record_name(trial))
        try:
            file = pa.ipc.open_file(content, options=columns.options)
            known = file.schema.equals(columns.schema) and file.num_record_batches == 1
            row = file.get_batch(0) if known else None
            if row is not None:
                row.validate(full=True)  # what is damaged inside could crash whoever looks at it
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._unreadable(trial, error) from None
        if row is None or row.column(0).to_pylist() != [SCHEMA_VERSION]:
            raise UserError(
                f"{path}: was written by another version of Engram; delete it, or use another "
                "folder with --results"
            )
        inside = row.column(1)[0].as_py()
        if inside != trial:
            raise UserError(
                f"{path}: holds the record of another trial, {str(inside)[:16]!r}; a file must be "
                "named after its trial: rename it or delete it"
            )
        return row

    def write_sweep(self, name: str, planned: list[dict[str, Any]]) -> None:
        """Store what a sweep planned, so that a leaderboard can tell what is missing."""
        self.storage.write(f"{_SWEEPS}/{name}.json", json.dumps(planned, indent=0).encode())

    def read_sweep(self, name: str) -> list[dict[str, Any]]:
        """Return what a sweep planned.

        Raises
        ------
        UserError
            If no such sweep was run here, or its file is damaged.
        """
        known = self.sweep_names()
        if name not in known:
            there = ", ".join(known) or "none yet"
            raise UserError(f"{self.storage.shown}: holds no sweep {name!r}; there are: {there}")
        planned: list[dict[str, Any]] = self._read_json(f"{_SWEEPS}/{name}.json", _is_plan)
        return planned

    def write_about(self, name: str, about: Mapping[str, str]) -> None:
        """Store what a sweep says of itself, for its report."""
        self.storage.write(f"{_ABOUT}/{name}.json", json.dumps(dict(about), indent=0).encode())

    def read_about(self, name: str) -> dict[str, str]:
        """Return what a sweep says of itself; nothing where that was not stored.

        Raises
        ------
        UserError
            If the file is damaged.
        """
        try:
            about: dict[str, str] = self._read_json(f"{_ABOUT}/{name}.json", _is_about)
        except FileNotFoundError:
            return {}
        return about

    def _read_json(self, name: str, is_valid: Callable[[Any], bool]) -> Any:
        path = self.storage.path(name)
        try:
            content = json.loads(self.storage.read(name).to_pybytes())
        except (FileNotFoundError, StorageFailure):
            raise
        except (ValueError, OSError, RecursionError) as error:
            raise UserError(f"{path}: cannot be read ({error}); run the sweep again") from None
        if not is_valid(content):
            raise UserError(f"{path}: holds something else than it should; run the sweep again")
        return content

    def sweep_names(self) -> list[str]:
        """Return the names of all sweeps that were run here."""
        return [name.removesuffix(".json") for name in self.storage.names(_SWEEPS, ".json")]


def _as_pairs(value: Any) -> Any:
    """Write mappings as Arrow takes them, also those in a list."""
    if isinstance(value, list):
        return [_as_pairs(each) for each in value]
    return list(value.items()) if isinstance(value, dict) else value


def record_name(trial: str) -> str:
    """Return the name of the file of a trial's record in a results folder."""
    return f"{_TRIALS}/{trial}.arrow"


def _is_plan(content: Any) -> bool:
    return isinstance(content, list) and all(
        isinstance(row, dict) and isinstance(row.get("id"), str) for row in content
    )


def _is_about(content: Any) -> bool:
    return isinstance(content, dict) and all(isinstance(text, str) for text in content.values())
