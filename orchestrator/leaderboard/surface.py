"""Accuracy over freeze depth × budget, a surface for each memory.

Nothing is averaged over settings: rows of the leaderboard that differ in anything but freeze depth
and budget lie on different surfaces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from orchestrator.setups import differing, labels, leaves

#: Named points of one method, which differ in nothing but memory and depth.
_FAMILIES = dict.fromkeys(("replay", "latent-replay", "glr", "dgr"), "rehearsal")
#: Options that are axes of a surface, or choose it.
_AXES = ("freeze_depth", "depth", "buffer_size", "per_class")
#: Surfaces of one memory that are worth showing.
MOST_SURFACES = 6


class Budget(NamedTuple):
    """What a memory may store; sorted by size."""

    size: int
    unit: str

    @property
    def text(self) -> str:
        """Such as ``500``, ``20 a class``, or ``none stored`` of a generator that draws anew."""
        return f"{self.size:,} {self.unit}".strip() if self.size else self.unit


@dataclass(frozen=True)
class Place:
    """Where a row of the leaderboard lies.

    Attributes
    ----------
    method : str
        Named points of rehearsal have one name.
    memory : str, optional
        Kind of memory; None for methods that have no option for one.
    freeze_depth : int
    depth : int
        Where in the network the past is replayed; 0 = images.
    budget : Budget
    rest : mapping
        All other options and the setup, flat, as JSON text.
    """

    method: str
    memory: str | None
    freeze_depth: int
    depth: int
    budget: Budget
    rest: Mapping[str, str]

    @cached_property
    def settings(self) -> frozenset[tuple[str, str]]:
        """The rest, to compare by."""
        return frozenset(self.rest.items())

    def agrees_with(self, other: Place) -> bool:
        """Whether two methods differ in no option that both have; their code may."""
        shared = (self.rest.keys() & other.rest.keys()) - {"code"}
        return all(self.rest[key] == other.rest[key] for key in shared)


def place(method: str, config: str, setup: str) -> Place | None:
    """Return where a trial lies, or None if its method cannot be frozen.

    Parameters
    ----------
    method : str
    config, setup : str
        Columns of its record, JSON. Where the options have a budget but no ``memory``, that is a
        buffer; where they have no ``depth``, images are replayed.
    """
    options: dict[str, Any] = json.loads(config).get("options", {})
    frozen = options.get("freeze_depth")
    if not isinstance(frozen, int):
        return None
    memory, budgeted = options.get("memory"), {"buffer_size", "per_class"} & options.keys()
    kind = memory["name"] if memory else "buffer" if budgeted else None
    depth = options.get("depth", 0)
    rest = {key: value for key, value in options.items() if key not in (*_AXES, "memory")}
    rest |= {key: value for key, value in (memory or {}).items() if key != "name"}
    return Place(
        _FAMILIES.get(method, method),
        kind,
        frozen,
        frozen if depth is None else depth,
        _budget(options),
        leaves(json.dumps(rest)) | leaves(setup),
    )


def _budget(options: Mapping[str, Any]) -> Budget:
    if size := options.get("buffer_size"):
        return Budget(size, "")
    if size := options.get("per_class"):
        return Budget(size, "a class")
    return Budget(0, "none stored")


@dataclass(frozen=True)
class Surface:
    """A panel of cells.

    Attributes
    ----------
    method, memory : str
    settings : str
        What tells it from other surfaces of that memory; empty for the only one.
    depths : tuple of int
        Freeze depths, ascending: the columns.
    budgets : tuple of Budget
        Ascending: the rows.
    cells : dict
        Index of the leaderboard's row by budget and freeze depth.
    controls : dict
        The same by method and freeze depth, for methods without a memory that were frozen alike.
    """

    method: str
    memory: str
    settings: str
    depths: tuple[int, ...]
    budgets: tuple[Budget, ...]
    cells: Mapping[tuple[Budget, int], int]
    controls: Mapping[tuple[str, int], int]

    @property
    def indices(self) -> set[int]:
        """The rows of the leaderboard that are on it, controls left out."""
        return set(self.cells.values())


def surfaces(places: Mapping[int, Place]) -> list[Surface]:
    """Return the surfaces on which at least two freeze depths or two budgets meet.

    Parameters
    ----------
    places : mapping
        Place of each row of the leaderboard, by index; of one dataset and scenario.

    Returns
    -------
    list of Surface
        By method, memory and settings. A trial that replays at its freeze depth lies on the
        surface of those that all do, and on that of its depth, if other freeze depths have that
        one too.
    """
    sheets: dict[tuple[Any, ...], dict[int, Place]] = {}
    for index, spot in places.items():
        if spot.memory is not None:
            key = (spot.method, spot.memory, spot.settings)
            sheets.setdefault(key, {})[index] = spot
    by_memory: dict[tuple[str, str], list[tuple[str, dict[int, Place]]]] = {}
    for (method, memory, _), sheet in sheets.items():
        by_memory.setdefault((method, memory), []).extend(by_depth(sheet))
    controls = controls_in(places)
    found = []
    for (method, memory), panels in sorted(by_memory.items()):
        texts = _told_apart(panels)
        named = zip(texts, panels, strict=True)
        for text, (_, spots) in sorted(named, key=lambda one: one[0]):
            surface = _surface(method, memory, text, spots, controls)
            if surface is not None:
                found.append(surface)
    return found


def by_depth(sheet: Mapping[int, Place]) -> list[tuple[str, dict[int, Place]]]:
    """Split places that agree in all else by where the past is replayed, which names each part."""
    level = {i: p for i, p in sheet.items() if p.depth == p.freeze_depth}
    shallower = {i: p for i, p in sheet.items() if p.depth != p.freeze_depth}
    parts = []
    for depth in sorted({p.depth for p in shallower.values()}):
        part = {i: p for i, p in sheet.items() if p.depth == depth}
        parts.append(("replay of images" if depth == 0 else f"replay at depth {depth}", part))
    if not parts or len({p.freeze_depth for p in level.values()}) > 1:
        parts.insert(0, ("replay at the freeze depth", level))
    return parts


def _told_apart(panels: Sequence[tuple[str, Mapping[int, Place]]]) -> list[str]:
    """Return for each panel what the others of its memory have otherwise."""
    rests = [next(iter(spots.values())).rest for _, spots in panels]
    varied = differing(rests)
    apart = [json.dumps({k: json.loads(r[k]) for k in varied if k in r}) for r in rests]
    unique = sorted(set(apart))
    text_of = dict(zip(unique, labels(unique), strict=True)) if len(unique) > 1 else {}
    where = [depth for depth, _ in panels]
    said = len(set(where)) > 1
    return [
        ", ".join(filter(None, (depth if said else "", text_of.get(rest, ""))))
        for depth, rest in zip(where, apart, strict=True)
    ]


def controls_in(places: Mapping[int, Place]) -> list[dict[int, Place]]:
    """Return the methods without a memory that were run at several freeze depths."""
    sheets: dict[tuple[Any, ...], dict[int, Place]] = {}
    for index, spot in places.items():
        if spot.memory is None:
            sheets.setdefault((spot.method, spot.settings), {})[index] = spot
    several = [s for s in sheets.values() if len({p.freeze_depth for p in s.values()}) > 1]
    return sorted(several, key=lambda sheet: next(iter(sheet.values())).method)


def _surface(
    method: str,
    memory: str,
    settings: str,
    spots: Mapping[int, Place],
    controls: Sequence[Mapping[int, Place]],
) -> Surface | None:
    cells = {(p.budget, p.freeze_depth): i for i, p in spots.items()}
    budgets = sorted({budget for budget, _ in cells})
    depths = sorted({depth for _, depth in cells})
    if len(budgets) < 2 and len(depths) < 2:
        return None
    one = next(iter(spots.values()))
    beside = controls_beside(one, depths, controls)
    return Surface(method, memory, settings, tuple(depths), tuple(budgets), cells, beside)


def controls_beside(
    one: Place, depths: Sequence[int], controls: Sequence[Mapping[int, Place]]
) -> dict[tuple[str, int], int]:
    """Return the rows of the controls that agree with a place, by method and freeze depth.

    Of a method that agrees with several settings none is taken: either could be meant.
    """
    alike = [sheet for sheet in controls if next(iter(sheet.values())).agrees_with(one)]
    names = [next(iter(sheet.values())).method for sheet in alike]
    alike = [sheet for sheet, name in zip(alike, names, strict=True) if names.count(name) == 1]
    return {
        (p.method, p.freeze_depth): i
        for sheet in alike
        for i, p in sheet.items()
        if p.freeze_depth in depths
    }
