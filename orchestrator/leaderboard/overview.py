"""What each method reaches everywhere: accuracies on all datasets and scenarios side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.leaderboard.heatmap import ink_on, shades
from orchestrator.leaderboard.rows import BOUNDS, Row
from orchestrator.leaderboard.sections import Section

#: What stands for the settings of a line that has others in each section.
DIFFER = "settings differ"


class Cell(NamedTuple):
    """A row of the leaderboard in its column.

    Attributes
    ----------
    row : Row
    share : float, optional
        Where its accuracy lies between the lowest and the highest of the column, from 0 to 1; None
        where it has none, or no rank.
    best : bool
        Whether no ranked row of the column other than the bounds has more.
    """

    row: Row
    share: float | None
    best: bool

    @property
    def ink(self) -> str:
        """The class of what is written on its shade."""
        return "" if self.share is None else ink_on(self.share)


class Line(NamedTuple):
    """A method, with the same settings everywhere or none in common, and its cell in each column.

    ``first`` is the row that it has its name and look from.
    """

    first: Row
    settings: str
    cells: list[Cell | None]


@dataclass(frozen=True)
class Overview:
    """A table of methods × sections.

    Attributes
    ----------
    titles : list of str
        Of the columns: what tells one section from the others.
    lines : list of Line
        Best first in the first column; those that it lacks follow, best first in the next one. As
        released variants come last.
    """

    titles: list[str]
    lines: list[Line]


def make_overview(sections: Sequence[Section]) -> Overview | None:
    """Return the overview of several sections; None where no method is in two of them."""
    columns = [_column(section) for section in sections]
    lines = [
        _line([column.get(key) for column, key in zip(columns, keys, strict=True)])
        for keys in _keys(sections)
    ]
    if not any(sum(cell is not None for cell in line.cells) > 1 for line in lines):
        return None
    return Overview(_titles(sections), sorted(lines, key=_order))


def _column(section: Section) -> dict[str | None, Cell]:
    """Return the cells of a section by the name of their rows."""
    ranked = [row for row in section.rows if row.finished and row.drawn.ranked]
    low, high = shades([row.accuracy.mean for row in ranked]) if ranked else (0.0, 1.0)
    best = next((row for row in ranked if row.row["method"] not in BOUNDS), None)
    return {
        row.drawn.row: Cell(
            row,
            (row.accuracy.mean - low) / (high - low) if row in ranked else None,
            row is best,
        )
        for row in section.rows
    }


def _keys(sections: Sequence[Section]) -> list[list[str | None]]:
    """Return for each line the name of its row in each section.

    Rows of a series and variant of which no two are in one section are one line, whatever their
    settings; otherwise those with the same settings are.
    """
    kinds: dict[tuple[str, str], dict[str, dict[int, str]]] = {}
    for column, section in enumerate(sections):
        for row in section.rows:
            alike = kinds.setdefault((row.series, str(row.row["variant"])), {})
            alike.setdefault(str(row.row["settings"]), {})[column] = row.drawn.row
    lines: list[dict[int, str]] = []
    for by_settings in kinds.values():
        parts = list(by_settings.values())
        whole = {column: name for part in parts for column, name in part.items()}
        lines += [whole] if sum(map(len, parts)) == len(whole) else parts
    return [[line.get(column) for column in range(len(sections))] for line in lines]


def _line(cells: list[Cell | None]) -> Line:
    rows = [cell.row for cell in cells if cell]
    settings = {str(row.row["settings"]) for row in rows}
    return Line(rows[0], settings.pop() if len(settings) == 1 else DIFFER, cells)


def _titles(sections: Sequence[Section]) -> list[str]:
    datasets = len({section.dataset for section in sections}) > 1
    scenarios = len({section.scenario for section in sections}) > 1
    parts = [
        (section.dataset if datasets else "", section.scenario if scenarios else "")
        for section in sections
    ]
    return [", ".join(filter(None, part)) for part in parts]


def _order(line: Line) -> tuple[bool, list[tuple[bool, float]]]:
    means = [cell.row.accuracy.mean if cell and cell.row.finished else None for cell in line.cells]
    return not line.first.drawn.ranked, [(mean is None, -(mean or 0.0)) for mean in means]
