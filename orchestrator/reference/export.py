"""Takes what the documentation needs of a sweep out of a folder of results."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from orchestrator.errors import UserError, did_you_mean
from orchestrator.leaderboard import Pooled, paired_differences, pool
from orchestrator.leaderboard.facts import versions
from orchestrator.results import ResultsStore
from orchestrator.search_space import packaged_spaces, read_space
from orchestrator.space.measured import Measured, Row, Span

#: Methods that others are compared with, if a sweep has them: the first one counts.
_REFERENCES = ("naive", "joint", "latent-replay", "replay")
_NAMES = ("dataset", "scenario", "method", "settings", "variant")
#: Of the facts of a sweep, what tells one build and machine from another.
_TOLD = ("Engram", "PyTorch", "device", "GPU", "precision", "threads")


def packaged_sweeps() -> dict[str, str]:
    """Return the sweeps that packaged search spaces mean, each with the name of its file."""
    found: dict[str, str] = {}
    for name in packaged_spaces():
        space, problems = read_space(name)
        problems.raise_if_any()
        found |= {reading.name: name for reading in (space, *space.others)}
    return found


def export(
    results: str | Path, sweeps: Iterable[str], folder: Path, reference: str = ""
) -> list[Path]:
    """Write what was measured of sweeps as files of :mod:`orchestrator.space.measured`.

    Parameters
    ----------
    results : str or Path
        Folder of results, or a URI.
    sweeps : iterable of str
        Their names; all packaged ones that were run there if there are none.
    folder : Path
        Where the files go.
    reference : str, optional
        The method that others are compared with.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    UserError
        If a sweep is no packaged one, was not run there, or has no such reference.
    """
    store, known = ResultsStore(results), packaged_sweeps()
    wanted = list(sweeps) or [name for name in store.sweep_names() if name in known]
    for name in wanted:
        if name not in known:
            raise UserError(
                f"{name}: no packaged search space is called so" + did_you_mean(name, known)
            )
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in wanted:
        path = folder / f"{name}.json"
        path.write_text(measure(store, name, reference).to_json(), encoding="utf-8")
        written.append(path)
    return written


def measure(store: ResultsStore, name: str, reference: str = "") -> Measured:
    """Return what a folder of results has of a sweep.

    Raises
    ------
    UserError
        If it was not run there, or has no such reference.
    """
    planned = store.read_sweep(name)
    records = store.read({row["id"] for row in planned}).to_pandas()
    pooled = pool(records, pd.DataFrame(planned))
    reference = reference or _usual_reference(pooled)
    differences = _differences(records, reference)
    done = sorted(records.loc[records["outcome"] == "finished", "id"]) if len(records) else []
    facts = versions(pooled)
    return Measured(
        name,
        reference,
        {key: facts[key] for key in _TOLD if key in facts},
        hashlib.sha256(" ".join(done).encode()).hexdigest()[:16],
        tuple(
            _row(row, trials, differences.get(_key(row)))
            for row, trials in zip(pooled.table.to_dict("records"), pooled.trials, strict=True)
        ),
    )


def _usual_reference(pooled: Pooled) -> str:
    """Return the method to compare with: one that is a single row wherever it is."""
    rows = pooled.table[pooled.table["n"] > 0]
    for method in _REFERENCES:
        mine = rows[rows["method"] == method]
        default = mine[mine["settings"] == ""]
        blocks = mine.groupby(["dataset", "scenario"]).size()
        defaults = default.groupby(["dataset", "scenario"]).size()
        if len(mine) and all(
            count == 1 or defaults.get(block, 0) == 1 for block, count in blocks.items()
        ):
            return method
    return ""


def _differences(records: pd.DataFrame, reference: str) -> dict[tuple[str, ...], Any]:
    if not reference:
        return {}
    try:
        table = paired_differences(records, reference)
    except ValueError as error:
        raise UserError(f"--reference {reference}: {error}") from None
    return {_key(row): row for row in table.to_dict("records")}


def _key(row: Any) -> tuple[str, ...]:
    return tuple(str(row[name]) for name in _NAMES)


def _row(row: Any, trials: list[Any], difference: Any) -> Row:
    known: dict[str, Any] = {name: str(row[name]) for name in _NAMES}
    known |= {name: int(row[name]) for name in ("n", "missing", "diverged", "errors")}
    accuracy = (row[f"average_accuracy{end}"] for end in ("", "_low", "_high"))
    away = difference or {"difference": math.nan, "low": math.nan, "high": math.nan, "n": 0}
    return Row(
        **known,
        rank=None if pd.isna(row["rank"]) else int(row["rank"]),
        planned=len(trials) + known["missing"],
        accuracy=Span(*(_rounded(value, 6) for value in accuracy)),
        forgetting=_rounded(row["forgetting"], 6),
        bytes_kept=_rounded(row["bytes_kept"], 1),
        seconds=_rounded(row["seconds"], 1),
        difference=Span(*(_rounded(away[key], 6) for key in ("difference", "low", "high"))),
        pairs=int(away["n"]),
    )


def _rounded(value: float, digits: int) -> float | None:
    """Return a number as it is written, None for one that is none."""
    if value is None or not math.isfinite(value):
        return None
    return round(float(value), digits) + 0.0  # no minus zero
