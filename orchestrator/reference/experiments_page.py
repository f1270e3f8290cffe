"""``docs/experiments.md``: the packaged search spaces, and what was measured of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from orchestrator.leaderboard.formats import ABSENT, difference, fraction, size
from orchestrator.leaderboard.table import AS_RELEASED
from orchestrator.plan import count_trials
from orchestrator.reference.docstrings import linked
from orchestrator.reference.options import table
from orchestrator.reference.published import Figure, beside, figures
from orchestrator.search_space import SearchSpace, packaged_spaces, read_space
from orchestrator.space.measured import Measured, Row, Span, read_measured
from orchestrator.space.times import about, time_elsewhere

Read = Callable[[str], Measured | None]

_HEAD = """\
# Experiments

Every packaged search space: what it is for, the command that runs it, how many trials it has and
what they take, the published figures, and ours where they were measured. Data come first, such as
`engram data prepare mnist`: `engram plan` says what is missing. A row pools the seeds of one
configuration. Intervals are 95 % Student-t over the n seeds; differences are paired by seed, and so
are their intervals; *kept* is everything that survives a task, the network and its optimiser
included. Published figures are mostly of single runs at full size: beside a small budget they tell
the order, not the height.

Times are those of all trials one after the other, on one core unless a GPU is named; `engram run`
works on as many trials at once as there are cores, and `engram list search-spaces` tells what that
comes to on your machine. What the methods do: [methods](methods.md). What each number means:
[results](results.md).

