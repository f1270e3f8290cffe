"""The leaderboard as one HTML page that needs nothing but a browser: no network, no other file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import TYPE_CHECKING

from markupsafe import Markup

from orchestrator.leaderboard import facts
from orchestrator.leaderboard.formats import difference, duration, fraction, size
from orchestrator.leaderboard.looks import DARK, DARK_GROUND, LIGHT, LIGHT_GROUND, Look
from orchestrator.leaderboard.overview import make_overview
from orchestrator.leaderboard.report import footnotes
from orchestrator.leaderboard.rows import MOST_STRONG, Row, make_rows
from orchestrator.leaderboard.samples import MOST_BYTES, make_strips
from orchestrator.leaderboard.sections import Section, make_section
from orchestrator.leaderboard.svg import line, mark, picture
from orchestrator.leaderboard.table import Pooled

if TYPE_CHECKING:
    from jinja2 import Environment

    from orchestrator.storage import Storage


@dataclass(frozen=True)
class About:
    """What a page says of the sweep that it shows.

    Attributes
    ----------
    name : str
        Of the sweep; empty for several together.
    description, paper : str
        As the search space gives them.
    command : str
        What to type to get these trials.
    search_space : str
        Its YAML text; empty where it is not known.
    """

    name: str = ""
    description: str = ""
    paper: str = ""
    command: str = ""
    search_space: str = ""


def to_html(pooled: Pooled, about: About | None = None, storage: Storage | None = None) -> str:
    """Return the leaderboard as an HTML page with charts.

    The page holds its styles, scripts and pictures itself and loads nothing. Names and settings are
    escaped, whatever they contain. Charts that the records have no data for are left out.

    Parameters
    ----------
    pooled : Pooled
        From :func:`~orchestrator.leaderboard.table.pool`.
    about : About, optional
    storage : Storage, optional
        The results folder, for pictures of what generators make; without it there are none.
    """
    rows = make_rows(pooled)
    strips = make_strips(rows, storage)
    blocks = groupby(rows, key=lambda row: (row.row["dataset"], row.row["scenario"]))
    sections = [make_section(f"s{i}", list(block), strips) for i, (_, block) in enumerate(blocks)]
    template = _environment().get_template("report.html.jinja")
    return template.render(
        about=about or About(),
        sections=sections,
        overview=make_overview(sections),
        notes=_notes(pooled, sections, strips.left_out),
        outcomes=facts.outcomes(pooled),
        when=facts.when(pooled),
        spent=facts.spent(pooled),
        versions=facts.versions(pooled),
        most=MOST_STRONG,
        colours=list(zip(LIGHT, DARK, strict=True)),
        grounds=(LIGHT_GROUND, DARK_GROUND),
        style=_packaged("report.css"),
        script=_packaged("report.js"),
    )


def _notes(pooled: Pooled, sections: Sequence[Section], left_out: int) -> list[str]:
    """Return the sentences under the page, those that apply to what is on it."""
    notes = footnotes(pooled.table)
    if any(section.columns for section in sections):
        notes.append(
            "Paired differences: the row less the reference, seed by seed, with the interval of "
            "the paired t-test. Each interval stands for itself: among many, some exclude zero by "
            "chance. The best row was chosen by the same numbers, so it looks a little too good."
        )
    if any(section.panels.maps for section in sections):
        notes.append(
            "Memory × depth: a cell is one row of the table. Methods that differ in nothing but "
            "memory and depth stand in the row of their memory, and have its colour and mark in "
            "all charts, whatever they are called."
        )
    if any(section.panels.surfaces for section in sections):
        notes.append(
            "Surfaces: a cell is one row of the table, never a mean over settings; rows that "
            "differ in more than freeze depth and stored items are on different panels."
        )
    if any(section.generators.audited for section in sections):
        notes.append(
            "The audit changes no result. Its judge is trained on the real items of all tasks, "
            "and looks at what a generator would give to be rehearsed next."
        )
    if left_out:
        notes.append(
            f"Pictures left out to keep the page below {size(MOST_BYTES)} of them: {left_out}, "
            "those after earlier tasks first. The folder samples of the results has them all."
        )
    return notes


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("orchestrator.leaderboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["typeset"] = _typeset
    numbers = {"fraction": fraction, "difference": difference, "size": size, "duration": duration}
    made.filters |= {name: _number(function) for name, function in numbers.items()}
    made.filters |= {"swatch": _swatch, "sample": _sample}
    return made


def _number(function: Callable[[float], str]) -> Callable[[float], str]:
    return lambda value: _typeset(function(value))


def _typeset(text: str) -> str:
    """Put a true minus sign before negative numbers, and a dash for what is not known."""
    return "–" if text == "-" else text.replace("-", "−")


def _swatch(look: Look) -> Markup:
    """Draw a method's mark, as in the charts."""
    return picture(12, 12, "", [mark(6, 6, look, 4.6)])


def _sample(row: Row) -> Markup:
    """Draw a row's line and mark, as in the charts."""
    stroke = line(1, 7, 33, 7, "line", row.drawn.dash)
    kind = "mark" if row.drawn.ranked else "mark hollow"
    return picture(34, 14, "", [stroke, mark(17, 7, row.drawn.look, 4.4, kind)])


@cache
def _packaged(name: str) -> Markup:
    """Return a file beside the template as it is."""
    text = (files("orchestrator.leaderboard") / "templates" / name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - a file of this package, not a reader's
