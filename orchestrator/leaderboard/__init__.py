"""From trials to a leaderboard that says how sure it is.

:func:`build_leaderboard` pools trials over seeds and ranks them, :func:`pool` gives the trials of
each row too, :func:`mean_interval` and :func:`paired_interval` are the statistics under them, and
:func:`paired_differences` compares all rows with one. The reports show the table in a terminal
(:class:`TerminalReport`), in a browser with charts (:func:`to_html`), or write it
(:func:`to_markdown`, :func:`write_parquet`, :func:`save`).
"""

from orchestrator.leaderboard.html import About, to_html
from orchestrator.leaderboard.paired import paired_differences
from orchestrator.leaderboard.report import (
    TerminalReport,
    footnotes,
    save,
    to_markdown,
    write_parquet,
    write_text,
)
from orchestrator.leaderboard.statistics import Interval, mean_interval, paired_interval
from orchestrator.leaderboard.table import Pooled, build_leaderboard, pool

__all__ = [
    "About",
    "Interval",
    "Pooled",
    "TerminalReport",
    "build_leaderboard",
    "footnotes",
    "mean_interval",
    "paired_differences",
    "paired_interval",
    "pool",
    "save",
    "to_html",
    "to_markdown",
    "write_parquet",
    "write_text",
]
