"""One trial in the terminal: its accuracy matrix, curves, measures and settings."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from methods.core.config import flatten
from orchestrator.checkpoints import Checkpoints
from orchestrator.curves import Curves, curves_name, is_accuracy, read_curves
from orchestrator.errors import UserError
from orchestrator.figures import row_name
from orchestrator.metrics import METRICS
from orchestrator.results import Record, ResultsStore
from orchestrator.samples import Samples
from orchestrator.setups import told_apart
from orchestrator.storage import Storage
from orchestrator.terminal import say

#: Columns of a record that are shown with the settings.
_ORIGIN = ("seed", "torch", "device", "threads", "data", "code", "host", "gpu", "commit", "started")
#: A curve in the terminal: its widest drawing, and its levels.
_SPARKS, _BLOCKS = 48, "▁▂▃▄▅▆▇█"


def print_trial(wanted: str, store: ResultsStore, console: Console) -> None:
    """Print all that is recorded of one trial.

    Parameters
    ----------
    wanted : str
        The first letters of its id, or its name or a part of it.
    store : ResultsStore
    console : Console

    Raises
    ------
    UserError
        If no trial fits, or several do.
    """
    record = find_trial(wanted, store)
    curves = read_curves(store.storage, record["id"])
    cause = f": {record['cause']}" if record["cause"] else ""
    say(console, f"{trial_name(record)}   ({record['id']})\n{record['outcome']}{cause}\n")
    numbers = (_matrix(record), _curves(curves), _audit(record), _flags(record))
    shown = (*numbers, _measures(record), _settings(record))
    for part in (*shown, _files(record["id"], store.storage)):
        if part.row_count:
            console.print(part)
            console.print()
    if record["traceback"]:
        say(console, record["traceback"])


def trial_name(record: Record) -> str:
    """Write a recorded trial in words: ``split-digits/class-incremental/replay[…]/seed=0``."""
    settings = f"[{record['settings'].replace(', ', ',')}]" if record["settings"] else ""
    return (
        f"{record['dataset']}/{record['scenario']}/{record['method']}{settings}"
        f"/seed={record['seed']}"
    )


def find_trial(wanted: str, store: ResultsStore) -> Record:
    """Return the record of the one trial that is meant.

    Parameters
    ----------
    wanted : str
        The first letters of its id, or its name or a part of it.

    Raises
    ------
    UserError
        If no trial fits, or several do.
    """
    prefixed = [trial for trial in store.ids() if trial.startswith(wanted)]
    records = store.records(prefixed or None)
    named = [r for r in records if wanted == trial_name(r)]
    found = records if prefixed else named or [r for r in records if wanted in trial_name(r)]
    if len(found) == 1:
        return found[0]
    if not found:
        where = store.storage.shown
        command = shlex.join(("engram", "list", "trials", "--results", where))
        command = command.removesuffix(" --results results")
        raise UserError(f"{where}: holds no trial {wanted!r}; list them: {command}")
    names = [
        f"{trial_name(r)} {apart}".strip()
        for r, apart in zip(found, told_apart(found), strict=True)
    ]
    some = ", ".join(f"{r['id'][:8]} ({name})" for r, name in zip(found[:3], names, strict=False))
    raise UserError(f"{wanted!r} fits {len(found)} trials, among them {some}; give one's id")


def _matrix(record: Record) -> Table:
    rows = record["accuracy"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("accuracy on")
    for task in range(record["tasks"] if rows else 0):
        table.add_column(f"task {task + 1}", justify="right")
    for i, row in enumerate(rows):
        if any(not math.isnan(value) for value in row):
            table.add_row(row_name(i), *("" if math.isnan(v) else f"{v:.3f}" for v in row))
    return table


def _audit(record: Record) -> Table:
    """Show what its replay was like after each task; nothing where it was not audited."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    if not record.get("audit"):
        return table
    from orchestrator.leaderboard.audit import MEASURES, audit_rows  # pandas, only where needed

    table.add_column("audit of replay")
    for measure in MEASURES:
        table.add_column(measure.title, justify="right")
        if measure.yardstick:
            table.add_column("of real", justify="right")
    for i, row in enumerate(audit_rows(record), start=1):
        numbers = [(m, row.get(key)) for m in MEASURES for key in (m.key, m.yardstick) if key]
        table.add_row(row_name(i), *(m.show(math.nan if v is None else v) for m, v in numbers))
    return table


def _flags(record: Record) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("flag")
    table.add_column("what is wrong with replay", overflow="fold")
    for i, flag in enumerate(record.get("audit_flags") or (), start=1):
        if flag:
            table.add_row(row_name(i), Text(flag, style="red"))
    return table


def _curves(curves: Curves | None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("curve")
    table.add_column("over the iterations")
    table.add_column("last", justify="right")
    series = curves.series() if curves else {}
    for name in [*filter(is_accuracy, series), *(n for n in series if not is_accuracy(n))]:
        values = [value for _, value in series[name]]
        bounds = (0.0, 1.0) if is_accuracy(name) else (np.nanmin(values), np.nanmax(values))
        table.add_row(name, _sparkline(values, *bounds), f"{values[-1]:.4g}")
    if curves and curves.problem:
        table.add_row("accuracy no longer watched", Text(curves.problem), "")
    return table


def _sparkline(values: Sequence[float], low: float, high: float) -> str:
    """Draw numbers as a line of blocks; a blank stands for what is no number."""
    parts = np.array_split(np.array(values), min(len(values), _SPARKS))
    scaled = [(float(part.mean()) - low) / (high - low or 1.0) for part in parts]
    return "".join(
        _BLOCKS[round(s * (len(_BLOCKS) - 1))] if math.isfinite(s) else " " for s in scaled
    )


def _files(trial: str, storage: Storage) -> Table:
    kept = Checkpoints(storage)
    curves = curves_name(trial)
    files = [
        curves if storage.exists(curves) else None,
        kept.model(trial),
        *kept.after_tasks(trial).values(),
    ]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("files", overflow="fold")
    for file in filter(None, files):
        table.add_row(Text(storage.path(file)))
    samples = Samples(storage)
    if pictures := len(samples.names(trial)):
        grids = f"{pictures} picture{'s' * (pictures > 1)}"
        table.add_row(Text(f"{samples.where(trial)}/ ({grids} of what the method reported)"))
    return table


def _measures(record: Record) -> Table:
    table = _pairs("measure", right=True)
    for name in METRICS:
        value = record[name]
        table.add_row(name.replace("_", " "), "-" if math.isnan(value) else f"{value:.4f}")
    if not math.isnan(record["samples_per_second"]):
        table.add_row("samples per second", f"{record['samples_per_second']:,.0f}")
    for owner, kept in (record["bytes_by_owner"] | {"total": record["bytes_kept"]}).items():
        table.add_row(f"bytes kept: {owner}", f"{kept:,}")
    for phase, seconds in (record["seconds_by_phase"] | {"total": record["seconds"]}).items():
        table.add_row(f"seconds: {phase}", f"{seconds:.2f}")
    return table


def _settings(record: Record) -> Table:
    try:
        config = json.loads(record["config"])
        settings = flatten(config["stream"] | config["options"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UserError(f"{record['id']}: its record holds no configuration; delete it") from None
    table = _pairs("setting")
    for key, value in settings.items():
        if value is not None:
            table.add_row(key, Text(str(value)))
    for key in _ORIGIN:
        if record[key] not in ("", None):
            table.add_row(key, Text(str(record[key])))
    return table


def _pairs(name: str, right: bool = False) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(name)
    table.add_column("value", justify="right" if right else "left", overflow="fold")
    return table
