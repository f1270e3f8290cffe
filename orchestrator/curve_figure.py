"""A picture of one trial's curves: the accuracy on each task while the tasks were learnt."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from orchestrator.curves import AVERAGE, ON_TASK, Curves

_WIDTH, _HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 96, 44, 44
#: Apart for readers who see colours differently too (Okabe & Ito 2008); each has its dash as well.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_DASHES = ("", "7 3", "2 3")
#: Labels at the ends of curves: how far apart they stand at least, and how many have room.
_LINE, _MOST_LABELS = 14, 16

_Points = Sequence[tuple[int, float]]


def accuracy_curves(curves: Curves) -> str:
    """Return the accuracy on each task over the iterations as an SVG picture.

    Vertical lines stand where one task ends and the next begins; the thick line is the mean over
    the tasks seen so far. Empty where the accuracy was not watched.
    """
    series = curves.series()
    shown = {
        name.removeprefix("accuracy/"): [(at, v) for at, v in points if math.isfinite(v)]
        for name, points in series.items()
        if name.startswith(ON_TASK)
    }
    shown = {name: points for name, points in sorted(shown.items(), key=_by_task) if points}
    if not shown:
        return ""
    last = max(points[-1][0] for points in shown.values()) or 1
    drawn = [
        _path(points, last, _COLOURS[i % len(_COLOURS)], _DASHES[i // len(_COLOURS) % 3], 1.6)
        for i, points in enumerate(shown.values())
    ]
    average = [(at, v) for at, v in series.get(AVERAGE, ()) if math.isfinite(v)]
    if average:
        drawn.append(_path(average, last, "black", "", 2.6))
        shown = {"mean": average} | shown
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
            'font-family="sans-serif" font-size="12" role="img" '
            'aria-label="accuracy over iterations">',
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
            f'<text x="{_LEFT}" y="20" font-size="15">test accuracy while learning</text>',
            *_axes(last),
            *_boundaries(_ends(curves), last),
            *drawn,
            *_labels(shown),
            "</svg>\n",
        ]
    )


def _by_task(named: tuple[str, _Points]) -> int:
    return int(named[0].removeprefix("task "))


def _x(iteration: float, last: int) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * iteration / last, 2)


def _y(value: float) -> float:
    return round(_HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value, 2)


def _path(points: _Points, last: int, colour: str, dash: str, width: float) -> str:
    line = " ".join(f"{_x(at, last)},{_y(value)}" for at, value in points)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return (
        f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="{width}" '
        f'stroke-linejoin="round"{dashed}/>'
    )


def _axes(last: int) -> Iterator[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    for tenth in range(0, 11, 2):
        y = _y(tenth / 10)
        yield f'<line x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{tenth / 10:.1f}</text>'
    step = _round_step(last)
    for at in range(0, last + 1, step):
        yield f'<text x="{_x(at, last)}" y="{bottom + 16}" text-anchor="middle">{at:,}</text>'
    middle = (_LEFT + right) / 2
    yield f'<text x="{middle}" y="{bottom + 34}" text-anchor="middle">iterations</text>'


def _round_step(last: int) -> int:
    """Return 1, 2 or 5 times a power of ten, so that about five steps fit."""
    power: int = 10 ** max(0, math.floor(math.log10(last / 5)))
    return next(m * power for m in (1, 2, 5, 10) if last / (m * power) <= 6)


def _ends(curves: Curves) -> list[int]:
    """Return the iteration at which each task but the last ended."""
    return [part.series[AVERAGE][-1][0] for part in curves.tasks[:-1] if part.series.get(AVERAGE)]


def _boundaries(ends: Sequence[int], last: int) -> Iterator[str]:
    for end in ends:
        x = _x(end, last)
        yield (
            f'<line x1="{x}" y1="{_TOP}" x2="{x}" y2="{_HEIGHT - _BOTTOM}" stroke="#888" '
            'stroke-dasharray="3 3"/>'
        )


def _labels(shown: Mapping[str, _Points]) -> Iterator[str]:
    """Yield the name of each curve at its end, moved apart where they would overlap."""
    colours = dict(zip((n for n in shown if n != "mean"), itertools.cycle(_COLOURS), strict=False))
    every = -(-len(shown) // _MOST_LABELS)
    names = [name for i, name in enumerate(shown) if i % every == 0]
    names.sort(key=lambda name: -shown[name][-1][1])  # from the top
    y = [_y(shown[name][-1][1]) for name in names]
    for i in range(1, len(y)):
        y[i] = max(y[i], y[i - 1] + _LINE)
    y[-1] = min(y[-1], _HEIGHT - _BOTTOM)
    for i in reversed(range(len(y) - 1)):
        y[i] = min(y[i], y[i + 1] - _LINE)
    for name, at in zip(names, y, strict=True):
        yield (
            f'<text x="{_WIDTH - _RIGHT + 8}" y="{at + 4}" fill="{colours.get(name, "black")}">'
            f"{name}</text>"
        )
