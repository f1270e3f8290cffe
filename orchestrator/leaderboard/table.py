"""The leaderboard as a table: trials pooled over seeds, counted honestly, ranked."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.leaderboard.audit import AUDIT_COLUMNS, audit_columns
from orchestrator.leaderboard.statistics import Interval, mean_interval
from orchestrator.metrics import METRICS
from orchestrator.setups import compact_json, differing, labels, leaves

#: A record as plain values, by column.
Record = Mapping[Any, Any]

#: Order of the scenarios on the leaderboard, hardest first.
SCENARIOS = ("class-incremental", "domain-incremental", "task-incremental")
#: What a trial spends; the leaderboard shows plain means of these.
COSTS = ("bytes_kept", "seconds", "samples_per_second")
#: The variant that shows a published system with its defects, and is never ranked.
AS_RELEASED = "as-released"

_COUNTED_AS = {"missing": "missing", "diverged": "diverged", "error": "errors"}
_OUTCOMES = ("finished", "diverged", "error")
_BLOCK = ["dataset", "scenario"]
_FAMILY = [*_BLOCK, "method", "settings", "variant"]
_GROUP = [*_FAMILY, "setup"]
_TRIALS = "trials"  # of a row, until it is part of the table
_IDENTIFYING = ["id", *_GROUP, "seed"]

#: The columns of the leaderboard, in order.
COLUMNS: tuple[str, ...] = (
    *(*_BLOCK, "method", "settings", "rank", "n"),
    *(f"{metric}{bound}" for metric in METRICS for bound in ("", "_low", "_high")),
    *COSTS,
    *AUDIT_COLUMNS,
    *(*_COUNTED_AS.values(), "variant"),
)

_TEXTS = ("dataset", "scenario", "method", "settings", "variant", "audit_flag")
_COUNTS = ("rank", "n", *_COUNTED_AS.values(), "audit_flagged")
_DTYPES = {
    column: "str" if column in _TEXTS else "Int64" if column in _COUNTS else "float64"
    for column in COLUMNS
}


@dataclass(frozen=True)
class Pooled:
    """A leaderboard and the trials behind it.

    Attributes
    ----------
    table : pandas.DataFrame
        As of :func:`build_leaderboard`.
    trials : tuple of list
        For each row of the table the records that it pools, with all their columns, by seed and
        stream seed; those that did not finish among them. Empty where all are missing.
    """

    table: pd.DataFrame
    trials: tuple[list[Record], ...]


def build_leaderboard(records: pd.DataFrame, planned: pd.DataFrame | None = None) -> pd.DataFrame:
    """Pool trials over their seeds and rank the methods of each dataset and scenario.

    Trials are pooled only where dataset, scenario, method, settings, variant and setup agree.
    Rows that agree in all but the setup get the flattened keys that differ appended to their
    settings (``buffer_size=50, budget.iterations=200``; hashes cut short; a hash of the whole
    setup where that gets long). Where streams of different length meet in one dataset and
    scenario, every row there says its ``tasks``. The order of the input changes nothing.

    Parameters
    ----------
    records : pandas.DataFrame
        One row per trial: the texts ``id, dataset, scenario, method, settings, setup`` (a JSON
        object) ``, variant, outcome`` (finished, diverged or error), the integers ``seed`` and
        ``stream_seed``, the metrics of :func:`orchestrator.metrics.summary`, ``bytes_kept``
        (bytes), ``seconds`` and ``samples_per_second``; with ``audit`` and ``audit_flags`` where
        they have them. The numbers of trials that did not finish are not looked at.
    planned : pandas.DataFrame, optional
        The trials that there should be, with the columns ``id, dataset, scenario, method,
        settings, setup, variant, seed``. Those whose id has no record are counted as missing.

    Returns
    -------
    pandas.DataFrame
        One row per group with the columns :data:`COLUMNS`. ``n`` trials finished and are in the
        means, or ``n`` seeds where each was run on several stream seeds; ``_low`` and ``_high``
        bound the 95 % Student-t interval. A mean is NaN if any of its values is. The means of an
        audit are those after the last task, ``audit_flagged`` counts the seeds with a flag after
        any; all are empty where nothing was audited. Ranks go by mean ``average_accuracy`` within
        dataset and scenario, best first, equal means sharing the better rank; rows without finished
        trials and rows of the variant as-released have none and come last.

    Raises
    ------
    ValueError
        If a column or an identifying value is missing, an outcome is unknown, a setup is no JSON
        object, a finished trial has no finite accuracy, or a trial occurs twice: one id in two
        records, or two ids with the same group, seed and stream seed. The latter differ in
        something that the setup does not say, and no choice between them would be honest.
    """
    return pool(records, planned).table


def pool(records: pd.DataFrame, planned: pd.DataFrame | None = None) -> Pooled:
    """Return the leaderboard together with the trials of each row.

    Parameters and errors as in :func:`build_leaderboard`; further columns of the records are kept.
    """
    records = records.reset_index(drop=True)
    numbers = [*METRICS, *COSTS]
    done = _checked(records, [*_IDENTIFYING, "stream_seed", "outcome", *numbers], "records")
    unknown = sorted(set(done["outcome"]) - set(_OUTCOMES))
    if unknown:
        raise ValueError(f"records: unknown outcome {', '.join(map(repr, unknown))}")
    _refuse_duplicates(done)
    finished = done[done["outcome"] == "finished"]
    pointless = finished["id"][~np.isfinite(finished["average_accuracy"].astype("float64"))]
    if len(pointless):
        raise ValueError(f"records: finished without a finite accuracy: {', '.join(pointless)}")

    if planned is None:
        planned = pd.DataFrame(columns=_IDENTIFYING)
    plan = _checked(planned, _IDENTIFYING, "planned").drop_duplicates("id")
    missing = plan[~plan["id"].isin(done["id"])]

    absent = Counter(_keys(missing))
    trials: dict[tuple[str, ...], list[Record]] = {key: [] for key in absent}
    for key, record in zip(_keys(done), records.to_dict("records"), strict=True):
        trials.setdefault(key, []).append(record)
    for some in trials.values():
        some.sort(key=lambda record: (record["seed"], record["stream_seed"]))
    rows = [
        dict(zip(_GROUP, key, strict=True)) | _row(some) | {"missing": absent[key], _TRIALS: some}
        for key, some in sorted(trials.items())
    ]
    _name_apart(rows)
    table = _ranked(pd.DataFrame(rows, columns=list(COLUMNS)).astype(_DTYPES))
    return Pooled(table.reset_index(drop=True), tuple(rows[i][_TRIALS] for i in table.index))


def _keys(frame: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return for each trial what it must share with others to be pooled with them."""
    return list(zip(*(frame[column] for column in _GROUP), strict=True))


