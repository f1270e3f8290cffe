"""Run grids of continual-learning trials, record them, and compare them fairly.

>>> import orchestrator as engram
>>> sweep = engram.run("quickstart")
>>> engram.read_results("results")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.api import Sweep, read_leaderboard, read_results, run

__all__ = ["Sweep", "read_leaderboard", "read_results", "run"]


def __getattr__(name: str) -> Any:
    """Load the Python API when it is first used: workers and small commands do without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from orchestrator import api

    return getattr(api, name)
