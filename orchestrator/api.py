"""The Python side of the command line: run a search space, read results as data frames."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.errors import UserError
from orchestrator.plan import Plan, make_plan
from orchestrator.results import ResultsStore

if TYPE_CHECKING:
    import pandas as pd

    from methods.core.method import Method
    from orchestrator.leaderboard import Pooled
    from orchestrator.sweep import SweepOutcome


@dataclass(frozen=True)
class Sweep:
    """A sweep that was run.

    Attributes
    ----------
    plan : Plan
    outcome : SweepOutcome
    leaderboard : pandas.DataFrame
    files : tuple of str
        Where the leaderboard was saved: Markdown, Parquet, HTML.
    """

    plan: Plan
    outcome: SweepOutcome
    leaderboard: pd.DataFrame
    files: tuple[str, ...]


def default_data() -> Path:
    """Return the folder of data: ``ENGRAM_DATA``, or ``data``."""
    return Path(os.environ.get("ENGRAM_DATA") or "data")


def run(
    space: str | Path,
    *,
    budget: str | None = None,
    results: str | Path = "results",
    data: str | Path | None = None,
    mlflow: bool = True,
    retry: bool = False,
    keep_model: bool = False,
    resources: Mapping[str, float] = MappingProxyType({}),
    console: Console | None = None,
) -> Sweep:
    """Run what is pending of a search space, and build its leaderboard.

    Parameters
    ----------
    space : str or Path
        A file, or the name of a packaged search space.
    budget : str, optional
        A named budget of the search space, such as ``small``; the sweep is then called after both.
    results : str or Path
        Folder of results, or a URI such as ``s3://bucket/results``.
    data : str or Path, optional
        Folder of data.
    mlflow : bool
        Whether to record in MLflow too.
    retry : bool
        Run trials again whose method raised an error.
    keep_model : bool
        Keep the trained method of each trial that is run, whatever the search space says of it;
        :func:`load` gives it back.
    resources : mapping
        ``cpus`` or ``gpus`` of a trial, instead of what the search space says.
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
    store = ResultsStore(results)
    data_dir = default_data() if data is None else Path(data)
    plan = make_plan(space, data_dir, budget, resources)
    # A mistake is told before what only a sweep needs has been imported.
    from orchestrator.sweep import environment_report, git_commit, run_plan
    from orchestrator.tracking.client import tracking_uri
    from orchestrator.tracking.runs import SweepRuns
    from orchestrator.tracking.tracker import Tracker

    if keep_model:
        keep = plan.space.keep.model_copy(update={"model": True})
        plan = replace(plan, space=replace(plan.space, keep=keep))
    tracker = None
    if mlflow:
        files = {
            "search_space.yaml": plan.space.text,
            "environment.json": environment_report(),
        }
        configs = {trial.id: trial.config for trial in plan.trials}
        where = git_commit(), tracking_uri(), store, plan.space.keep.model
        tracker = Tracker(SweepRuns(plan.space.name, configs, files, *where), configs)
    try:
        outcome = run_plan(
            plan,
            store,
            data_dir,
            console or Console(quiet=True),
            tracker,
            retry,
            _about(space, plan),
        )
    except BaseException:
        if tracker is not None:
            tracker.close("KILLED")
        raise
    from orchestrator.leaderboard import save, to_markdown  # a mistake is told before pandas loads

    table, page = _table_and_page(store, plan.space.name)
    saved = save(table, store.storage, f"leaderboards/{plan.space.name}", page)
    if tracker is not None:
        status = "FAILED" if outcome.pending else "FINISHED"
        failure = tracker.close(
            status, {"leaderboard.md": to_markdown(table), "leaderboard.html": page}
        )
        outcome = replace(outcome, tracking_failure=failure)
    return Sweep(plan, outcome, table, saved)


def read_results(results: str | Path = "results") -> pd.DataFrame:
    """Return all records of a results folder, one row per trial.

    The accuracy matrix is a list of rows in column ``accuracy``.

    Parameters
    ----------
    results : str or Path
        Folder of results, or a URI such as ``s3://bucket/results``.
    """
    return ResultsStore(results).read().to_pandas()


