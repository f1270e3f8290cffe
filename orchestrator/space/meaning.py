"""Options that were given and have no meaning beside the others: the method leaves them out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from methods.core.config import flatten
from methods.core.method import Method
from orchestrator.search_space import MethodEntry, SearchSpace
from orchestrator.space.grid import axes_of, combinations
from orchestrator.space.yaml_file import enclosing

#: Values that can be compared with what became of them.
_PLAIN = (bool, int, float, str)


def without_meaning(
    space: SearchSpace, entry: MethodEntry, points: Sequence[Method.Config]
) -> Iterator[str]:
    """Yield the options of a method's own entry that its configurations have not taken over.

    Parameters
    ----------
    space : SearchSpace
    entry : MethodEntry
    points : sequence of Config
        Those that :func:`~orchestrator.space.grid.method_points` made of the entry, all valid.
    """
    own = {axis.key for axis in entry.axes}
    if not own:
        return
    dropped: Counter[str] = Counter()
    given = (flatten(options) for options, _ in combinations(axes_of(space, entry)))
    for options, config in zip(given, points, strict=True):
        for key, value in options.items():
            if own.intersection(enclosing(key)) and _is_gone(key, value, config):
                dropped[key] += 1
    for key, times in dropped.items():
        at = "" if times == len(points) else f" at {times:,} of {len(points):,} points"
        yield f"{entry.cls.name}.{key}{at}"


def _is_gone(key: str, value: Any, config: Method.Config) -> bool:
    """Whether a plain value is not the one of a configuration that has a plain one, or none."""
    have: Any = config
    *_, last = names = key.split(".")
    if last == "name":
        return False  # a word that may stand for several options
    for name in names:
        if not hasattr(have, name):
            return False
        have = getattr(have, name)
    if not isinstance(value, _PLAIN) or not (have is None or isinstance(have, _PLAIN)):
        return False
    if isinstance(value, str) and isinstance(have, int | float):
        return False  # a number that was written as text
    return bool(value != have)
