"""Accuracy over memory × freeze depth: all memories of a method side by side.

Named points of one method stand in the row of their memory, whatever they are called. Nothing is
averaged: a cell is a row of the leaderboard.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.leaderboard.surface import (
    Budget,
    Place,
    by_depth,
    controls_beside,
    controls_in,
)
from orchestrator.setups import compact_json, differing, labels

#: What each method has of its own, and trials that are compared may differ in.
_CODE = "code"


class MemoryRow(NamedTuple):
    """A memory with its settings.

    Attributes
    ----------
    memory : str
    settings : str
        What it stores, and what tells it from other rows; empty where there is nothing to say.
    cells : dict
        Index of the leaderboard's row by freeze depth.
    """

    memory: str
    settings: str
    cells: Mapping[int, int]


@dataclass(frozen=True)
class MemoryMap:
    """Memories, to be drawn as rows, at freeze depths, the columns.

    Attributes
    ----------
    method : str
    depths : tuple of int
        Ascending.
    rows : tuple of MemoryRow
    controls : dict
        Index of the leaderboard's row by method and freeze depth, for methods without a memory
        that were frozen alike.
    """

    method: str
    depths: tuple[int, ...]
    rows: tuple[MemoryRow, ...]
    controls: Mapping[tuple[str, int], int]

    @property
    def indices(self) -> set[int]:
        """The rows of the leaderboard that are on it, controls left out."""
        return {index for row in self.rows for index in row.cells.values()}


class _Line(NamedTuple):
    """Trials that differ in nothing but freeze depth."""

    memory: str
    budget: Budget
    where: str  # they replay
    spots: Mapping[int, Place]
    by_code: bool  # whether the code alone tells it from another line

    @property
    def rest(self) -> Mapping[str, str]:
        """Options and setup; without the code, unless that is what counts."""
        rest = next(iter(self.spots.values())).rest
        return {k: v for k, v in rest.items() if k != _CODE or self.by_code}

    @property
    def depths(self) -> set[int]:
        return {spot.freeze_depth for spot in self.spots.values()}


def memory_maps(places: Mapping[int, Place]) -> list[MemoryMap]:
    """Return a map for each method of which two memories meet at two freeze depths or more.

    There is none where each memory was run with several budgets: their surfaces show it all.

    Parameters
    ----------
    places : mapping
        Place of each row of the leaderboard, by index; of one dataset and scenario.
    """
    methods: dict[str, list[_Line]] = defaultdict(list)
    for line in _lines(places):
        methods[next(iter(line.spots.values())).method].append(line)
    controls = controls_in(places)
    found = []
    for method, lines in sorted(methods.items()):
        kinds = _by_memory(lines)
        met = Counter(depth for mine in kinds.values() for depth in _union(mine))
        budgets = [len({line.budget for line in mine}) for mine in kinds.values()]
        if sum(count > 1 for count in met.values()) < 2 or min(budgets) > 1:
            continue
        depths = sorted(_union(lines))
        rows = [row for mine in kinds.values() for row in _rows(mine, lines)]
        first = next(iter(lines[0].spots.values()))
        beside = controls_beside(first, depths, controls)
        found.append(MemoryMap(method, tuple(depths), tuple(rows), beside))
    return found


def _lines(places: Mapping[int, Place]) -> list[_Line]:
    sheets: dict[tuple[object, ...], dict[int, Place]] = defaultdict(dict)
    for index, spot in places.items():
        if spot.memory is not None:
            rest = frozenset((k, v) for k, v in spot.rest.items() if k != _CODE)
            sheets[spot.method, spot.memory, spot.budget, rest][index] = spot
    lines = []
    for sheet in sheets.values():
        spots = Counter((spot.freeze_depth, spot.depth) for spot in sheet.values())
        by_code = max(spots.values()) > 1
        parts = _parted_by_code(sheet) if by_code else [sheet]
        for part in parts:
            one = next(iter(part.values()))
            assert one.memory is not None  # those were taken
            lines += [
                _Line(one.memory, one.budget, where, spots, by_code)
                for where, spots in by_depth(part)
                if spots
            ]
    return sorted(lines, key=lambda line: (line.memory, line.budget, sorted(line.rest.items())))


def _parted_by_code(sheet: Mapping[int, Place]) -> list[dict[int, Place]]:
    parts: dict[str | None, dict[int, Place]] = defaultdict(dict)
    for index, spot in sheet.items():
        parts[spot.rest.get(_CODE)][index] = spot
    return list(parts.values())


def _by_memory(lines: Iterable[_Line]) -> dict[str, list[_Line]]:
    kinds: dict[str, list[_Line]] = defaultdict(list)
    for line in lines:
        kinds[line.memory].append(line)
    return kinds


def _union(lines: Iterable[_Line]) -> set[int]:
    return {depth for line in lines for depth in line.depths}


def _rows(mine: Sequence[_Line], lines: Sequence[_Line]) -> list[MemoryRow]:
    """Return the rows of one memory: a single one where its lines have no freeze depth in common.

    So a budget or an option that was chosen for each depth leaves one row.
    """
    cells = [{p.freeze_depth: i for i, p in line.spots.items()} for line in mine]
    apart = sum(map(len, cells)) == len(_union(mine))
    if len(mine) > 1 and apart:
        whole = {depth: index for line in cells for depth, index in line.items()}
        return [MemoryRow(mine[0].memory, "settings differ by depth", whole)]
    shared = set.intersection(*(set(line.rest) for line in lines))
    shown = sorted(
        {k for k in differing([line.rest for line in lines]) if k in shared and k != _CODE}
        | set(differing([line.rest for line in mine]))
    )
    where_differs = len({line.where for line in lines}) > 1
    return [
        MemoryRow(
            line.memory,
            ", ".join(
                filter(
                    None,
                    (
                        f"{line.budget.text} stored" if line.budget.size else "",
                        line.where if where_differs else "",
                        _said(line.rest, shown),
                    ),
                )
            ),
            some,
        )
        for line, some in zip(mine, cells, strict=True)
    ]


def _said(rest: Mapping[str, str], keys: Sequence[str]) -> str:
    said = {key: json.loads(rest[key]) for key in keys if key in rest}
    return labels([compact_json(said)], list(said))[0] if said else ""
