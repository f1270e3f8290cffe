"""Accuracy over freeze depth as a picture: the number stands in each cell.

Downwards are the budgets of one memory (:func:`heat_map`), or memories (:func:`memory_heat_map`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from orchestrator.leaderboard.charts import spelled
from orchestrator.leaderboard.formats import fraction, size
from orchestrator.leaderboard.looks import Look
from orchestrator.leaderboard.memory_map import MemoryMap
from orchestrator.leaderboard.statistics import Interval
from orchestrator.leaderboard.surface import Surface
from orchestrator.leaderboard.svg import label, mark, picture, text_width, tip

_CELL, _HEIGHT, _GAP = 58, 42, 10
_TOP, _BOTTOM = 26, 42
_MARK = 18  # room for a mark
_NOTE = 10.5  # size of the letters of a note
#: How opaque the palest cell is, and shares of the range from which on the ink changes: first where
#: the page is dark, then where it is light.
_PALEST, _MIDDLE, _DARK = 0.08, 0.5, 0.68
#: Letters that a note beside a row may have.
_LONGEST = 34
#: Accuracies that differ by less do not get the whole range of colours.
_NARROWEST = 0.05


class Cell(NamedTuple):
    """A row of the leaderboard on a surface."""

    row: str
    name: str
    accuracy: Interval
    problems: str
    kept: float = math.nan
    look: Look | None = None


class _Line(NamedTuple):
    """A row of a picture: its name, a note under that, and its cells from left to right."""

    name: str
    note: str
    indices: Sequence[int | None]
    look: Look | None = None


def shades(accuracies: list[float]) -> tuple[float, float]:
    """Return the accuracies of the palest and of the darkest cell."""
    low, high = min(accuracies), max(accuracies)
    spare = max(0.0, _NARROWEST - (high - low)) / 2
    return low - spare, high + spare


def ink_on(share: float) -> str:
    """Return the class of what is written on a shade, from 0, the palest, to 1, the darkest."""
    return "on-dark" if share > _DARK else "on-middle" if share > _MIDDLE else "on-pale"


def heat_map(surface: Surface, cells: Mapping[int, Cell], shades: tuple[float, float]) -> Markup:
    """Draw a surface: freeze depth to the right, budget upwards, controls at the bottom.

    Parameters
    ----------
    surface : Surface
    cells : mapping
        By index of the leaderboard's row.
    shades : tuple of float
        As of :func:`shades`, the same for all surfaces that are to be compared.
    """
    stacked = [
        _Line(budget.text, "", [surface.cells.get((budget, d)) for d in surface.depths])
        for budget in surface.budgets[::-1]
    ]
    controls = _controls(surface.controls, surface.depths)
    title = f"accuracy over freeze depth and stored items, {surface.memory}"
    return _picture(
        ("stored items", title), surface.depths, (stacked, controls), cells, shades, _margin
    )


def memory_heat_map(
    found: MemoryMap, cells: Mapping[int, Cell], shades: tuple[float, float]
) -> Markup:
    """Draw memories × freeze depths, with the bytes kept in each cell, controls at the bottom.

    Parameters as in :func:`heat_map`.
    """
    rows = [
        _Line(
            row.memory,
            row.settings,
            [row.cells.get(depth) for depth in found.depths],
            next(cells[index].look for index in row.cells.values()),
        )
        for row in found.rows
    ]
    controls = _controls(found.controls, found.depths)
    titles = ("memory", "accuracy over memory and freeze depth")
    return _picture(titles, found.depths, (rows, controls), cells, shades, _kept)


def _controls(controls: Mapping[tuple[str, int], int], depths: Sequence[int]) -> list[_Line]:
    methods = sorted({method for method, _ in controls})
    return [_Line(m, "", [controls.get((m, depth)) for depth in depths]) for m in methods]


def _picture(
    titles: tuple[str, str],
    depths: Sequence[int],
    blocks: Sequence[Sequence[_Line]],
    cells: Mapping[int, Cell],
    shades: tuple[float, float],
    second: Callable[[Cell], str],
) -> Markup:
    """Draw blocks of rows, a gap between them; ``titles`` are of the rows and of the picture."""
    lines = [line for block in blocks for line in block]
    notes = [_short(line.note) for line in lines]
    widths = [text_width(line.name) for line in lines] + [text_width(n, _NOTE) for n in notes]
    left = max(*widths, text_width("stored")) + 14
    left += _MARK if any(line.look for line in lines) else 0
    parts = [label(4, 15, titles[0], kind="title")]
    y = _TOP - _GAP
    for block in blocks:
        y += _GAP if block else 0
        for line in block:
            parts.append(_named(line, left - 8, y))
            for j, index in enumerate(line.indices):
                cell = None if index is None else cells[index]
                parts.append(_cell(left + j * _CELL, y, cell, shades, second))
            y += _HEIGHT
    for j, depth in enumerate(depths):
        parts.append(label(left + (j + 0.5) * _CELL - 1, y + 15, str(depth), "middle"))
    width = left + len(depths) * _CELL
    parts.append(label((left + width) / 2, y + 34, "freeze depth (blocks)", "middle", "title"))
    wide = max(width, (left + width) / 2 + text_width("freeze depth (blocks)") / 2) + 4
    return picture(wide, y + _BOTTOM, titles[1], parts)


def _named(line: _Line, x: float, y: float) -> Markup:
    """Write a row's name and note, and draw its mark if it has one, up to the left of ``x``."""
    drawn = Markup()
    if line.look:
        x -= _MARK
        drawn = Markup('<g class="c{}">{}</g>').format(
            line.look.colour, mark(x + _MARK - 6, y + _HEIGHT / 2 - 1, line.look)
        )
    if not line.note:
        return label(x, y + _HEIGHT / 2 + 4, line.name, "end") + drawn
    return Markup('<g data-tip="{}">{}{}{}</g>').format(
        tip(line.name, line.note),
        label(x, y + 18, line.name, "end"),
        label(x, y + 32, _short(line.note), "end", "margin"),
        drawn,
    )


