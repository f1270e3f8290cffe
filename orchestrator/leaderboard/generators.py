"""The part of a section that shows what the generators remember: audit, flags and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.leaderboard.audit import MEASURES, Audit, Measure, audit_of
from orchestrator.leaderboard.charts import Figure, curves_chart
from orchestrator.leaderboard.rows import Row, emphasised
from orchestrator.leaderboard.samples import Strip, Strips
from orchestrator.leaderboard.table import independent


class Audited(NamedTuple):
    """A row with its audit."""

    row: Row
    audit: Audit


@dataclass(frozen=True)
class Generators:
    """What the generators of one dataset and scenario remember.

    Attributes
    ----------
    audited : list of Audited
        Those with a flag first, then in the order of the leaderboard.
    figure : Figure, optional
        Labels that are right, against tasks learned; None for a single task.
    legend : list of Row
        The rows that stand out in it.
    strips : list of Strip
    """

    audited: list[Audited]
    figure: Figure | None
    legend: list[Row]
    strips: list[Strip]

    @property
    def measures(self) -> tuple[Measure, ...]:
        """The columns of the table: the numbers that any of the audits has."""
        found = [audit.last for _, audit in self.audited]
        return tuple(
            m for m in MEASURES if any(one[m.key].mean == one[m.key].mean for one in found)
        )

    @property
    def flagged(self) -> int:
        """How many rows have a flag."""
        return sum(audit.flagged is not None for _, audit in self.audited)


def make_generators(rows: Sequence[Row], strips: Strips) -> Generators:
    """Make the part of the rows of one dataset and scenario.

    Parameters
    ----------
    rows : sequence of Row
        In the order of the leaderboard.
    strips : Strips
        Of the page.
    """
    found = [(row, audit_of(independent(row.done))) for row in rows]
    audited = [Audited(row, audit) for row, audit in found if audit is not None]
    mine = [strips.by_row[row.drawn.row] for row in rows if row.drawn.row in strips.by_row]
    marked = emphasised([row for row, _ in audited])
    curves = [(row.drawn, audit.agreement) for row, (_, audit) in zip(marked, audited, strict=True)]
    figure = None
    if any(len(values) > 1 for _, values in curves):
        figure = Figure(
            "Labels right after each task",
            curves_chart(
                curves, ("tasks learned", "share of replayed labels that are right"), "after task"
            ),
            "Of what will be rehearsed while the next task is learnt. Bands: 95 % intervals.",
        )
    audited.sort(key=lambda one: one.audit.flagged is None)  # stable
    return Generators(audited, figure, [row for row in marked if row.drawn.strong], mine)
