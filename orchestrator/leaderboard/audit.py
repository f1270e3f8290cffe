"""What the replay audit says of a row of the leaderboard: its numbers and flags over the seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from orchestrator.leaderboard.formats import fraction
from orchestrator.leaderboard.statistics import Interval, mean_interval

#: Marks a row whose replay is flagged, in ASCII.
MARK = "(!)"
#: So many flags are told in full under a table.
_MOST_TOLD = 3
#: A record as plain values, by column.
_Record = Mapping[Any, Any]
#: The numbers of a trial, for each task learned.
_Rows = Sequence[Mapping[str, float]]


def _distance(value: float) -> str:
    """Return three digits: ``.012``, ``4.56``, ``123``."""
    if math.isnan(value) or abs(value) < 1:
        return fraction(value)
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


class Measure(NamedTuple):
    """A number of the audit.

    Attributes
    ----------
    key : str
        Its key in column ``audit`` of a record.
    title : str
        What readers call it.
    meaning : str
        What it tells, and which way is better.
    show : callable
        Writes a value.
    yardstick : str
        Key of the number that real items have instead; empty where there is none.
    """

    key: str
    title: str
    meaning: str
    show: Callable[[float], str] = fraction
    yardstick: str = ""


#: The numbers of an audit, in the order in which they are shown.
MEASURES = (
    Measure(
        "agreement",
        "labels right",
        "Share of replayed labels that are the judge's; more is better, 1 is best",
    ),
    Measure(
        "coverage",
        "coverage",
        "How evenly replay is spread over the classes seen: more is better, 1 is as the data are, "
        "0 is one class alone",
    ),
    Measure(
        "frechet",
        "Fréchet distance",
        "Between replayed and real items, in features of the judge; less is better, and small is "
        "what two sets of real items have, as told below it",
        _distance,
        "frechet_real",
    ),
    Measure(
        "copying",
        "copying",
        "Share of replayed items as near to one training item as hardly any new item is; new data "
        "have .01, stored examples 1",
    ),
    Measure(
        "drift",
        "drift",
        "How far the classes of replay lie from those of the data; less is better, 0 is in place, "
        "1 as far away as another class is",
    ),
    Measure(
        "judge_accuracy",
        "judge",
        "Share of real test items about which the judge is right; below .8 the audit says little",
    ),
)
#: Their keys, with those of yardsticks.
KEYS = tuple(key for m in MEASURES for key in (m.key, m.yardstick) if key)

#: Columns of the leaderboard: means after the last task, seeds with a flag, what the first says.
AUDIT_COLUMNS = (*(f"audit_{key}" for key in KEYS), "audit_flagged", "audit_flag")


class Flagged(NamedTuple):
    """What is wrong with the replay of a row.

    Attributes
    ----------
    seeds, of : int
        Seeds with a flag after any task, and seeds that were audited.
    task : int
        Tasks learned when the first was raised.
    text : str
        What that one says, of the lowest seed that has it.
    """

    seeds: int
    of: int
    task: int
    text: str

    def __str__(self) -> str:
        seeds = f"{self.seeds} of {self.of} seeds" if self.of > 1 else "one seed"
        return f"{seeds}, first after task {self.task}: {self.text}"


class Audit(NamedTuple):
    """The audit of a row.

    Attributes
    ----------
    last : dict
        Mean over the seeds with its interval after the last task, by each of :data:`KEYS`.
    agreement : list of Interval
        Labels that are right, after each task.
    flagged : Flagged, optional
        None where no seed has a flag.
    n : int
        Seeds that were audited.
    """

    last: dict[str, Interval]
    agreement: list[Interval]
    flagged: Flagged | None
    n: int


def audit_of(groups: Sequence[Sequence[_Record]]) -> Audit | None:
    """Pool the audits of the finished trials of one row.

    Parameters
    ----------
    groups : sequence of sequence of mapping
        Records in groups that each count as one value, as of
        :func:`~orchestrator.leaderboard.table.independent`. A record without the columns ``audit``
        and ``audit_flags``, or with empty ones, was not audited.

    Returns
    -------
    Audit or None
        Means as of :func:`~orchestrator.leaderboard.statistics.mean_interval`; of a number that an
        audit lacks, NaN. None where no trial was audited.
    """
    audited = [[(audit_rows(trial), flags_of(trial)) for trial in group] for group in groups]
    audited = [some for group in audited if (some := [trial for trial in group if trial[0]])]
    if not audited:
        return None
    numbers = [[rows for rows, _ in group] for group in audited]
    tasks = min(len(rows) for group in numbers for rows in group)
    last = {key: _pooled(numbers, key, -1) for key in KEYS}
    agreement = [_pooled(numbers, "agreement", task) for task in range(tasks)]
    return Audit(last, agreement, _flagged([[f for _, f in g] for g in audited]), len(audited))


def _pooled(groups: Sequence[Sequence[_Rows]], key: str, task: int) -> Interval:
    values = [np.mean([rows[task].get(key, math.nan) for rows in group]) for group in groups]
    return mean_interval(values)


def _flagged(groups: Sequence[Sequence[Sequence[str]]]) -> Flagged | None:
    raised = [
        [(task, text) for flags in group for task, text in enumerate(flags, 1) if text]
        for group in groups
    ]
    if not any(raised):
        return None
    task, text = min((one for group in raised for one in group), key=lambda flag: flag[0])
    return Flagged(sum(map(bool, raised)), len(groups), task, text)


def audit_rows(record: _Record) -> list[dict[str, float]]:
    """Return the numbers of a trial's audit, one mapping for each task learned.

    Takes them as mappings, as :meth:`~orchestrator.results.ResultsStore.records` gives them, and
    as pairs, as Arrow gives them to pandas; empty where the record has none.
    """
    return [
        {
            str(key): math.nan if value is None else float(value)
            for key, value in (one.items() if isinstance(one, Mapping) else one)
        }
        for one in _listed(record.get("audit"))
    ]


def flags_of(record: _Record) -> list[str]:
    """Return the flags of a trial's audit, one for each task learned, empty where all is well."""
    return [text or "" for text in _listed(record.get("audit_flags"))]


