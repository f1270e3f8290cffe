"""The Python side of the command line: run a search space, read results as data frames."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.plan import Plan, make_plan
from orchestrator.results import ResultsStore
from orchestrator.sweep import SweepOutcome, environment_report, git_commit, run_plan
from orchestrator.tracking import Tracker, tracking_uri

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Sweep:
    """A sweep that was run.

    Attributes
    ----------
    plan : Plan
    outcome : SweepOutcome
    leaderboard : pandas.DataFrame
    files : tuple of Path
        Where the leaderboard was saved: Markdown, Parquet.
    """

    plan: Plan
    outcome: SweepOutcome
    leaderboard: pd.DataFrame
    files: tuple[Path, ...]


def default_data() -> Path:
    """Return the folder of data: ``ENGRAM_DATA``, or ``data``."""
    return Path(os.environ.get("ENGRAM_DATA") or "data")


def run(
    space: str | Path,
    *,
    results: str | Path = "results",
    data: str | Path | None = None,
    mlflow: bool = True,
    retry: bool = False,
    console: Console | None = None,
) -> Sweep:
    """Run what is pending of a search space, and build its leaderboard.

    Parameters
    ----------
    space : str or Path
        A file, or the name of a packaged search space.
    results, data : str or Path
        Folders of results and of data.
    mlflow : bool
        Whether to record in MLflow too.
    retry : bool
        Run trials again whose method raised an error.
    console : Console, optional
        Where progress is shown; nowhere by default.

    Returns
    -------
    Sweep

    Raises
    ------
    UserError
        For everything that the user can mend, before anything starts.
    """
    store = ResultsStore(Path(results))
    data_dir = default_data() if data is None else Path(data)
    plan = make_plan(space, data_dir)
    tracker = None
    if mlflow:
        files = {
            "search_space.yaml": plan.space.file.text,
            "environment.json": environment_report(),
        }
        configs = {trial.id: trial.config for trial in plan.trials}
        tracker = Tracker(plan.space.name, configs, files, git_commit(), tracking_uri())
    try:
        outcome = run_plan(plan, store, data_dir, console or Console(quiet=True), tracker, retry)
    except BaseException:
        if tracker is not None:
            tracker.close("KILLED")
        raise
    from orchestrator.leaderboard import save, to_markdown  # a mistake is told before pandas loads

    table = read_leaderboard(results, plan.space.name)
    saved = save(table, store.folder / "leaderboards" / plan.space.name)
    if tracker is not None:
        status = "FAILED" if outcome.pending else "FINISHED"
        failure = tracker.close(status, {"leaderboard.md": to_markdown(table)})
        outcome = replace(outcome, tracking_failure=failure)
    return Sweep(plan, outcome, table, saved)


def read_results(results: str | Path = "results") -> pd.DataFrame:
    """Return all records of a results folder, one row per trial.

    The accuracy matrix is a list of rows in column ``accuracy``.
    """
    return ResultsStore(Path(results)).read().to_pandas()


def read_leaderboard(
    results: str | Path = "results", space: str | None = None, *, everything: bool = False
) -> pd.DataFrame:
    """Pool the trials of a results folder over their seeds and rank them.

    Parameters
    ----------
    results : str or Path
    space : str, optional
        Name of one sweep; by default all that were run in this folder.
    everything : bool
        Take every record in the folder, also those that no sweep plans any more, such as trials
        of an older version of a method.
    """
    import pandas as pd

    from orchestrator.leaderboard import build_leaderboard

    store = ResultsStore(Path(results))
    names = store.sweep_names() if space is None else [space]
    planned = {row["id"]: row for name in names for row in store.read_sweep(name)}
    ids = None if everything or not planned else planned
    records = store.read(ids).to_pandas()
    return build_leaderboard(records, pd.DataFrame(list(planned.values())) if planned else None)