`make docs` makes this page of `search_spaces/*.yaml` and of `search_spaces/measured/`, where
`python -m orchestrator.reference export --results DIR` keeps what a folder of results has."""

_NOT_MEASURED = "not measured"


def experiments_page(
    measured: Read = read_measured, others: Mapping[str, str] = MappingProxyType({})
) -> str:
    """Return the page.

    Parameters
    ----------
    measured : callable
        Gives what was measured of a sweep, by its name.
    others : mapping
        Other pages of the documentation, by file: those with the command of a search space are
        named there.
    """
    spaces = [_readings(name) for name in packaged_spaces()]
    parts = [_HEAD, _overview(spaces, measured)]
    for readings in spaces:
        parts += _space(readings, measured, others)
    return "\n\n".join(parts) + "\n"


def _readings(name: str) -> list[SearchSpace]:
    """Return a packaged search space as it is, and with each of its budgets."""
    space, problems = read_space(name)
    problems.raise_if_any()
    return [space, *space.others]


def _overview(spaces: list[list[SearchSpace]], measured: Read) -> str:
    rows = [
        [
            f"[`{readings[0].name}`](#{readings[0].name})" if space is readings[0] else "",
            f"`--budget {space.budget}`" if space.budget else "–",
            *_size(space, measured(space.name)),
        ]
        for readings in spaces
        for space in readings
    ]
    return table(["search space", "budget", "trials", "time", "measured"], rows, "  r")


def _size(space: SearchSpace, measured: Measured | None) -> list[str]:
    """Return the number of trials, their time, and how many of them were measured."""
    trials = count_trials(space)
    time = time_elsewhere(measured)
    text = _NOT_MEASURED
    if time is not None and measured is not None:
        gpu = measured.computed_with.get("GPU", "")
        text = about(time.of(trials).seconds) + (f" on {gpu}" if time.on_gpu else "")
        text += ", extrapolated" if measured.missing else ""
    return [f"{trials:,}", text, _state(measured)]


def _state(measured: Measured | None) -> str:
    if measured is None or not measured.finished:
        return "–"
    if measured.missing:
        return f"partial: {measured.finished:,} of {measured.planned:,}"
    lost = measured.planned - measured.finished
    return f"all but {lost:,}, which did not finish" if lost else "all"


def _space(readings: list[SearchSpace], measured: Read, others: Mapping[str, str]) -> Iterator[str]:
    header = readings[0].header
    yield f"## {readings[0].name}"
    yield linked(_line(header.description))
    if header.paper:
        yield f"Paper: {linked(_line(header.paper))}"
    rows = [[f"`{_command(space)}`", *_size(space, measured(space.name))] for space in readings]
    yield table(["command", "trials", "time", "measured"], rows, " r")
    commands = [f"`{_command(space)}`" for space in readings]
    about_it = [file for file, text in others.items() if any(c in text for c in commands)]
    if about_it:
        links = ", ".join(f"[{_title(others[file])}]({file})" for file in about_it)
        yield f"Its figures are told, and explained, in: {links}"
    published = figures(header.published)
    if isinstance(header.published, str) and header.published:
        yield f"Published figures: {_line(header.published)}"
    elif published:
        yield table(
            ["published", "figure"], [[one.text, str(one.value)] for one in published], " r"
        )
    elif header.paper:
        yield "Published figures: none at hand."
    for space in readings:
        found = measured(space.name)
        if found is not None and found.finished:
            yield from _results(space, found, published)


def _results(space: SearchSpace, measured: Measured, published: list[Figure]) -> Iterator[str]:
    yield f"### {'Results' if space.budget is None else f'Results with --budget {space.budget}'}"
    said = space.header.description.strip()
    if space.others and space.budget is not None:
        yield linked(_line(said))
    build = ", ".join(f"{key} {value}" for key, value in measured.computed_with.items())
    yield f"{_whole(space, measured)} Computed with {build}."
    figure_of = beside(published, measured.rows)
    blocks = dict.fromkeys((row.dataset, row.scenario) for row in measured.rows)
    for dataset, scenario in blocks:
        rows = [row for row in measured.rows if (row.dataset, row.scenario) == (dataset, scenario)]
        begun = [row for row in rows if row.missing < row.planned]
        if begun:
            yield f"{dataset}, {scenario}:"
            yield _table(begun, measured.reference, figure_of)
        rest = sorted({_method(row) for row in rows if row not in begun})
        if rest:
            yield f"{dataset}, {scenario}, not yet run: {', '.join(rest)}."


def _whole(space: SearchSpace, measured: Measured) -> str:
    """Say whether all trials are in the tables, and whether they are those of today."""
    text = f"{measured.finished:,} of {measured.planned:,} trials."
    if measured.missing:
        text = f"**Partial**: {text}"
    today = count_trials(space)
    if today != measured.planned:
        text += f" Measured when the search space had {measured.planned:,} trials, not {today:,}."
    return text


def _table(rows: list[Row], reference: str, published: dict[Row, Figure]) -> str:
    compared = any(row.pairs for row in rows)
    with_published = any(row in published for row in rows)
    head = ["method", "settings", "accuracy", "forgetting", "kept", "n"]
    align = "   rrr"
    if compared:
        head.insert(3, f"less {reference}, paired")
        align = "    rrr"
    if with_published:
        head.append("published")
        align += "r"
    lines = []
    for row in rows:
        cells = [_method(row), row.settings.replace("`", "") or "–", _span(row.accuracy)]
        if compared:
            cells.append(_difference(row))
        cells += [_number(row.forgetting, fraction), _number(row.bytes_kept, size), _count(row)]
        if with_published:
            cells.append(str(published[row].value) if row in published else "")
        lines.append(cells)
    return table(head, lines, align)


def _method(row: Row) -> str:
    return f"`{row.method}`" + " (as released)" * (row.variant == AS_RELEASED)


def _span(span: Span) -> str:
    if span.mean is None:
        return ABSENT
    if span.low is None or span.high is None:
        return fraction(span.mean)
    return f"{fraction(span.mean)} [{fraction(span.low)}, {fraction(span.high)}]"


def _difference(row: Row) -> str:
    mean, low, high = row.difference
    if not row.pairs or mean is None:
        return ""
    if low is None or high is None:
        return difference(mean)
    text = f"{difference(mean)} [{difference(low)}, {difference(high)}]"
    return text if row.pairs == row.n else f"{text}, {row.pairs} pairs"


def _number(value: float | None, form: Callable[[float], str]) -> str:
    return form(math.nan if value is None else value)


def _count(row: Row) -> str:
    """Return n, and what is not in it."""
    lost = [
        f"{count} {name}"
        for count, name in (
            (row.missing, "missing"),
            (row.diverged, "diverged"),
            (row.errors, "with errors"),
        )
        if count
    ]
    return ", ".join([str(row.n), *lost]) + (": partial" if row.missing else "")


def _command(space: SearchSpace) -> str:
    file = space.name.removesuffix(f"-{space.budget}") if space.budget else space.name
    return f"engram run {file}" + (f" --budget {space.budget}" if space.budget else "")


def _title(page: str) -> str:
    return page.partition("\n")[0].lstrip("# ")


def _line(text: str) -> str:
    return " ".join(text.split())
