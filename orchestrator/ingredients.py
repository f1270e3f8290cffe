"""What the identities of two trials are made of, compared one ingredient at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from methods.core.config import flatten
from orchestrator.identity import Environment
from orchestrator.results import Record, ResultsStore
from orchestrator.setups import compact_json
from orchestrator.trial import Trial
from orchestrator.trial_code import code_by_module, read_code

#: Columns of records that comparing needs.
_COMPARED = (
    *("id", "dataset", "method", "config", "data", "code"),
    *("torch", "device", "precision", "threads", "outcome", "started", "seconds"),
)
#: Outcomes that count as finished.
_FINISHED = ("finished", "diverged")
_ENVIRONMENT = tuple(Environment.__dataclass_fields__)
#: Modules that a line names.
_MOST_MODULES = 8


@dataclass(frozen=True)
class Difference:
    """An ingredient that two trials do not share.

    Attributes
    ----------
    name : str
        ``code``, ``data``, ``torch`` and the like, or an option, such as ``budget.iterations``.
    text : str
        Both values, ``500 → 600``, or what of it has changed.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Nearest:
    """The recorded trial that shares most with a planned one.

    Attributes
    ----------
    record : Record
        Its record.
    differences : tuple of Difference
        Between it and the planned one, in this order.
    """

    record: Record
    differences: tuple[Difference, ...]


def nearest_finished(trial: Trial, environment: Environment, store: ResultsStore) -> Nearest | None:
    """Find the finished trial with the fewest other ingredients; None if none has finished.

    Of several, one of the same method is taken, and the one recorded last.

    Parameters
    ----------
    trial : Trial
        A planned one.
    environment : Environment
        The one it is planned for.
    store : ResultsStore

    Raises
    ------
    UserError
        If a record cannot be read.
    """
    table = store.read().select(list(_COMPARED)).combine_chunks()
    rows = table.filter(pc.is_in(table["outcome"], pa.array(_FINISHED)))
    # As a number: plain dates of ten thousand rows would take longer than all else.
    started = rows["started"].cast(pa.int64())
    finished = rows.set_column(rows.schema.get_field_index("started"), "started", started)
    if not finished.num_rows:
        return None
    wanted = _Wanted(trial, environment, cache(lambda code: read_code(store.storage, code)))
    nearest = min(finished.to_pylist(), key=wanted.distance)
    (record,) = store.records([nearest["id"]])
    return Nearest(record, tuple(wanted.differences(record)))


def recorded_at(record: Record) -> datetime:
    """Return when a trial ended, by the clock of its machine and in the time zone of this one."""
    ended: datetime = record["started"] + timedelta(seconds=record["seconds"])
    return ended.astimezone()


class _Wanted:
    """A planned trial, to which recorded ones are compared."""

    def __init__(
        self,
        trial: Trial,
        environment: Environment,
        modules_of: Callable[[str], dict[str, str] | None],
    ) -> None:
        self.trial, self.environment = trial, asdict(environment)
        self.modules_of = modules_of
        self.modules = code_by_module(trial.config.cls)
        self.leaves = _leaves(trial.config.canonical)
        self._shared_code = cache(self._is_shared_code_other)

    def distance(self, record: Record) -> tuple[int, bool, float]:
        """Return a key that is least for the nearest record, ``started`` in milliseconds."""
        theirs = _leaves(json.loads(record["config"]))
        number = len(self.leaves.keys() - theirs)
        number += sum(value != self.leaves.get(key) for key, value in theirs.items())
        number += sum(record[key] != self.environment[key] for key in _ENVIRONMENT)
        number += self._is_data_other(record) + self._is_code_other(record)
        other_method = record["method"] != self.trial.config.method
        return number, other_method, -record["started"] - 1000 * record["seconds"]

    def differences(self, record: Record) -> Iterator[Difference]:
        """Yield what differs from a record."""
        if self._is_code_other(record):
            yield Difference("code", self._changed_code(record["code"]))
        if self._is_data_other(record):
            names = ", ".join(sorted({s.name for s in self.trial.config.stream.sources}))
            change = f"{record['data'][:8]} → {self.trial.data[:8]}"
            yield Difference("data", f"the images of {names} are others ({change})")
        theirs = _leaves(json.loads(record["config"]))
        for key in sorted(theirs.keys() | self.leaves.keys()):
            before, now = theirs.get(key), self.leaves.get(key)
            if before != now:
                yield Difference(key, f"{_readable(before)} → {_readable(now)}")
        for key in _ENVIRONMENT:
            if record[key] != self.environment[key]:
                yield Difference(key, f"{record[key]} → {self.environment[key]}")

    def _is_data_other(self, record: Record) -> bool:
        """Whether the data are others though the dataset has the same name."""
        same_name = record["dataset"] == self.trial.config.stream.dataset
        return bool(same_name and record["data"] != self.trial.data)

    def _is_code_other(self, record: Record) -> bool:
        """Whether the code has changed; that another method has other code is no change."""
        if record["code"] == self.trial.code:
            return False
        return record["method"] == self.trial.config.method or self._shared_code(record["code"])

    def _is_shared_code_other(self, code: str) -> bool:
        theirs = self.modules_of(code) or {}
        return any(theirs[name] != self.modules[name] for name in theirs.keys() & self.modules)

    def _changed_code(self, code: str) -> str:
        """Name the modules that differ from those of another code."""
        theirs, ours = self.modules_of(code), self.modules
        if theirs is None:
            return f"{code[:8]} → {self.trial.code[:8]} (its modules were not noted at that time)"
        changed = sorted(name for name in theirs.keys() & ours if theirs[name] != ours[name])
        changed += [f"{name} (new)" for name in sorted(ours.keys() - theirs)]
        changed += [f"{name} (gone)" for name in sorted(theirs.keys() - ours)]
        if not changed:
            return f"{code[:8]} → {self.trial.code[:8]} (what counts as code has changed)"
        more = len(changed) - _MOST_MODULES
        return ", ".join(changed[:_MOST_MODULES]) + (f" and {more} more" if more > 0 else "")


def _leaves(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is chosen of a trial by dotted key, without options that are not set."""
    of_trial = {"method": config["method"], "seed": config["seed"]}
    flat = flatten({**config["stream"], **config["options"], **of_trial})
    return {key: value for key, value in flat.items() if value is not None}


def _readable(value: Any) -> str:
    """Write a value as a search space has it; a dash where there is none."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else compact_json(value)