def _short(note: str) -> str:
    return note if len(note) <= _LONGEST else note[: _LONGEST - 1].rstrip(" ,=") + "…"


def _margin(cell: Cell) -> str:
    """Return half of the interval."""
    known = cell.accuracy.low == cell.accuracy.low
    return f"±{fraction(cell.accuracy.high - cell.accuracy.mean)}" if known else "one seed"


def _kept(cell: Cell) -> str:
    return size(cell.kept)


def _cell(
    x: float,
    y: float,
    cell: Cell | None,
    shades: tuple[float, float],
    second: Callable[[Cell], str],
) -> Markup:
    middle = x + _CELL / 2 - 1
    box = Markup('<rect x="{:g}" y="{:g}" width="{}" height="{}" rx="4" class="{}"{}/>')
    if cell is None or cell.accuracy.mean != cell.accuracy.mean:
        why = ["no trial"] if cell is None else [cell.name, cell.problems or "no trial finished"]
        return Markup('<g data-tip="{}">{}{}</g>').format(
            tip(*why),
            box.format(x, y, _CELL - 2, _HEIGHT - 2, "none", ""),
            label(middle, y + _HEIGHT / 2 + 3, "–", "middle", "dim"),
        )
    low, high = shades
    share = min(1.0, max(0.0, (cell.accuracy.mean - low) / (high - low)))
    opacity = Markup(' fill-opacity="{:.3f}"').format(_PALEST + (1 - _PALEST) * share)
    ink = ink_on(share)
    kept = f"{size(cell.kept)} kept" if cell.kept == cell.kept else ""
    return Markup('<g data-row="{}" data-tip="{}">{}{}{}</g>').format(
        cell.row,
        tip(cell.name, spelled(cell.accuracy), kept, cell.problems),
        box.format(x, y, _CELL - 2, _HEIGHT - 2, "heat", opacity),
        label(middle, y + 18, fraction(cell.accuracy.mean), "middle", f"number {ink}"),
        label(middle, y + 32, second(cell), "middle", f"margin {ink}"),
    )


def shade_key(shades: tuple[float, float]) -> Markup:
    """Draw what the shades mean: a bar from the palest to the darkest."""
    steps, width = 24, 6
    bar = [
        Markup('<rect x="{:g}" y="2" width="{:g}" height="12" class="heat" {}/>').format(
            38 + i * width,
            width,
            Markup('fill-opacity="{:.3f}"').format(_PALEST + (1 - _PALEST) * i / (steps - 1)),
        )
        for i in range(steps)
    ]
    end = 38 + steps * width
    low, high = (label(32, 13, fraction(shades[0]), "end"), label(end + 6, 13, fraction(shades[1])))
    return picture(end + 44, 18, "accuracy by shade", [low, *bar, high])
