"""The parts of the report, one for each dataset and scenario: its table, charts and differences."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.leaderboard.charts import Figure, bytes_chart, curves_chart
from orchestrator.leaderboard.curves import accuracy_so_far, along, final_accuracies
from orchestrator.leaderboard.generators import Generators, make_generators
from orchestrator.leaderboard.paired import difference, opponent
from orchestrator.leaderboard.panels import Panels, make_panels
from orchestrator.leaderboard.rows import BOUNDS, Row, emphasised
from orchestrator.leaderboard.samples import Strips
from orchestrator.leaderboard.statistics import Interval
from orchestrator.leaderboard.table import AS_RELEASED


class Extent(NamedTuple):
    """The numbers at the two ends of the whiskers in a column."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """Return where a number lies, in percent of the width; at the nearer end if outside."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(100 * min(1.0, max(0.0, share)), 2)


class Column(NamedTuple):
    """Differences to one reference: none for the reference itself, n = 0 where nothing pairs."""

    title: str
    extent: Extent
    cells: list[Interval | None]


@dataclass(frozen=True)
class Section:
    """One dataset and scenario.

    Attributes
    ----------
    anchor, dataset, scenario : str
    rows : list of Row
        In the order of the leaderboard.
    extent : Extent
        Of the whiskers of the accuracies.
    figures : list of Figure
    panels : Panels
    generators : Generators
    columns : list of Column
        Paired differences, a cell for each row.
    """

    anchor: str
    dataset: str
    scenario: str
    rows: list[Row]
    extent: Extent
    figures: list[Figure]
    panels: Panels
    generators: Generators
    columns: list[Column]

    @property
    def legend(self) -> list[Row]:
        """The rows that stand out in the charts."""
        return [row for row in self.rows if row.drawn.strong]

    @property
    def others(self) -> bool:
        """Whether there are rows that do not stand out."""
        return any(row.finished and not row.drawn.strong for row in self.rows)

    @property
    def problems(self) -> bool:
        """Whether anything is not in the means."""
        return any(row.problems for row in self.rows)


def make_section(anchor: str, rows: Sequence[Row], strips: Strips) -> Section:
    """Make the section of the rows of one dataset and scenario."""
    marked = emphasised(rows)
    return Section(
        anchor,
        str(rows[0].row["dataset"]),
        str(rows[0].row["scenario"]),
        marked,
        _extent([row.accuracy for row in marked], within=(0.0, 1.0)),
        _figures(marked),
        make_panels(marked),
        make_generators(marked, strips),
        _columns(marked),
    )


def _extent(intervals: Iterable[Interval], within: tuple[float, float] | None = None) -> Extent:
    ends = [x for i in intervals for x in (i.low, i.mean, i.high) if x == x]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    if within is None:
        return Extent(min(0.0, low), max(0.0, high))
    return Extent(max(low, within[0]), min(high, within[1]))


def _figures(rows: Sequence[Row]) -> list[Figure]:
    done = [row for row in rows if row.finished]
    figures = []
    so_far = [(row.drawn, along(row.trials, accuracy_so_far)) for row in done]
    at_the_end = [(row.drawn, along(row.trials, final_accuracies)) for row in done]
    if any(len(curve) > 1 for _, curve in so_far):
        figures += [
            Figure(
                "Accuracy after each task",
                curves_chart(
                    [one for one in so_far if one[1]],
                    ("tasks learned", "mean accuracy on the tasks learned so far"),
                    "after task",
                ),
                "Bands: 95 % intervals, cut at the edges of the chart.",
            ),
            Figure(
                "Final accuracy on each task",
                curves_chart(
                    [one for one in at_the_end if one[1]],
                    ("task, in the order of learning", "accuracy after the last task"),
                    "on task",
                ),
                "What is left of each task when all have been learned.",
            ),
        ]
    costed = [(row, float(row.row["bytes_kept"])) for row in done]
    points = [(row.drawn, row.accuracy, kept) for row, kept in costed if kept > 0]
    if len(points) > 1:
        figures.append(
            Figure(
                "Accuracy against bytes kept",
                bytes_chart(points, ("kept after the last task", "average accuracy")),
                "Dotted: the Pareto front of the means, the best for at most so many bytes. "
                "Kept are network, optimiser and memory.",
            )
        )
    return figures


def _columns(rows: Sequence[Row]) -> list[Column]:
    """Return the differences to the bounds and to the best of the other methods."""
    ranked = [row for row in rows if row.finished and row.row["variant"] != AS_RELEASED]
    references: list[tuple[str, list[Row]]] = []
    for method in BOUNDS:
        mine = [row for row in ranked if row.row["method"] == method]
        default = [row for row in mine if not row.trials[0]["settings"]]
        if mine:
            references.append((f"less {method}", default or mine[:1]))
    others = [row for row in ranked if row.row["method"] not in BOUNDS]
    if others:
        best = others[0]
        references.append((f"less {best.label}, the best other than the bounds", [best]))
    columns = []
    for title, reference in references:
        cells = [
            None
            if any(row is one for one in reference)
            else difference(row, opponent(row, reference))
            for row in rows
        ]
        if any(cell is not None and cell.n for cell in cells):
            columns.append(Column(title, _extent([c for c in cells if c is not None]), cells))
    return columns
