"""What the names of task streams mean: a kind, and the sources of the images."""

from __future__ import annotations

import re
from typing import NamedTuple

from orchestrator.data.sources import SOURCES
from orchestrator.errors import did_you_mean, shown
from orchestrator.space.suggestions import alike, nearest, plain

#: Kinds of streams that are made of one source: ``split-mnist``.
KINDS = ("split", "permuted", "rotated")
#: The kind of a stream that has one task for each of several sources: ``mnist+svhn``.
SEQUENCE = "sequence"
#: What other tools call the kinds, before the name of a source: ``SeqMNIST``, ``perm-mnist``.
_OTHER_KINDS = {
    "split": "s|seq|sequential",
    "permuted": "p|perm|permute",
    "rotated": "r|rot|rotate",
}


class StreamName(NamedTuple):
    """A name that has been understood.

    Attributes
    ----------
    kind : str
        One of :data:`KINDS`, or :data:`SEQUENCE`.
    sources : tuple of str
        Registered sources: one, or for a sequence those of its tasks.
    """

    kind: str
    sources: tuple[str, ...]

    @property
    def canonical(self) -> str:
        """The one spelling that equal streams have: ``split-mnist``, ``mnist+svhn``."""
        return "+".join(self.sources) if self.kind == SEQUENCE else f"{self.kind}-{self.sources[0]}"


def stream_names() -> list[str]:
    """Return the names of all streams of one source, such as ``split-mnist``."""
    return [f"{kind}-{source}" for kind in KINDS for source in sorted(SOURCES)]


def name_forms() -> str:
    """Return how streams are named: ``split-SOURCE, …, or SOURCE+SOURCE``."""
    return ", ".join(f"{kind}-SOURCE" for kind in KINDS) + " or SOURCE+SOURCE"


def parse_name(dataset: str) -> StreamName:
    """Understand the name of a stream.

    ``<kind>-<source>`` is a stream of one source; sources joined by ``+`` make a sequence with one
    task for each. Two sources may be joined by ``-`` too, where that has only one meaning: names
    of sources have hyphens of their own.

    Raises
    ------
    ValueError
        If there is no such stream, or the name has several meanings; in one line, with what to
        write instead.
    """
    kind, _, source = dataset.partition("-")
    if kind in KINDS and source in SOURCES:
        return StreamName(kind, (source,))
    if "+" in dataset:
        sources = tuple(dataset.split("+"))
        if all(name in SOURCES for name in sources):
            return StreamName(SEQUENCE, sources)
    meanings = [StreamName(SEQUENCE, pair) for pair in _pairs(dataset)]
    if len(meanings) > 1:
        readings = " or ".join(repr(name.canonical) for name in meanings)
        raise ValueError(f"{shown(dataset)} could mean {readings}; write the one that is meant")
    if not meanings:
        raise ValueError(_unknown(dataset))
    return meanings[0]


def kind_of(dataset: object) -> str:
    """Return the kind of a stream, as far as its name tells it; empty where it does not."""
    kind = str(dataset).partition("-")[0]
    if kind in KINDS:
        return kind
    return SEQUENCE if "+" in str(dataset) or _pairs(str(dataset)) else ""


def _pairs(dataset: str) -> list[tuple[str, str]]:
    """Divide a name at each of its hyphens, and return the divisions into two sources."""
    halves = [(dataset[:i], dataset[i + 1 :]) for i, c in enumerate(dataset) if c == "-"]
    return [(first, second) for first, second in halves if {first, second} <= SOURCES.keys()]


def _unknown(dataset: str) -> str:
    """Say that there is no such stream, with the nearest name or with how names are made."""
    if "+" not in dataset and (source := alike(dataset, SOURCES)) is not None:
        streams = ", ".join(f"{kind}-{source}" for kind in KINDS)
        return f"{dataset} is a source, of which streams are made; possible: {streams}"
    if "+" in dataset:
        kind, _, rest = dataset.partition("-")
        parts = (rest if kind in KINDS else dataset).split("+")
        near = [name for part in parts if (name := nearest(part, SOURCES)) is not None]
        meant = "+".join(near) if len(near) == len(parts) else None
    else:
        pairs = (f"{first}-{second}" for first in SOURCES for second in SOURCES if first != second)
        meant = _of_another_kind(dataset) or nearest(dataset, [*stream_names(), *pairs])
    message = f"unknown dataset {shown(dataset)}"
    if meant is not None:
        return message + did_you_mean(meant, [meant])
    own = "; or your own: engram data add SOURCE --from PATH"
    return f"{message}; possible: {name_forms()}, where SOURCE is {_listed()}{own}"


def _of_another_kind(dataset: str) -> str | None:
    """Return the name of a stream that another tool calls its own way."""
    for kind, others in _OTHER_KINDS.items():
        for source in SOURCES:
            if re.fullmatch(f"(?:{others}){plain(source)}", plain(dataset)):
                return f"{kind}-{source}"
    return None


def _listed() -> str:
    *others, last = sorted(SOURCES)
    return " or ".join(filter(None, (", ".join(others), last)))
