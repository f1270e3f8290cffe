"""Run grids of continual-learning trials, record them, and compare them fairly.

>>> import orchestrator as engram
>>> sweep = engram.run("quickstart")
>>> engram.read_results("results")
>>> method = engram.load("3f2a")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import (
        Sweep,
        load,
        read_curves,
        read_leaderboard,
        read_report,
        read_results,
        run,
    )

__all__ = [
    "Sweep",
    "load",
    "read_curves",
    "read_leaderboard",
    "read_report",
    "read_results",
    "run",
]


def __getattr__(name: str) -> Any:
    """Load the Python API when it is first used: workers and small commands do without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from orchestrator import api

    return getattr(api, name)
