"""Makes MLflow whole by hand: all that a results folder holds of its sweeps and MLflow lacks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console

from orchestrator.curves import read_curves
from orchestrator.errors import UserError
from orchestrator.results import ResultsStore
from orchestrator.storage.lock import only_run_on
from orchestrator.tracking.client import reason, shown_uri, tracking_uri
from orchestrator.tracking.runs import SweepRuns

#: What is held in memory.
_RECORDS_AT_ONCE = 64
#: The last artifacts of a sweep, where its leaderboard was saved.
_LEADERBOARD = ("leaderboard.md", "leaderboard.html")


@dataclass(frozen=True)
class Synced:
    """What was done for a sweep.

    Attributes
    ----------
    name : str
    planned : int
        Trials that it planned.
    written, there : int
        Recorded trials that were written now, and those that MLflow had.
    """

    name: str
    planned: int
    written: int
    there: int

    def __str__(self) -> str:
        recorded = self.written + self.there
        trials = f"{self.planned} trials" if self.planned != 1 else "1 trial"
        of = "" if recorded == self.planned else f"{recorded} of "
        return f"{self.name}: {of}{trials}, {self.written} written, {self.there} were there"


def sync(
    store: ResultsStore,
    names: Sequence[str],
    uri: str,
    told: Callable[[str], None] = lambda line: None,
) -> Iterator[Synced]:
    """Write to MLflow what it lacks of some sweeps, from their results folder alone.

    The runs are those that the sweeps themselves write, so both may be done in any order. What was
    interrupted is completed by the next one.

    Parameters
    ----------
    store : ResultsStore
    names : sequence of str
        Names of sweeps.
    uri : str
        Tracking server or database.
    told : callable, optional
        Is told of each trial that is written, in a line.

    Yields
    ------
    Synced
        For each sweep, as soon as it is done.

    Raises
    ------
    UserError
        If MLflow does not answer, or a record cannot be read.
    """
    from mlflow.exceptions import MlflowException

    for name in names:
        try:
            yield _sync_sweep(store, name, uri, told)
        except UserError:
            raise
        except (MlflowException, OSError) as error:
            raise UserError(
                f"{shown_uri(uri)}: MLflow did not take {name} ({reason(error)}); what was written "
                "is kept, and once this is mended the same command goes on"
            ) from error


def print_sync(store: ResultsStore, name: str | None, console: Console) -> None:
    """Write what MLflow lacks of one sweep, or of all, and print a line for each.

    Raises
    ------
    UserError
        As :func:`sync`, if there is no such sweep, or if another process works on the results.
    """
    names = store.sweep_names() if name is None else [name]
    if not names:
        raise UserError(
            f"{store.storage.shown}: holds no sweeps; run a search space first: engram run SPACE"
        )
    with only_run_on(store.storage, "engram sync"), console.status("MLflow") as status:
        for done in sync(store, names, tracking_uri(), status.update):
            console.print(str(done), markup=False, highlight=False, soft_wrap=True)
    planned = {row["id"] for sweep in names for row in store.read_sweep(sweep)}
    others = len(store.ids() - planned) if name is None else 0
    if others:
        console.print(
            f"Trials that no sweep here plans any more, and that are left out: {others}",
            highlight=False,
        )


def _sync_sweep(store: ResultsStore, name: str, uri: str, told: Callable[[str], None]) -> Synced:
    planned = [row["id"] for row in store.read_sweep(name)]
    recorded = sorted(store.ids().intersection(planned))
    if not recorded:
        return Synced(name, len(planned), 0, 0)
    text = store.read_about(name).get("search_space")
    files = {"search_space.yaml": text} if text else {}
    runs = SweepRuns(name, planned, files, "", uri, store, upload_models=True)
    runs.connect()
    written, now = 0, int(time.time() * 1000)
    for start in range(0, len(recorded), _RECORDS_AT_ONCE):
        for i, record in enumerate(store.records(recorded[start : start + _RECORDS_AT_ONCE])):
            if not runs.holds(record):
                told(f"{name}: trial {start + i + 1} of {len(recorded)}")
                curves = read_curves(store.storage, record["id"])
                runs.write_record(record, curves, now)
                written += 1
    status = "FINISHED" if len(recorded) == len(planned) else "KILLED"
    if written or runs.status != status:
        runs.end(status, _leaderboard(store, name))
    return Synced(name, len(planned), written, len(recorded) - written)


def _leaderboard(store: ResultsStore, name: str) -> dict[str, str]:
    """Return the leaderboard as it was saved last, if it was."""
    paths = {file: f"leaderboards/{name}/{file}" for file in _LEADERBOARD}
    return {
        file: store.storage.read(path).to_pybytes().decode()
        for file, path in paths.items()
        if store.storage.exists(path)
    }
