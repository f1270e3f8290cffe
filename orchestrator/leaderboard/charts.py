"""The charts of the report that have two axes: curves, and accuracy against bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from markupsafe import Markup

from orchestrator.leaderboard.formats import fraction, size
from orchestrator.leaderboard.looks import Look
from orchestrator.leaderboard.pareto import pareto_front
from orchestrator.leaderboard.statistics import Interval
from orchestrator.leaderboard.svg import (
    TEXT,
    Scale,
    axes,
    label,
    line,
    log_ticks,
    mark,
    path,
    picture,
    stroke,
    text_width,
    tick_texts,
    ticks,
    tip,
)

_WIDTH, _HEIGHT = 400, 290
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 14, 32, 46
Point = tuple[float, float]
#: Left, top, right, bottom.
Box = tuple[float, float, float, float]

#: Room around a mark that no label may use, in units of the chart.
_MARGIN = 6.0
#: As many numbers stand below a chart at most.
_MOST_X_TICKS = 10


@dataclass(frozen=True)
class Drawn:
    """A row of the leaderboard in a chart.

    Attributes
    ----------
    row : str
        Identity on the page, which ties it to the row of the table.
    name : str
        What tooltips call it.
    tag : str
        What it is called where there is little room.
    look : Look
    dash : str
        Pattern of its line.
    strong : bool
        Whether it stands out with colour, marks and intervals; else it is a thin grey line.
    ranked : bool
        False for as-released variants: their marks are hollow, and they are on no front.
    """

    row: str
    name: str
    tag: str
    look: Look
    dash: str = ""
    strong: bool = True
    ranked: bool = True


class Figure(NamedTuple):
    """A chart, its title, and what has to be said of it."""

    title: str
    chart: Markup
    caption: str


def spelled(interval: Interval) -> str:
    """Return a mean with its interval and number of seeds in words."""
    if interval.n < 2:
        return f"{fraction(interval.mean)} (one seed)"
    low, high = fraction(interval.low), fraction(interval.high)
    return f"{fraction(interval.mean)} [{low}, {high}], {interval.n} seeds"


def curves_chart(
    curves: Sequence[tuple[Drawn, Sequence[Interval]]], titles: tuple[str, str], moment: str
) -> Markup:
    """Draw accuracy against tasks, with the intervals of the strong rows as bands.

    Parameters
    ----------
    curves : sequence of (Drawn, sequence of Interval)
        A value for each of the tasks 1, 2, …
    titles : tuple of str
        Of the horizontal and of the vertical axis.
    moment : str
        What precedes the task's number in a tooltip: ``after task``.
    """
    tasks = max(len(values) for _, values in curves)
    means = [value.mean for _, values in curves for value in values]
    lows = [v.low for d, values in curves for v in values if d.strong and v.low == v.low]
    marked = ticks(max(0.0, min(means + lows)), min(1.0, max(means) + 0.01))
    y = Scale(marked[0], marked[-1], _HEIGHT - _BOTTOM, _TOP)
    edge = 0.5 if tasks == 1 else 0.0
    x = Scale(1 - edge, tasks + edge, _LEFT + 8, _WIDTH - _RIGHT - 8)
    every = math.ceil(tasks / _MOST_X_TICKS)
    shown = [(float(t), str(t)) for t in range(1, tasks + 1) if t % every == 0 or every == 1]
    ordered = sorted(curves, key=lambda curve: curve[0].strong)
    parts = [axes(x, y, shown, tick_texts(marked), titles)]
    parts += [_band(drawn, values, x, y) for drawn, values in ordered if drawn.strong]
    parts += [_curve(drawn, values, x, y, moment) for drawn, values in ordered]
    return picture(_WIDTH, _HEIGHT, f"{titles[1]} against {titles[0]}", parts)


def _band(drawn: Drawn, values: Sequence[Interval], x: Scale, y: Scale) -> Markup:
    known = [(i, v) for i, v in enumerate(values, start=1) if v.low == v.low]
    if len(known) < 2:
        return Markup().join(_whisker(drawn, x(i), v, y) for i, v in known)
    outline = [(x(i), y(v.high)) for i, v in known] + [(x(i), y(v.low)) for i, v in known[::-1]]
    return Markup('<path d="{}" class="band c{}" data-row="{}"/>').format(
        path(outline, close=True), drawn.look.colour, drawn.row
    )


def _curve(drawn: Drawn, values: Sequence[Interval], x: Scale, y: Scale, moment: str) -> Markup:
    points = [(x(i), y(v.mean)) for i, v in enumerate(values, start=1)]
    drawn_line = stroke(points, "line", drawn.dash)
    if not drawn.strong:
        told = tip(drawn.name, f"{moment} {len(values)}: {spelled(values[-1])}")
        return Markup('<g class="weak c{}" data-row="{}" data-tip="{}">{}</g>').format(
            drawn.look.colour, drawn.row, told, drawn_line
        )
    marks = [
        Markup('<g data-tip="{}">{}</g>').format(
            tip(drawn.name, f"{moment} {i}: {spelled(v)}"),
            mark(*point, drawn.look, kind=_kind(drawn)),
        )
        for i, (point, v) in enumerate(zip(points, values, strict=True), start=1)
    ]
    return Markup('<g class="c{}" data-row="{}">{}{}</g>').format(
        drawn.look.colour, drawn.row, drawn_line, Markup().join(marks)
    )


def bytes_chart(rows: Sequence[tuple[Drawn, Interval, float]], titles: tuple[str, str]) -> Markup:
    """Draw accuracy against bytes kept, with intervals as whiskers and the Pareto front.

    Parameters
    ----------
    rows : sequence of (Drawn, Interval, float)
        Each with its accuracy and its bytes, which are above zero. Those on the front and the
        strong ones are named where there is room.
    titles : tuple of str
        Of the horizontal and of the vertical axis.
    """
    bytes_kept = [kept for _, _, kept in rows]
    bounds = [v.low if v.low == v.low else v.mean for _, v, _ in rows]
    marked = ticks(max(0.0, min(bounds)), min(1.0, max(v.mean for _, v, _ in rows) + 0.01))
    y = Scale(marked[0], marked[-1], _HEIGHT - _BOTTOM, _TOP)
    low, high = min(bytes_kept), max(bytes_kept)
    room = max(1.06, (high / low) ** 0.07)
    x = Scale(low / room, high * room, _LEFT, _WIDTH - _RIGHT, log=True)
    at = _not_crowded([(t, size(t).replace(".0 ", " ")) for t in log_ticks(x.low, x.high)], x)
    front = [
        rows[i]
        for i in pareto_front(
            [kept if drawn.ranked else math.nan for drawn, _, kept in rows],
            [accuracy.mean for _, accuracy, _ in rows],
        )
    ]
    parts = [axes(x, y, at, tick_texts(marked), titles)]
    stairs = _staircase([(x(kept), y(v.mean)) for _, v, kept in front], x)
    parts.append(stroke(stairs, "front") if stairs else Markup())
    for drawn, accuracy, kept in rows:
        parts.append(
            Markup('<g class="point c{}" data-row="{}" data-tip="{}">{}{}</g>').format(
                drawn.look.colour,
                drawn.row,
                tip(drawn.name, spelled(accuracy), f"{size(kept)} kept"),
                _whisker(drawn, x(kept), accuracy, y),
                mark(x(kept), y(accuracy.mean), drawn.look, 4.5, _kind(drawn)),
            )
        )
    spots = {drawn.row: (x(kept), y(v.mean)) for drawn, v, kept in rows}
    taken = [(px - _MARGIN, py - _MARGIN, px + _MARGIN, py + _MARGIN) for px, py in spots.values()]
    taken += [_around((x(k), y(v.low)), (x(k), y(v.high))) for _, v, k in rows if v.low == v.low]
    taken += [_around(*ends) for ends in pairwise(stairs)]
    named = [drawn for drawn, _, _ in rows if drawn.strong] + [drawn for drawn, _, _ in front]
    parts += _labels({drawn.row: drawn for drawn in named}, spots, taken, (x, y))
    return picture(_WIDTH, _HEIGHT, f"{titles[1]} against {titles[0]}", parts)


def _kind(drawn: Drawn) -> str:
    return "mark" if drawn.ranked else "mark hollow"


def _whisker(drawn: Drawn, x: float, interval: Interval, y: Scale) -> Markup:
    if interval.low != interval.low:
        return Markup()
    return line(x, y(interval.low), x, y(interval.high), f"whisker c{drawn.look.colour}")


def _staircase(corners: Sequence[Point], x: Scale) -> list[Point]:
    """Return the outline of what can be had for at most so many bytes."""
    if not corners:
        return []
    steps = [corners[0]]
    for at, height in corners[1:]:
        steps += [(at, steps[-1][1]), (at, height)]
    return [*steps, (x.end, steps[-1][1])]


def _not_crowded(marked: Sequence[tuple[float, str]], x: Scale) -> list[tuple[float, str]]:
    """Leave out ticks whose texts would touch the one before, or pass the edge."""
    kept: list[tuple[float, str]] = []
    free = 0.0
    for at, text in marked:
        half = text_width(text) / 2
        if x(at) - half >= free and x(at) + half <= _WIDTH:
            kept.append((at, text))
            free = x(at) + half + 8
    return kept


def _around(a: Point, b: Point) -> Box:
    """Return the box of a line from one point to another, with a little room."""
    return (min(a[0], b[0]) - 1, min(a[1], b[1]) - 1, max(a[0], b[0]) + 1, max(a[1], b[1]) + 1)


def _labels(
    named: dict[str, Drawn], spots: dict[str, Point], taken: list[Box], scales: tuple[Scale, Scale]
) -> list[Markup]:
    """Name marks where the name covers nothing else."""
    x, y = scales
    found = []
    for row, drawn in named.items():
        (px, py), width = spots[row], text_width(drawn.tag)
        for dx, dy, anchor in (
            *((9.0, 4.0, "start"), (-9.0, 4.0, "end"), (0.0, -10.0, "middle")),
            *((0.0, 18.0, "middle"), (7.0, -7.0, "start"), (-7.0, -7.0, "end")),
            *((7.0, 15.0, "start"), (-7.0, 15.0, "end")),
        ):
            left = px + dx - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
            box = (left, py + dy - TEXT * 0.8, left + width, py + dy + TEXT * 0.25)
            inside = x.start <= box[0] and box[2] <= _WIDTH and y.end - 6 <= box[1]
            if inside and box[3] <= y.start and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                found.append(label(px + dx, py + dy, drawn.tag, anchor, "name"))
                break
    return found


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
