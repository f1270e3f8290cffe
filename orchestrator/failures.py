"""Why a trial ended without a record, and whether and when it is run again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from orchestrator.credentials import without_credentials


class Kind(StrEnum):
    """What happened to a trial that no method is to blame for."""

    WORKER = "worker lost"
    NODE = "node lost"
    MEMORY = "out of memory"
    STORAGE = "not stored"
    MACHINE = "other machine needed"


#: Seconds to wait before each further attempt. A trial that learns a task between two failures has
#: all its attempts again; one that runs out of memory has a larger share each time instead.
PAUSES: Mapping[Kind, tuple[float, ...]] = MappingProxyType(
    {
        Kind.WORKER: (1, 10),
        Kind.NODE: (1, 5, 10, 30, *(60,) * 16),
        Kind.MEMORY: (),
        Kind.STORAGE: (1, 10, 60, 300),
        Kind.MACHINE: (1, 5),
    }
)

_LONGEST = 500  # characters that are told of a cause
#: The last line of a traceback.
_RAISED = re.compile(r"(?P<name>[\w.]+): (?P<message>.+)")
_OURS = {"OutOfMemory": Kind.MEMORY, "NotKept": Kind.STORAGE}


@dataclass(frozen=True)
class Failure:
    """What happened, in one line for the user."""

    kind: Kind
    cause: str


def read_failure(text: str) -> Failure:
    """Tell what happened from what Tune has written about it; a traceback ends with its error.

    Parameters
    ----------
    text : str
        Empty where nothing was written.
    """
    lines = text.strip().splitlines()
    raised = _RAISED.fullmatch(lines[-1]) if lines else None
    if raised is not None and raised["name"].startswith("orchestrator.machine."):
        kind = _OURS.get(raised["name"].rpartition(".")[2], Kind.MACHINE)
        return Failure(kind, _short(raised["message"]))
    # Ray's own words: its monitor ends a worker before the system does.
    if "OutOfMemoryError" in text or "running low on memory" in text:
        return Failure(Kind.MEMORY, "its worker was ended because the machine ran out of memory")
    if "node has died" in text or "NodeDiedError" in text or "node was terminated" in text:
        return Failure(Kind.NODE, "the machine it ran on was lost")
    if "is temporarily unavailable" in text:  # all that is known at first of a lost node
        return Failure(Kind.NODE, "the machine it ran on does not answer")
    if raised is not None and raised["name"].rpartition(".")[2].endswith("Error"):
        return Failure(Kind.WORKER, _short(raised[0]))
    return Failure(Kind.WORKER, "its worker was lost")


def _short(text: str) -> str:
    return without_credentials(text)[:_LONGEST]