def _listed(value: Any) -> Sequence[Any]:
    """Return what a column holds; nothing where a table lacks it (None, or NaN of pandas)."""
    return () if value is None or isinstance(value, float) else value


def audit_columns(groups: Sequence[Sequence[_Record]]) -> dict[str, Any]:
    """Return the values of :data:`AUDIT_COLUMNS` for a row; None where it was not audited."""
    audit = audit_of(groups)
    if audit is None:
        return dict.fromkeys(AUDIT_COLUMNS)
    means: dict[str, Any] = {f"audit_{key}": audit.last[key].mean for key in KEYS}
    flagged = audit.flagged
    return means | {
        "audit_flagged": flagged.seeds if flagged else 0,
        "audit_flag": str(flagged) if flagged else None,
    }


def flag_notes(rows: Sequence[_Record]) -> list[str]:
    """Return the footnotes that the mark of flagged rows needs; none where no row is flagged.

    Parameters
    ----------
    rows : sequence of mapping
        Of the leaderboard.
    """
    found = [row for row in rows if is_flagged(row)]
    if not found:
        return []
    told = [
        f"{MARK} {' '.join(filter(None, (row['method'], row['settings'])))}: {row['audit_flag']}."
        for row in found[:_MOST_TOLD]
    ]
    more = len(found) - len(told)
    told += [f"{MARK} and {more} more row{'s' if more > 1 else ''}."] * bool(more)
    return [f"{MARK} The audit of replay raises a flag here; engram show TRIAL tells more.", *told]


def is_flagged(row: _Record) -> bool:
    """Whether the replay of a row of the leaderboard has a flag."""
    seeds = row["audit_flagged"]
    return not pd.isna(seeds) and int(seeds) > 0
