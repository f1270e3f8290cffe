"""Axes of a grid: an option and the values that it takes, read from YAML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.space.problems import Problems
from orchestrator.space.yaml_file import Place

_RANGE = re.compile(r"^(\d+)\.\.(\d+)$")
_MOST_VALUES = 1_000_000


@dataclass(frozen=True)
class Axis:
    """An option and the values it takes.

    Attributes
    ----------
    key : str
        Name of the option; ``optimizer.lr`` reaches into a mapping.
    values : tuple
        In the order of the file.
    places : tuple of Place
        Where each value stands.
    """

    key: str
    values: tuple[Any, ...]
    places: tuple[Place, ...]

    @property
    def option(self) -> str:
        """The option itself, without what follows a dot."""
        return self.key.partition(".")[0]


def read_axis(key: str, value: Any, place: Place, problems: Problems) -> Axis:
    """Spread a value, a list of values, or a range such as ``0..4``.

    Parameters
    ----------
    key : str
    value : Any
        As the file has it.
    place : Place
        Where it stands.
    problems : Problems
        Takes what is wrong: an empty list, a range that is none.
    """
    listed = isinstance(value, list)
    given: Sequence[tuple[Any, Place]] = (
        [(item, (*place, i)) for i, item in enumerate(value)] if listed else [(value, place)]
    )
    if not given:
        problems.add(place, "is an empty list; give at least one value, or leave the key out")
    values, places = [], []
    for item, where in given:
        for single in _spread(item, where, problems):
            values.append(single)
            places.append(where)
    return Axis(key, tuple(values), tuple(places))


def _spread(item: Any, place: Place, problems: Problems) -> Iterable[Any]:
    if not isinstance(item, str) or not (match := _RANGE.match(item)):
        return [item]
    first, last = int(match[1]), int(match[2])
    if last < first or last - first >= _MOST_VALUES:
        problems.add(place, f"{item} is not a range; write first..last, such as 0..4")
        return []
    return range(first, last + 1)
