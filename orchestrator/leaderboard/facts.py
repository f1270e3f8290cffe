"""What a reader has to know of a sweep before its numbers: how much, when, with what."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from orchestrator.leaderboard.formats import duration
from orchestrator.leaderboard.table import Pooled, Record

#: Columns of a record that tell with what it was computed, and what they are called.
_VERSIONS = {
    "engram": "Engram",
    "commit": "commit",
    "torch": "PyTorch",
    "device": "device",
    "gpu": "GPU",
    "precision": "precision",
    "threads": "threads",
}
#: More values of one column than this are counted, not listed.
_MOST_LISTED = 4


def outcomes(pooled: Pooled) -> dict[str, int]:
    """Count the trials by outcome: ``finished, diverged, errors, missing``."""
    finished = sum(trial["outcome"] == "finished" for trial in _trials(pooled))
    others = {name: int(pooled.table[name].sum()) for name in ("diverged", "errors", "missing")}
    return {"finished": finished} | others


def when(pooled: Pooled) -> str:
    """Return the day on which the trials began, or the first and the last, in UTC."""
    started = (trial.get("started") for trial in _trials(pooled))
    days = sorted({str(day)[:10] for day in started if day is not None and day == day})
    return " to ".join(dict.fromkeys([days[0], days[-1]])) if days else ""


def spent(pooled: Pooled) -> str:
    """Return the seconds of all trials together, as text."""
    seconds = (trial["seconds"] for trial in _trials(pooled))
    return duration(float(sum(value for value in seconds if value == value)))


def versions(pooled: Pooled) -> dict[str, str]:
    """Return with what the trials were computed, by name: all values that occur."""
    found = {}
    for column, name in _VERSIONS.items():
        values = {trial.get(column) for trial in _trials(pooled)} - {None, ""}
        if column == "commit":
            values = {_short(str(commit)) for commit in values}
        if len(values) > _MOST_LISTED:
            found[name] = f"{len(values)} different"
        elif values:
            found[name] = ", ".join(sorted(map(str, values)))
    if "GPU" in found and found.get("device") == "cuda":
        del found["device"]  # the name of the GPU says it
    return found


def _short(commit: str) -> str:
    """Return enough of a commit to find it, with the mark of changes that it does not hold."""
    return commit[:10] + "+" * (commit.endswith("+") and len(commit) > 10)


def _trials(pooled: Pooled) -> Iterator[Record]:
    return chain.from_iterable(pooled.trials)
