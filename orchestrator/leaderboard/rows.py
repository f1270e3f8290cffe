"""The rows of the report: each with its trials, its look, and its name in the charts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from orchestrator.leaderboard.charts import Drawn
from orchestrator.leaderboard.looks import DASHES, Look, looks
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
    drawn : Drawn
    place : Place, optional
        Where it lies among freeze depths and budgets.
    """

    series: str
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
    memories: dict[str, set[str | None]] = defaultdict(set)
    for row, spot in zip(rows, places, strict=True):
        memories[row["method"]].add(spot.memory if spot else None)
    series = [
        f"{row['method']} · {spot.memory}"
        if spot and spot.memory and len(memories[row["method"]]) > 1
        else str(row["method"])
        for row, spot in zip(rows, places, strict=True)
    ]
    look_of = looks(_by_importance(rows, series))
    return [
        Row(row, trials, name, _drawn(i, row, name, look_of[name]), spot)
        for i, (row, trials, name, spot) in enumerate(
            zip(rows, pooled.trials, series, places, strict=True)
        )
    ]


def _by_importance(rows: Sequence[Record], series: Sequence[str]) -> list[str]:
    """Return the bounds, then the others by their best rank: what has to look different first."""
    best: dict[str, tuple[bool, float]] = {}
    for row, name in zip(rows, series, strict=True):
        rank = float("inf") if pd.isna(row["rank"]) else float(row["rank"])
        key = (row["method"] not in BOUNDS, rank)
        best[name] = min(key, best.get(name, key))
    return sorted(best, key=lambda name: (best[name], name))


def _drawn(i: int, row: Record, series: str, look: Look) -> Drawn:
    ranked = row["variant"] != AS_RELEASED
    tag = f"{row['rank']} {series}" if row["settings"] and ranked else series
    released = "" if ranked else f"({AS_RELEASED})"
    label = " ".join(filter(None, (series, released, row["settings"])))
    return Drawn(f"r{i}", label, tag, look, ranked=ranked)


def emphasised(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of one dataset and scenario, marked for how they are drawn.

    Where there are few, all stand out, and those of one method differ by the pattern of their
    lines. Otherwise the best row of each method and variant does, :data:`MOST_STRONG` at most, the
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
            best.setdefault((row.series, row.row["variant"]), row)
        bounds_first = sorted(best.values(), key=lambda row: row.row["method"] not in BOUNDS)
        strong = bounds_first[:MOST_STRONG]
    marked = []
    seen: Counter[str] = Counter()
    for row in rows:
        dash = DASHES[seen[row.series] % len(DASHES)] if few else ""
        seen[row.series] += 1
        drawn = replace(row.drawn, strong=row in strong, dash=dash)
        marked.append(replace(row, drawn=drawn))
    return marked
