"""The heat maps of a section: memory × freeze depth, and stored items × freeze depth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from markupsafe import Markup

from orchestrator.leaderboard.charts import bytes_chart
from orchestrator.leaderboard.heatmap import (
    Cell,
    heat_map,
    memory_heat_map,
    shade_key,
    shades,
)
from orchestrator.leaderboard.memory_map import MemoryMap, MemoryRow, memory_maps
from orchestrator.leaderboard.rows import Row
from orchestrator.leaderboard.surface import MOST_SURFACES, Surface, surfaces

#: Rows that a map of memories has at most.
_MOST_ROWS = 14


class Panel(NamedTuple):
    """A heat map, the memory or method it is of and the settings that tell it apart."""

    memory: str
    settings: str
    chart: Markup


class MapPanel(NamedTuple):
    """A map of memories, its method, and accuracy against bytes of what is on it."""

    method: str
    chart: Markup
    costs: Markup


@dataclass(frozen=True)
class Panels:
    """The heat maps of a section.

    Attributes
    ----------
    maps : list of MapPanel
        Memory × freeze depth.
    surfaces : list of Panel
        Freeze depth × stored items, of memories with more than one row on no map.
    key : Markup
        What the shades mean, in all of them.
    hidden_rows, hidden : int
        Rows of maps, and surfaces, that are not shown because there are too many.
    """

    maps: list[MapPanel]
    surfaces: list[Panel]
    key: Markup
    hidden_rows: int
    hidden: int


def make_panels(rows: Sequence[Row]) -> Panels:
    """Make the heat maps of the rows of one dataset and scenario, those worth showing."""
    places = {i: row.place for i, row in enumerate(rows) if row.place is not None}
    maps = [_best_first(found, rows) for found in memory_maps(places)]
    mapped = {index for found in maps for index in found.indices}
    cut = [replace(found, rows=found.rows[:_MOST_ROWS]) for found in maps]
    told = [s for s in surfaces(places) if len(s.budgets) > 1 or not mapped >= s.indices]
    shown, hidden = _worth_showing(told, rows)
    drawn: list[MemoryMap | Surface] = [*cut, *shown]
    compared = {i for one in drawn for i in one.indices}
    controls = {i for one in drawn for i in one.controls.values()}
    means = [rows[i].accuracy.mean for i in compared if rows[i].finished]
    if not means:
        return Panels([], [], Markup(), 0, 0)
    cells = {i: _cell(rows[i]) for i in (*compared, *controls)}
    scale = shades(means)  # controls may be far below: they would leave the others one shade
    methods = {surface.method for surface in shown}
    return Panels(
        [
            MapPanel(found.method, memory_heat_map(found, cells, scale), _costs(found, rows))
            for found in cut
        ],
        [
            Panel(
                f"{s.method} · {s.memory}" if len(methods) > 1 else s.memory,
                s.settings,
                heat_map(s, cells, scale),
            )
            for s in shown
        ],
        shade_key(scale),
        sum(len(found.rows) - _MOST_ROWS for found in maps if len(found.rows) > _MOST_ROWS),
        hidden,
    )


def _costs(found: MemoryMap, rows: Sequence[Row]) -> Markup:
    """Draw accuracy against bytes, the best cell of each memory standing out."""
    points, named = [], set()
    mine = [rows[i] for i in found.indices if rows[i].finished and rows[i].row["bytes_kept"] > 0]
    for row in sorted(mine, key=lambda row: -row.accuracy.mean):
        drawn = replace(row.drawn, strong=row.group not in named)
        named.add(row.group)
        points.append((drawn, row.accuracy, float(row.row["bytes_kept"])))
    if len(points) < 2:
        return Markup()
    return bytes_chart(points, ("kept after the last task", "average accuracy"))


def _cell(row: Row) -> Cell:
    problems = ", ".join(row.problems)
    kept = float(row.row["bytes_kept"])
    return Cell(row.drawn.row, row.label, row.accuracy, problems, kept, row.drawn.look)


def _best_first(found: MemoryMap, rows: Sequence[Row]) -> MemoryMap:
    """Order a map by the best cell of each row, the best row of each memory before all others."""

    def best(row: MemoryRow) -> float:
        return _best(row.cells.values(), rows)

    ordered = sorted(found.rows, key=lambda row: (-best(row), row.memory, row.settings))
    first = {row.memory: row for row in reversed(ordered)}
    kept = [*first.values(), *(row for row in ordered if row is not first[row.memory])][:_MOST_ROWS]
    rest = [row for row in ordered if all(row is not one for one in kept)]
    return replace(found, rows=(*(r for r in ordered if any(r is k for k in kept)), *rest))


def _best(indices: Iterable[int], rows: Sequence[Row]) -> float:
    means = [rows[i].accuracy.mean for i in indices if rows[i].finished]
    return max(means, default=float("-inf"))


def _worth_showing(found: Sequence[Surface], rows: Sequence[Row]) -> tuple[list[Surface], int]:
    """Return the surfaces with the best cells of each memory, and how many were left out."""
    best = {k: _best(surface.cells.values(), rows) for k, surface in enumerate(found)}
    best = {k: value for k, value in best.items() if value > float("-inf")}
    shown: list[Surface] = []
    for memory in dict.fromkeys((found[k].method, found[k].memory) for k in best):
        mine = [k for k in best if (found[k].method, found[k].memory) == memory]
        chosen = sorted(mine, key=lambda k: -best[k])[:MOST_SURFACES]
        shown += [found[k] for k in sorted(chosen)]
    return shown, len(best) - len(shown)
