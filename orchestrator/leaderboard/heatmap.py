"""Accuracy over freeze depth × budget as a picture: the number stands in each cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from markupsafe import Markup

from orchestrator.leaderboard.charts import spelled
from orchestrator.leaderboard.formats import fraction
from orchestrator.leaderboard.statistics import Interval
from orchestrator.leaderboard.surface import Surface
from orchestrator.leaderboard.svg import label, picture, text_width, tip

_CELL, _HEIGHT, _GAP = 58, 42, 10
_TOP, _BOTTOM = 26, 42
#: How opaque the palest cell is, and shares of the range from which on the ink changes: first where
#: the page is dark, then where it is light.
_PALEST, _MIDDLE, _DARK = 0.08, 0.5, 0.68
#: Accuracies that differ by less do not get the whole range of colours.
_NARROWEST = 0.05


class Cell(NamedTuple):
    """A row of the leaderboard on a surface."""

    row: str
    name: str
    accuracy: Interval
    problems: str


def shades(accuracies: list[float]) -> tuple[float, float]:
    """Return the accuracies of the palest and of the darkest cell."""
    low, high = min(accuracies), max(accuracies)
    spare = max(0.0, _NARROWEST - (high - low)) / 2
    return low - spare, high + spare


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
    methods = sorted({method for method, _ in surface.controls})
    budgets = surface.budgets[::-1]
    names = [budget.text for budget in budgets] + methods
    left = max(text_width(name) for name in [*names, "stored"]) + 14
    stacked = [(b.text, [surface.cells.get((b, d)) for d in surface.depths]) for b in budgets]
    stacked += [(m, [surface.controls.get((m, d)) for d in surface.depths]) for m in methods]
    rows = [
        (name, i * _HEIGHT + (_GAP if i >= len(budgets) else 0), indices)
        for i, (name, indices) in enumerate(stacked)
    ]
    bottom = _TOP + rows[-1][1] + _HEIGHT
    parts = [label(4, 15, "stored items", kind="title")]
    for name, y, indices in rows:
        parts.append(label(left - 8, _TOP + y + _HEIGHT / 2 + 4, name, "end"))
        for j, index in enumerate(indices):
            where = (left + j * _CELL, _TOP + y)
            parts.append(_cell(*where, None if index is None else cells[index], shades))
    for j, depth in enumerate(surface.depths):
        parts.append(label(left + (j + 0.5) * _CELL - 1, bottom + 15, str(depth), "middle"))
    width = left + len(surface.depths) * _CELL
    parts.append(label((left + width) / 2, bottom + 34, "freeze depth (blocks)", "middle", "title"))
    wide = max(width, (left + width) / 2 + text_width("freeze depth (blocks)") / 2) + 4
    title = f"accuracy over freeze depth and stored items, {surface.memory}"
    return picture(wide, bottom + _BOTTOM, title, parts)


def _cell(x: float, y: float, cell: Cell | None, shades: tuple[float, float]) -> Markup:
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
    ink = "on-dark" if share > _DARK else "on-middle" if share > _MIDDLE else "on-pale"
    known = cell.accuracy.low == cell.accuracy.low
    margin = f"±{fraction(cell.accuracy.high - cell.accuracy.mean)}" if known else "one seed"
    return Markup('<g data-row="{}" data-tip="{}">{}{}{}</g>').format(
        cell.row,
        tip(cell.name, spelled(cell.accuracy), cell.problems),
        box.format(x, y, _CELL - 2, _HEIGHT - 2, "heat", opacity),
        label(middle, y + 18, fraction(cell.accuracy.mean), "middle", f"number {ink}"),
        label(middle, y + 32, margin, "middle", f"margin {ink}"),
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
