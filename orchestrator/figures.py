"""Pictures and tables of one trial: its accuracy matrix and its confusion matrix."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

#: Rows 0..T of accuracies on tasks 1..T; NaN or None where a task was not tested.
Matrix = Sequence[Sequence[float | None]]

#: A number of test images for each true class (rows) and each class named (columns).
Counts = Sequence[Sequence[int]]

_CELL, _LEFT, _TOP = 56, 120, 64
#: Up to so many classes a confusion matrix has its numbers.
_MOST_NUMBERS = 20


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
                parts.append(_cell(_LEFT + j * _CELL, y, value, f"{value:.3f}"))
    return "\n".join([*parts, "</svg>\n"])


def confusion_csv(confusion: Counts) -> str:
    """Return a confusion matrix as CSV, a row per true class, a column per class named."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["class", *range(len(confusion))])
    writer.writerows([k, *row] for k, row in enumerate(confusion))
    return out.getvalue()


def confusion_heatmap(confusion: Counts) -> str:
    """Return a confusion matrix as an SVG picture: darker is a larger share of the true class.

    Each cell has its count, where there are few enough classes for numbers to be read.
    """
    classes = len(confusion)
    size = _CELL if classes <= _MOST_NUMBERS else max(4, _CELL * _MOST_NUMBERS // classes)
    height = _TOP + classes * size + 16
    width = _LEFT + max(classes * size, 200) + 16  # the title has room
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="13" role="img" aria-label="confusion matrix">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{_LEFT}" y="22" font-size="15">test images taken for class</text>',
    ]
    for k, row in enumerate(confusion):
        total, at = sum(row), (k + 0.5) * size
        if k % -(-16 // size) == 0:  # a label where there is room for one
            parts.append(f'<text x="{_LEFT + at}" y="{_TOP - 10}" text-anchor="middle">{k}</text>')
            name = f"class {k}"
            parts.append(
                f'<text x="{_LEFT - 10}" y="{_TOP + at + 5}" text-anchor="end">{name}</text>'
            )
        for j, count in enumerate(row):
            if count:
                text = str(count) if size == _CELL else ""
                parts.append(_cell(_LEFT + j * size, _TOP + k * size, count / total, text, size))
    return "\n".join([*parts, "</svg>\n"])


def _cell(x: float, y: float, value: float, text: str, size: int = _CELL) -> str:
    share = min(1.0, max(0.0, value))
    # From near white to a deep blue; both ends keep enough contrast with the number.
    red, green, blue = (round(a + (b - a) * share) for a, b in ((247, 8), (251, 69), (255, 148)))
    ink = "white" if share > 0.55 else "black"
    gap, corner = (2, 3) if size == _CELL else (1, 0)
    cell = (
        f'<rect x="{x}" y="{y}" width="{size - gap}" height="{size - gap}" rx="{corner}" '
        f'fill="rgb({red},{green},{blue})"/>'
    )
    if not text:
        return cell
    return (
        f'{cell}<text x="{x + size / 2 - 1}" y="{y + size / 2 + 4}" text-anchor="middle" '
        f'fill="{ink}">{text}</text>'
    )
