"""From trials to a leaderboard that says how sure it is.

:func:`build_leaderboard` pools trials over seeds and ranks them, :func:`mean_interval` is the
statistics under it, and the report shows the table in a terminal (:class:`TerminalReport`) or
writes it (:func:`to_markdown`, :func:`write_parquet`, :func:`save`).
"""

from orchestrator.leaderboard.report import (
    TerminalReport,
    footnotes,
    save,
    to_markdown,
    write_parquet,
)
from orchestrator.leaderboard.statistics import Interval, mean_interval
from orchestrator.leaderboard.table import build_leaderboard

__all__ = [
    "Interval",
    "TerminalReport",
    "build_leaderboard",
    "footnotes",
    "mean_interval",
    "save",
    "to_markdown",
    "write_parquet",
]