def read_curves(trial: str, *, results: str | Path = "results") -> pd.DataFrame:
    """Return the curves of a trial: its losses, and its accuracy where that was watched.

    Parameters
    ----------
    trial : str
        The first letters of its id, or its name or a part of it.

    Returns
    -------
    pandas.DataFrame
        A row per point with the columns ``name``, ``task`` (the one being learnt, from 1),
        ``iteration`` (counted over all tasks) and ``value``.

    Raises
    ------
    UserError
        If no trial fits, or several do.

    Examples
    --------
    >>> engram.read_curves("3f2a").pivot(index="iteration", columns="name", values="value").plot()
    """
    import pandas as pd

    from orchestrator.curves import SCHEMA, Curves
    from orchestrator.curves import read_curves as read
    from orchestrator.trial_view import find_trial

    store = ResultsStore(results)
    curves = read(store.storage, find_trial(trial, store)["id"]) or Curves([])
    return pd.DataFrame(list(curves.points()), columns=SCHEMA.names)


def load(
    trial: str,
    *,
    results: str | Path = "results",
    task: int | None = None,
    device: str = "cpu",
    data: str | Path | None = None,
) -> Method:
    """Return the method that a trial trained, ready to ``predict`` and ``sample``.

    Something must have been kept of it: ``engram run SPACE --keep-model``, or ``keep:`` in the
    search space. Warns if the code has changed since.

    Parameters
    ----------
    trial : str
        The first letters of its id, or its name or a part of it.
    results : str or Path
        Folder of results, or a URI.
    task : int, optional
        As the method was after so many tasks, if checkpoints were kept; by default as it was last.
    device : str
        Where the network is to live.
    data : str or Path, optional
        Folder of data, where a data set of your own was added to it.

    Raises
    ------
    UserError
        If no trial fits or several do, nothing was kept of it, or it does not fit the code that is
        installed.

    Examples
    --------
    >>> method = engram.load("3f2a")
    >>> method.predict(images).argmax(1)
    """
    from orchestrator.loading import load_method

    data_dir = default_data() if data is None else Path(data)
    return load_method(trial, ResultsStore(results), data_dir, task, device)


def read_leaderboard(
    results: str | Path = "results", space: str | None = None, *, everything: bool = False
) -> pd.DataFrame:
    """Pool the trials of a results folder over their seeds and rank them.

    Parameters
    ----------
    results : str or Path
        Folder of results, or a URI.
    space : str, optional
        Name of one sweep; by default all that were run in this folder.
    everything : bool
        Take every record in the folder, also those that no sweep plans any more, such as trials
        of an older version of a method.
    """
    return _pooled(ResultsStore(results), space, everything).table


def read_report(
    results: str | Path = "results", space: str | None = None, *, everything: bool = False
) -> str:
    """Return the leaderboard with its charts as one HTML page that loads nothing else.

    Parameters as in :func:`read_leaderboard`.
    """
    return _table_and_page(ResultsStore(results), space, everything)[1]


def _table_and_page(
    store: ResultsStore, space: str | None, everything: bool = False
) -> tuple[pd.DataFrame, str]:
    from orchestrator.leaderboard import About, to_html

    pooled = _pooled(store, space, everything)
    said = store.read_about(space) if space else {}
    told = {key: said[key] for key in About.__dataclass_fields__.keys() & said.keys() - {"name"}}
    about = About(space or "", **told)
    return pooled.table, to_html(pooled, about, store.storage)


def _pooled(store: ResultsStore, space: str | None, everything: bool = False) -> Pooled:
    import pandas as pd

    from orchestrator.leaderboard import pool

    names = store.sweep_names() if space is None else [space]
    planned = {row["id"]: row for name in names for row in store.read_sweep(name)}
    ids = None if everything or not planned else planned
    records = store.read(ids).to_pandas()
    try:
        return pool(records, pd.DataFrame(list(planned.values())) if planned else None)
    except ValueError as error:
        where = store.storage.shown
        raise UserError(f"{where}: holds records or plans that no sweep wrote ({error})") from error


def _about(space: str | Path, plan: Plan) -> dict[str, str]:
    """Return what the report of a sweep says of it, but for its name."""
    given, header = Path(space), plan.space.header
    command = f"engram run {shlex.quote(given.name if given.is_file() else str(space))}"
    return {
        "description": " ".join(header.description.split()),
        "paper": " ".join(header.paper.split()),
        "command": command + (f" --budget {plan.space.budget}" if plan.space.budget else ""),
        "search_space": plan.space.text,
    }
