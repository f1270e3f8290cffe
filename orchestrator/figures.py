"""Pictures and tables of one trial: its accuracy matrix."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

#: Rows 0..T of accuracies on tasks 1..T; NaN or None where a task was not tested.
Matrix = Sequence[Sequence[float | None]]

_CELL, _LEFT, _TOP = 56, 120, 64


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def row_name(i: int) -> str:
    """Name row ``i`` of an accuracy matrix."""
    return "before any task" if i == 0 else f"after task {i}"


def accuracy_csv(matrix: Matrix) -> str:
    """Return the matrix as CSV, a row per state of learning, a column per task tested."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    tasks = len(matrix[0]) if matrix else 0
    writer.writerow(["", *(f"task {j + 1}" for j in range(tasks))])
    for i, row in enumerate(matrix):
        writer.writerow([row_name(i), *(f"{v:.6f}" if _known(v) else "" for v in row)])
    return out.getvalue()


def accuracy_markdown(matrix: Matrix) -> str:
    """Return the matrix as a Markdown table."""
    if not matrix:
        return "No task was learnt."
    tasks = len(matrix[0])
    lines = [
        "| accuracy on | " + " | ".join(f"task {j + 1}" for j in range(tasks)) + " |",
        "|---|" + "---:|" * tasks,
    ]
    for i, row in enumerate(matrix):
        if any(_known(v) for v in row):
            cells = " | ".join(f"{v:.3f}" if _known(v) else "" for v in row)
            lines.append(f"| {row_name(i)} | {cells} |")
    return "\n".join(lines)


def accuracy_heatmap(matrix: Matrix) -> str:
    """Return the matrix as an SVG picture: darker is better, the number stands in each cell."""
    tasks = len(matrix[0])
    rows = [(i, row) for i, row in enumerate(matrix) if any(_known(v) for v in row)]
    width, height = _LEFT + tasks * _CELL + 16, _TOP + len(rows) * _CELL + 16
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="13" role="img" aria-label="accuracy matrix">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">test accuracy on</text>',
    ]
    for j in range(tasks):
        x = _LEFT + (j + 0.5) * _CELL
        parts.append(f'<text x="{x}" y="{_TOP - 10}" text-anchor="middle">task {j + 1}</text>')
    for line, (i, row) in enumerate(rows):
        y = _TOP + line * _CELL
        parts.append(
            f'<text x="{_LEFT - 10}" y="{y + _CELL / 2 + 5}" text-anchor="end">{row_name(i)}</text>'
        )
        for j, value in enumerate(row):
            if value is not None and not math.isnan(value):
                parts.append(_cell(_LEFT + j * _CELL, y, value))
    return "\n".join([*parts, "</svg>\n"])


def _cell(x: float, y: float, value: float) -> str:
    share = min(1.0, max(0.0, value))
    # From near white to a deep blue; both ends keep enough contrast with the number.
    red, green, blue = (round(a + (b - a) * share) for a, b in ((247, 8), (251, 69), (255, 148)))
    ink = "white" if share > 0.55 else "black"
    return (
        f'<rect x="{x}" y="{y}" width="{_CELL - 2}" height="{_CELL - 2}" rx="3" '
        f'fill="rgb({red},{green},{blue})"/>'
        f'<text x="{x + _CELL / 2 - 1}" y="{y + _CELL / 2 + 4}" text-anchor="middle" '
        f'fill="{ink}">{value:.3f}</text>'
    )