def _checked(frame: pd.DataFrame, columns: Sequence[str], name: str) -> pd.DataFrame:
    """Return these columns with canonical setups, or say what is wrong with them."""
    absent = [column for column in columns if column not in frame.columns]
    if absent and len(frame.columns):
        raise ValueError(f"{name}: no column {', '.join(absent)}")
    frame = frame.reindex(columns=list(columns))
    for column in columns:
        if column not in (*METRICS, *COSTS) and frame[column].isna().any():
            raise ValueError(f"{name}: empty value in column {column}")
    canonical = {setup: _canonical(setup) for setup in frame["setup"].unique()}
    return frame.assign(setup=[canonical[setup] for setup in frame["setup"]])


def _canonical(setup: str) -> str:
    try:
        value = json.loads(setup)
    except ValueError as error:
        raise ValueError(f"setup is not JSON ({error}): {setup!r}") from None
    if not isinstance(value, dict):
        raise ValueError(f"setup is not a JSON object: {setup!r}")
    return compact_json(value)


def _refuse_duplicates(done: pd.DataFrame) -> None:
    twice = sorted(set(done["id"][done["id"].duplicated()]))
    if twice:
        raise ValueError(f"records: more than one record of trial {', '.join(twice)}")
    same = done[done.duplicated([*_GROUP, "seed", "stream_seed"], keep=False)]
    for _, trials in same.groupby([*_GROUP, "seed", "stream_seed"]):
        first = trials.iloc[0]
        raise ValueError(
            f"records: trials {', '.join(sorted(trials['id']))} are all {first['method']} "
            f"({first['settings'] or 'default settings'}) on {first['dataset']}, "
            f"{first['scenario']}, seed {first['seed']}, stream seed {first['stream_seed']}, "
            "with one setup; what tells them apart must be part of their setup"
        )


