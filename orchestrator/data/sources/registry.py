"""Sources by name."""

from __future__ import annotations

from orchestrator.data.sources.source import Source
from orchestrator.errors import UserError, unknown

SOURCES: dict[str, Source] = {}


def register_source(source: Source) -> Source:
    """Make a source known by its name and return it.

    Raises
    ------
    ValueError
        If another source has the name.
    """
    if SOURCES.setdefault(source.name, source) is not source:
        raise ValueError(f'there is already a source "{source.name}"')
    return source


def get_source(name: str) -> Source:
    """Return the source called ``name``.

    Raises
    ------
    UserError
        If there is none.
    """
    if name not in SOURCES:
        raise UserError(unknown("source", name, SOURCES))
    return SOURCES[name]
