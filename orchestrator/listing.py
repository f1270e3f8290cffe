"""What the command line prints: plans, sweeps and lists."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.checkpoints import Checkpoints, model_name
from orchestrator.errors import UserError
from orchestrator.results import ResultsStore, record_name
from orchestrator.setups import told_apart
from orchestrator.storage import Storage, StorageFailure
from orchestrator.terminal import say
from orchestrator.trial_view import trial_name

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.api import Sweep

#: The folder of results that commands take unless they are told another.
_DEFAULT_RESULTS = "results"


def print_sweep(sweep: Sweep, storage: Storage, mlflow: bool, console: Console) -> None:
    """Print how a sweep ended: its leaderboard, where that was saved, and what to do next."""
    from orchestrator.leaderboard import TerminalReport

    plan, outcome = sweep.plan, sweep.outcome
    console.print(TerminalReport(sweep.leaderboard))
    done = len(plan.trials) - len(outcome.pending)
    say(
        console,
        f"\n{plan.space.name}: {done} of {len(plan.trials)} trials done, {outcome.ran} of them now",
    )
    shown = storage.shown
    where = "" if shown == _DEFAULT_RESULTS else f" --results {shlex.quote(shown)}"
    unfinished = {trial: how for trial, how in outcome.outcomes.items() if how != "finished"}
    if unfinished:
        counts = Counter(unfinished.values())
        text = ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items()))
        # One that raised an error, if there is one, has the most to tell.
        first = min(unfinished, key=lambda trial: (unfinished[trial] != "error", trial))
        say(console, f"Did not finish: {text}; see why: {_this_command()} show {first}{where}")
        if "error" in counts:
            say(console, "The same command with --retry runs those again that raised an error.")
    if outcome.pending:
        say(console, "The same command goes on with what is missing.")
    say(console, "Leaderboard saved: " + ", ".join(sweep.files))
    if plan.space.keep.model:
        _say_what_is_kept(outcome.outcomes, storage, console)
    if outcome.tracking_failure:
        say(console, f"MLflow is incomplete ({outcome.tracking_failure}); the results are not.")
        say(
            console,
            f"{_this_command()} sync {plan.space.name}{where} writes what is missing there; the "
            "same command does too.",
        )
    elif mlflow:
        say(console, f"Compare the runs in MLflow: {_this_command()} ui {plan.space.name}")


def _say_what_is_kept(outcomes: Mapping[str, str], storage: Storage, console: Console) -> None:
    kept = Checkpoints(storage).models()
    finished = [trial for trial, outcome in outcomes.items() if outcome == "finished"]
    without = [trial for trial in finished if trial not in kept]
    if len(without) < len(finished):
        where = storage.path(model_name("ID"))
        say(console, f"Trained methods kept: {where}; in Python: engram.load(ID)")
    if without:
        say(
            console,
            f"Finished trials that were done before, without a model: {len(without)}; to run one "
            f"again, delete its record: {storage.path(record_name(min(without)))}",
        )


def _this_command() -> str:
    """Return what starts Engram here: ``engram``, or where it is if the shell would not find it."""
    script, found = Path(sys.argv[0]).absolute(), shutil.which("engram")
    if script.name != "engram":
        return "engram" if found else "python -m orchestrator"
    if found and Path(found).resolve() == script.resolve():
        return "engram"
    return str(script.relative_to(Path.cwd()) if script.is_relative_to(Path.cwd()) else script)


def write_leaderboard(
    table: pd.DataFrame, form: str, output: Path | None, console: Console
) -> None:
    """Print a leaderboard, or write it to a file."""
    from orchestrator.leaderboard import TerminalReport, to_markdown, write_parquet

    if form == "parquet":
        if output is None:
            raise UserError("--format parquet writes a file: give it with --output FILE")
        _writable(output, lambda: write_parquet(table, output))
    elif output is None:
        if form == "md":
            console.print(to_markdown(table), markup=False, highlight=False, soft_wrap=True)
        else:
            console.print(TerminalReport(table))
        return
    else:
        text = to_markdown(table)
        if form == "terminal":
            plain = Console(width=120, force_terminal=False)
            with plain.capture() as captured:
                plain.print(TerminalReport(table))
            text = captured.get()
        _writable(output, lambda: output.write_text(text, encoding="utf-8"))
    say(console, f"{output}: {len(table)} rows")


def write_report(page: str, output: Path, console: Console) -> None:
    """Write a leaderboard's HTML page, and say where it is."""
    from orchestrator.leaderboard import write_text

    _writable(output, lambda: write_text(page, output))
    say(console, f"{output}: open it in a browser; it needs no network")


def store_report(page: str, storage: Storage, name: str, console: Console) -> None:
    """Write a leaderboard's HTML page into a results folder, and say where it is."""
    try:
        storage.write(name, page.encode())
    except StorageFailure:
        raise
    except OSError as error:
        raise UserError(f"{storage.path(name)}: cannot be written ({error.strerror})") from None
    say(console, f"{storage.path(name)}: open it in a browser; it needs no network")


def _writable(path: Path, write: Any) -> None:
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def print_lists(kinds: Iterable[str], results: str, data: Path, console: Console) -> None:
    """Print lists of what there is."""
    for kind in kinds:
        match kind:
            case "methods":
                console.print(_methods())
            case "datasets":
                print_sources(data, console)
            case "search-spaces":
                from orchestrator.space.view import print_spaces

                print_spaces(results, console)
            case "trials":
                console.print(_trials(ResultsStore(results)))


def _methods() -> Table:
    from methods.core.registry import method_class, method_names

    table = _table("method", "what it does", "axes", "paper")
    for name in method_names():
        cls = method_class(name)
        summary = (cls.__doc__ or "").strip().splitlines()[0]
        _row(table, name, summary, ", ".join(sorted(cls.axes - cls.protocol)), cls.paper)
    return table


def _trials(store: ResultsStore) -> Table:
    table = _table("trial", "name", "outcome", "average accuracy")
    records = store.records()
    for record, apart in zip(records, told_apart(records), strict=True):
        _row(
            table,
            record["id"],
            " ".join(filter(None, (trial_name(record), apart))),
            record["outcome"],
            _number(record["average_accuracy"]),
        )
    return table


def print_sources(data: Path, console: Console) -> None:
    """Print sources of data and whether each is ready."""
    from orchestrator.data import list_sources
    from orchestrator.data.stream_names import name_forms

    table = _table("source", "what it is", "images", "classes", "state")
    rows = list_sources(data)
    for row in rows:
        shape = " × ".join(map(str, row.shape))
        _row(table, row.name, row.title, shape, str(row.classes), row.state)
    console.print(table)
    for row in rows:  # below the table, where a narrow column does not cut the command
        if row.command is not None:
            say(console, f"{row.state}: {row.command}")
        elif row.by_hand is not None:
            say(console, f"{row.state}: {row.name}: {row.by_hand}; see docs/data.md")
    say(console, f"Datasets are streams made of sources: {name_forms()}; such as split-digits")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _row(table: Table, *cells: str) -> None:
    """Add a row as it is: square brackets in a label are no markup."""
    table.add_row(*map(Text, cells))


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4f}"
