"""Published figures of a search space, and the rows of a leaderboard that they belong to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.space.measured import Row

_LABEL = re.compile(r"([^\s\[\],]+)(?:\[(.*)\])?")
#: Keys that say what a figure is of, and not whose.
_ACCURACY = {"accuracy", "average accuracy", "average_accuracy"}


class Figure(NamedTuple):
    """A published figure: the keys under which it stands, and what stands there."""

    keys: tuple[str, ...]
    value: Any

    @property
    def text(self) -> str:
        """The keys, as one."""
        return ", ".join(self.keys)


def figures(published: str | Mapping[str, Any]) -> list[Figure]:
    """Return the figures of a mapping, in its order; none of a text."""
    return [] if isinstance(published, str) else list(_figures(published, ()))


def _figures(value: Any, keys: tuple[str, ...]) -> Iterator[Figure]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _figures(inner, (*keys, str(key)))
    else:
        yield Figure(keys, value)


def beside(published: Iterable[Figure], rows: Sequence[Row]) -> dict[Row, Figure]:
    """Return the figure of each row that has one.

    A figure belongs to the row that its key names as a trial is named, ``replay`` or
    ``replay[buffer_size=200]``: of several rows with these settings, the one that has no others. A
    dataset or a scenario may stand among the keys above.
    """
    found: dict[Row, Figure] = {}
    for figure in published:
        for block in dict.fromkeys((row.dataset, row.scenario) for row in rows):
            mine = [row for row in rows if (row.dataset, row.scenario) == block]
            names = [key for key in figure.keys if key not in {*block, *_ACCURACY}]
            row = _row(names[0], mine) if len(names) == 1 else None
            if row is not None and isinstance(figure.value, (int, float)):
                found.setdefault(row, figure)
    return found


def _row(label: str, rows: Sequence[Row]) -> Row | None:
    """Return the one row that a label names; None if there is none, or more."""
    match = _LABEL.fullmatch(label)
    if match is None:
        return None
    wanted = set(_settings(match[2] or ""))
    fitting = [
        row for row in rows if row.method == match[1] and wanted <= set(_settings(row.settings))
    ]
    exact = [row for row in fitting if wanted == set(_settings(row.settings))]
    return exact[0] if len(exact) == 1 else fitting[0] if len(fitting) == 1 else None


def _settings(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
