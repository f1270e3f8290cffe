"""The results store: one Arrow record per trial, written atomically, merged by copying files."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from orchestrator.atomic import replacing
from orchestrator.errors import UserError
from orchestrator.metrics import CONFUSION_METRICS, METRICS

#: Raised when a column changes its meaning.
SCHEMA_VERSION = 1

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
    ]
)

VOLATILE = tuple(field.name for field in SCHEMA if field.metadata == _VOLATILE)
DETERMINISTIC = tuple(name for name in SCHEMA.names if name not in VOLATILE)

#: A record: a value for each column of :data:`SCHEMA`.
Record = dict[str, Any]


class ResultsStore:
    """A folder of records, and of what each sweep planned.

    Two people merge their results by copying one folder's files into the other: a trial's file is
    named after its identity, so nothing can count twice.

    Parameters
    ----------
    folder : Path
        Made when the first record is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trials = folder / "trials"
        self.sweeps = folder / "sweeps"

    def check_writable(self) -> None:
        """Make the folder.

        Raises
        ------
        UserError
            If nothing can be written there.
        """
        try:
            for folder in (self.trials, self.sweeps):
                folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.trials):
                return
        except OSError as error:
            raise UserError(
                f"{self.folder}: results cannot be written here ({error.strerror}); "
                "choose another folder with --results"
            ) from None

    def write(self, record: Record) -> Path:
        """Store a record: after a crash it is there whole, or not at all."""
        columns = {
            name: list(value.items()) if isinstance(value, dict) else value
            for name, value in record.items()
        }
        table = pa.Table.from_pylist([columns], schema=SCHEMA)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, SCHEMA) as writer:
            writer.write_table(table)
        path = self.trials / f"{record['id']}.arrow"
        _write_atomically(path, sink.getvalue().to_pybytes())
        return path

    def ids(self) -> set[str]:
        """Return the ids of all stored trials, without reading them."""
        return {path.stem for path in self.trials.glob("*.arrow")}

    def read(self, ids: Iterable[str] | None = None) -> pa.Table:
        """Read records, sorted by id; those of some trials, or all.

        Raises
        ------
        UserError
            If a file is damaged or was written by another version.
        """
        wanted = sorted(self.ids() if ids is None else self.ids().intersection(ids))
        return pa.concat_tables([SCHEMA.empty_table(), *map(self._read_one, wanted)])

    def records(self, ids: Iterable[str] | None = None) -> list[Record]:
        """Read records as plain values, as they were written."""
        records: list[Record] = self.read(ids).to_pylist(maps_as_pydicts="strict")
        return records

    def _read_one(self, trial: str) -> pa.Table:
        path = self.trials / f"{trial}.arrow"
        try:
            table = pa.ipc.open_file(pa.py_buffer(path.read_bytes())).read_all()
        except (pa.ArrowInvalid, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(
                f"{path}: is no readable record ({reason}); delete it to run the trial again"
            ) from None
        if table.schema.names != SCHEMA.names or table["schema"].to_pylist() != [SCHEMA_VERSION]:
            raise UserError(
                f"{path}: was written by another version of Engram; delete it, or use another "
                "folder with --results"
            )
        return table

    def outcomes(self, ids: Iterable[str] | None = None) -> dict[str, str]:
        """Return the outcome of stored trials, by id; of some trials, or all."""
        table = self.read(ids).select(["id", "outcome"])
        return dict(zip(table["id"].to_pylist(), table["outcome"].to_pylist(), strict=True))

    def write_sweep(self, name: str, planned: list[dict[str, Any]]) -> None:
        """Store what a sweep planned, so that a leaderboard can tell what is missing."""
        _write_atomically(self.sweeps / f"{name}.json", json.dumps(planned, indent=0).encode())

    def read_sweep(self, name: str) -> list[dict[str, Any]]:
        """Return what a sweep planned.

        Raises
        ------
        UserError
            If no such sweep was run here, or its file is damaged.
        """
        path = self.sweeps / f"{name}.json"
        if not path.is_file():
            known = ", ".join(self.sweep_names()) or "none yet"
            raise UserError(f"{self.folder}: holds no sweep {name!r}; there are: {known}")
        try:
            planned: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise UserError(f"{path}: cannot be read ({error}); run the sweep again") from None
        return planned

    def write_about(self, name: str, about: Mapping[str, str]) -> None:
        """Store what a sweep says of itself, for its report."""
        _write_atomically(self._about(name), json.dumps(about, indent=0).encode())

    def read_about(self, name: str) -> dict[str, str]:
        """Return what a sweep says of itself; nothing where that was not stored.

        Raises
        ------
        UserError
            If the file is damaged.
        """
        path = self._about(name)
        if not path.is_file():
            return {}
        try:
            about: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, OSError) as error:
            raise UserError(f"{path}: cannot be read ({error}); run the sweep again") from None
        return about

    def _about(self, name: str) -> Path:
        return self.sweeps / "about" / f"{name}.json"

    def sweep_names(self) -> list[str]:
        """Return the names of all sweeps that were run here."""
        return sorted(path.stem for path in self.sweeps.glob("*.json"))


def _write_atomically(path: Path, content: bytes) -> None:
    with replacing(path) as file:
        file.write(content)
