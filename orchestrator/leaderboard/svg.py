"""The parts of a chart: scales, ticks, axes and marks, as SVG that takes its colours from the page.

Whatever text goes into a picture is escaped. The classes are those of ``templates/report.css``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from orchestrator.leaderboard.looks import SHAPES, Look

#: Letters are about this wide, in parts of their size.
_LETTER = 0.56
#: Size of the letters in a chart, in its own units.
TEXT = 12.0
#: Steps of logarithmic ticks, coarse to fine.
_DECADES = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8))


@dataclass(frozen=True)
class Scale:
    """Turns a number into a coordinate.

    Parameters
    ----------
    low, high : float
        Numbers at the two ends, ``low < high``; positive where ``log``.
    start, end : float
        Their coordinates.
    log : bool
        Whether equal ratios are equally long.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the coordinate of a number; what lies outside is put on the nearer end."""
        low, high, value = (
            (math.log(self.low), math.log(self.high), math.log(max(value, self.low)))
            if self.log
            else (self.low, self.high, value)
        )
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return round(self.start + share * (self.end - self.start), 1)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers from at most ``low`` to at least ``high``, at most so many.

    Their distance is 1, 2 or 5 times a power of ten.
    """
    if not high > low:
        low, high = low - 0.05, low + 0.05
    power = math.floor(math.log10((high - low) / most))
    for step in (m * 10.0**k for k in range(power, power + 3) for m in (1, 2, 5)):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < most:
            return [round(i * step, 12) for i in range(first, last + 1)]
    raise AssertionError("a power of ten above the range is step enough")


def log_ticks(low: float, high: float, least: int = 3) -> list[float]:
    """Return round numbers between two positive ones, evenly spread in ratio where that gives any.

    Parameters
    ----------
    least : int
        So many are sought, with finer and finer steps.
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in _DECADES:
        found = [m * 10.0**k for k in decades for m in steps if low <= m * 10.0**k <= high]
        if len(found) >= least:
            return found
    return [tick for tick in ticks(low, high) if low <= tick <= high]


def tick_texts(ticks: Sequence[float]) -> list[tuple[float, str]]:
    """Return ticks with their texts, with no more decimals than needed: ``0``, ``.2``, ``1.0``."""
    decimals = next((d for d in range(1, 6) if all(abs(t - round(t, d)) < 1e-9 for t in ticks)), 6)
    texts = [re.sub(r"^(-?)0\.", r"\1.", f"{t:z.{decimals}f}") for t in ticks]
    return [(t, text if t else "0") for t, text in zip(ticks, texts, strict=True)]


def text_width(text: str, size: float = TEXT) -> float:
    """Return about how wide a text is, rather too wide than too narrow."""
    return len(text) * _LETTER * size


def picture(width: float, height: float, title: str, parts: Sequence[Markup]) -> Markup:
    """Put parts into a picture; a title is read out to those who cannot see it."""
    role = Markup('role="img" aria-label="{}"').format(title)
    return Markup(
        '<svg viewBox="0 0 {w:g} {h:g}" width="{w:g}" height="{h:g}" {role}>{inner}</svg>'
    ).format(
        w=width,
        h=height,
        role=role if title else Markup('aria-hidden="true"'),
        inner=Markup("\n").join(parts),
    )


def label(x: float, y: float, text: str, anchor: str = "start", kind: str = "") -> Markup:
    """Write a text; ``anchor`` is start, middle or end."""
    return Markup('<text x="{:g}" y="{:g}"{}{}>{}</text>').format(
        x,
        y,
        Markup(' text-anchor="{}"').format(anchor) if anchor != "start" else "",
        Markup(' class="{}"').format(kind) if kind else "",
        text,
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str, dash: str = "") -> Markup:
    """Draw a straight line."""
    return stroke([(x1, y1), (x2, y2)], kind, dash)


def stroke(points: Sequence[tuple[float, float]], kind: str, dash: str = "") -> Markup:
    """Draw a line through some points; ``dash`` is its pattern, in units of the chart."""
    pattern = Markup(' stroke-dasharray="{}"').format(dash) if dash else ""
    return Markup('<path d="{}" class="{}"{}/>').format(path(points), kind, pattern)


def path(points: Sequence[tuple[float, float]], close: bool = False) -> str:
    """Return the outline through some points, for the attribute ``d``."""
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) + ("z" if close else "")


def tip(*lines: str) -> Markup:
    """Return the text of a tooltip, for the attribute ``data-tip``; empty lines are left out."""
    return Markup("&#10;").join(filter(None, lines))


def mark(x: float, y: float, look: Look, radius: float = 4, kind: str = "mark") -> Markup:
    """Draw a method's mark."""
    return Markup('<path d="{}" transform="translate({:g} {:g}) scale({:g})" class="{}"/>').format(
        SHAPES[look.shape], x, y, radius, kind
    )


def axes(
    x: Scale,
    y: Scale,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    titles: tuple[str, str],
) -> Markup:
    """Draw the grid, the numbers on both axes and their titles, that of y above the chart."""
    parts = [line(x.start, y(at), x.end, y(at), "grid") for at, _ in y_ticks]
    parts += [label(x.start - 7, y(at) + 4, text, "end") for at, text in y_ticks]
    parts += [line(x(at), y.start, x(at), y.start + 4, "axis") for at, _ in x_ticks]
    parts += [label(x(at), y.start + 18, text, "middle") for at, text in x_ticks]
    parts.append(line(x.start, y.start, x.end, y.start, "axis"))
    parts.append(label((x.start + x.end) / 2, y.start + 36, titles[0], "middle", "title"))
    parts.append(label(4, y.end - 14, titles[1], kind="title"))
    return Markup("\n").join(parts)
