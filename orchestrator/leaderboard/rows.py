"""The rows of the report: each with its trials, its look, and its name in the charts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from orchestrator.leaderboard.charts import Drawn
from orchestrator.leaderboard.looks import DASHES, Look, looks
from orchestrator.leaderboard.memory_map import memory_maps
from orchestrator.leaderboard.paired import Contender
from orchestrator.leaderboard.statistics import Interval
from orchestrator.leaderboard.surface import Place, place
from orchestrator.leaderboard.table import AS_RELEASED, Pooled, Record

#: Methods that bound what is possible.
BOUNDS = ("naive", "joint")
#: So many rows stand out in a chart at most.
MOST_STRONG = 8
#: Where there are no more rows than this, all of them stand out.
_FEW = 6


@dataclass(frozen=True, eq=False)
class Row(Contender):
    """A row of the leaderboard on the page.

    Parameters
    ----------
    series : str
        The method, with its memory where the page has it with several.
    group : str
        Rows of one group look alike: those of one series, or of one memory.
    drawn : Drawn
    place : Place, optional
        Where it lies among freeze depths and budgets.
    """

    series: str
    group: str
    drawn: Drawn
    place: Place | None

    @property
    def label(self) -> str:
        """Method, settings, and whether it is as released."""
        return self.drawn.name

    @cached_property
    def accuracy(self) -> Interval:
        """The average accuracy, as the leaderboard has it."""
        low, high = (self.row[f"average_accuracy_{end}"] for end in ("low", "high"))
        return Interval(self.row["average_accuracy"], low, high, int(self.row["n"]))

    @property
    def finished(self) -> bool:
        """Whether it has a mean."""
        return self.accuracy.n > 0

    @property
    def done(self) -> list[Record]:
        """The trials that finished."""
        return [trial for trial in self.trials if trial["outcome"] == "finished"]

    @property
    def flag(self) -> str:
        """What the audit of its replay flags, with when and how often; empty if nothing."""
        flag = self.row["audit_flag"]
        return "" if pd.isna(flag) else str(flag)

    @property
    def problems(self) -> list[str]:
        """What is not in the means, such as ``2 missing``."""
        names = {"missing": "missing", "diverged": "diverged", "errors": "with errors"}
        return [f"{self.row[key]} {name}" for key, name in names.items() if self.row[key]]


def make_rows(pooled: Pooled) -> list[Row]:
    """Return the rows of a leaderboard as the page shows them, in its order."""
    rows = pooled.table.to_dict("records")
    places = [
        place(str(row["method"]), trials[0]["config"], trials[0]["setup"])
        if trials and trials[0].get("config")
        else None
        for row, trials in zip(rows, pooled.trials, strict=True)
    ]
    mapped = _on_maps(rows, places)
    memories: dict[str, set[str | None]] = defaultdict(set)
    for row, spot in zip(rows, places, strict=True):
        memories[row["method"]].add(spot.memory if spot else None)
    series, groups, tags = [], [], []
    for row, spot in zip(rows, places, strict=True):
        by_memory = spot is not None and spot.memory is not None and spot.method in mapped
        told = by_memory or len(memories[row["method"]]) > 1
        memory = spot.memory if spot and told else None
        series.append(f"{row['method']} · {memory}" if memory else str(row["method"]))
        groups.append(f"{spot.method} · {memory}" if spot and by_memory else series[-1])
        tags.append(f"{memory}, depth {spot.freeze_depth}" if spot and by_memory else "")
    look_of = looks(_by_importance(rows, groups))
    return [
        Row(row, trials, name, group, _drawn(i, row, name, look_of[group], tag), spot)
        for i, (row, trials, name, group, tag, spot) in enumerate(
            zip(rows, pooled.trials, series, groups, tags, places, strict=True)
        )
    ]


def _on_maps(rows: Sequence[Record], places: Sequence[Place | None]) -> set[str]:
    """Return the methods of which the page compares memories: theirs look alike by memory."""
    blocks: dict[tuple[str, str], dict[int, Place]] = defaultdict(dict)
    for i, (row, spot) in enumerate(zip(rows, places, strict=True)):
        if spot is not None:
            blocks[row["dataset"], row["scenario"]][i] = spot
    return {found.method for block in blocks.values() for found in memory_maps(block)}


def _by_importance(rows: Sequence[Record], groups: Sequence[str]) -> list[str]:
    """Return the bounds, then the others by their best rank: what has to look different first."""
    best: dict[str, tuple[bool, float]] = {}
    for row, name in zip(rows, groups, strict=True):
        rank = float("inf") if pd.isna(row["rank"]) else float(row["rank"])
        key = (row["method"] not in BOUNDS, rank)
        best[name] = min(key, best.get(name, key))
    return sorted(best, key=lambda name: (best[name], name))


def _drawn(i: int, row: Record, series: str, look: Look, tag: str) -> Drawn:
    ranked = row["variant"] != AS_RELEASED
    tag = tag or (f"{row['rank']} {series}" if row["settings"] and ranked else series)
    released = "" if ranked else f"({AS_RELEASED})"
    label = " ".join(filter(None, (series, released, row["settings"])))
    return Drawn(f"r{i}", label, tag, look, ranked=ranked)


def emphasised(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of one dataset and scenario, marked for how they are drawn.

    Where there are few, all stand out, and those of one group differ by the pattern of their
    lines. Otherwise the best row of each group and variant does, :data:`MOST_STRONG` at most, the
    bounds always.

    Parameters
    ----------
    rows : sequence of Row
        Best first, as on the leaderboard.
    """
    done = [row for row in rows if row.finished]
    few = len(done) <= _FEW
    if few:
        strong = done
    else:
        best: dict[tuple[str, str], Row] = {}
        for row in done:
            best.setdefault((row.group, row.row["variant"]), row)
        bounds_first = sorted(best.values(), key=lambda row: row.row["method"] not in BOUNDS)
        strong = bounds_first[:MOST_STRONG]
    marked = []
    seen: Counter[str] = Counter()
    for row in rows:
        dash = DASHES[seen[row.group] % len(DASHES)] if few else ""
        seen[row.group] += 1
        drawn = replace(row.drawn, strong=row in strong, dash=dash)
        marked.append(replace(row, drawn=drawn))
    return marked