def _row(trials: Sequence[Record]) -> dict[str, Any]:
    """Return the numbers of one group."""
    groups = independent([trial for trial in trials if trial["outcome"] == "finished"])

    def pooled(column: str) -> Interval:
        return mean_interval([np.mean([_number(trial[column]) for trial in g]) for g in groups])

    row: dict[str, Any] = {"n": len(groups)}
    for metric in METRICS:
        mean, low, high, _ = pooled(metric)
        row |= {metric: mean, f"{metric}_low": low, f"{metric}_high": high}
    row |= {cost: pooled(cost).mean for cost in COSTS} | audit_columns(groups)
    outcomes = Counter(trial["outcome"] for trial in trials)
    return row | {count: outcomes[outcome] for outcome, count in _COUNTED_AS.items()}


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def independent(finished: Sequence[Record]) -> list[list[Record]]:
    """Return trials in groups that each count as one value: every trial alone, or by seed.

    Where seeds are crossed with stream seeds, trials of one seed share their first weights and
    draws; taken one by one they would count as more evidence than they are.

    Parameters
    ----------
    finished : sequence of mapping
        The finished trials of one row, with ``id`` and ``seed``.
    """
    seeds = Counter(trial["seed"] for trial in finished)
    if len(seeds) < 2 or max(seeds.values()) < 2:
        return [[trial] for trial in finished]
    groups: dict[int, list[Record]] = {}
    for trial in sorted(finished, key=lambda trial: str(trial["id"])):
        groups.setdefault(trial["seed"], []).append(trial)
    return list(groups.values())


def _ranked(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with ranks, sorted; the index tells where each row was before."""
    table["rank"] = (
        table[(table["n"] > 0) & (table["variant"] != AS_RELEASED)]
        .groupby(_BLOCK)["average_accuracy"]
        .rank(method="min", ascending=False)
        .reindex(table.index)
        .astype("Int64")
    )
    place = {scenario: i for i, scenario in enumerate(SCENARIOS)}
    keys = table.assign(
        place=[place.get(scenario, len(place)) for scenario in table["scenario"]],
        worst=-table["average_accuracy"],
    )
    by = ["dataset", "place", "scenario", "rank", "worst", "method", "settings", "variant"]
    return table.loc[keys.sort_values(by, na_position="last").index]


def _name_apart(rows: list[dict[str, Any]]) -> None:
    """Append to the settings what tells rows of one family apart."""
    for block in _parted(rows, _BLOCK):
        varied = differing([leaves(row["setup"]) for row in block])
        lengths = [key for key in varied if key.split(".")[-1] == "tasks"]
        for family in _parted(block, _FAMILY):
            texts = labels([row["setup"] for row in family], lengths)
            for row, text in zip(family, texts, strict=True):
                row["settings"] = ", ".join(filter(None, (row["settings"], text)))


def _parted(rows: Iterable[dict[str, Any]], keys: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Return the rows in lists that agree in these keys."""
    parts: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        parts.setdefault(tuple(row[key] for key in keys), []).append(row)
    return list(parts.values())
