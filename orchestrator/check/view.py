"""The checks of a method in the terminal: a line for each, and a verdict."""

from __future__ import annotations

import inspect
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from methods.core.method import Method
from methods.core.task import Scenario
from orchestrator.check.cases import DATASET, Case, cases_for
from orchestrator.check.checks import ALL_CHECKS, BATCH_SIZE, STEPS, Check, where_defined
from orchestrator.check.find import find_methods
from orchestrator.check.runs import (
    Failure,
    Finding,
    Run,
    nearby,
    run_check,
    runs_of,
    seconds_per_task,
)
from orchestrator.errors import UserError, unknown
from orchestrator.terminal import say

#: Different failures of one check that are shown; checks that are asked for again.
_SHOWN = 3


def check_methods(
    wanted: str,
    data_dir: Path,
    console: Console,
    *,
    only: Sequence[str] = (),
    scenarios: Sequence[str] = (),
) -> bool:
    """Check what a user calls a method, print what was found, and return whether all is well.

    Parameters
    ----------
    wanted : str
        A registered name, a file of Python code, or a module; all its methods are checked.
    data_dir : Path
        Folder of data, in which the embedded digits are kept.
    console : Console
    only : sequence of str, optional
        Names of checks; all of them by default.
    scenarios : sequence of str, optional
        All that a method declares by default.

    Raises
    ------
    UserError
        If a name is unknown, a file cannot be imported, or a method is not for a scenario.
    """
    checks = _chosen(only)
    asked = [_scenario(name) for name in scenarios]
    methods = find_methods(wanted)
    where = {method: _scenarios_of(method, asked) for method in methods}
    with _one_thread():
        kept = [_check(m, wanted, where[m], checks, data_dir, console) for m in methods]
    return all(kept)


def _check(
    method: type[Method],
    wanted: str,
    scenarios: Sequence[Scenario],
    checks: Sequence[Check],
    data_dir: Path,
    console: Console,
) -> bool:
    began = time.monotonic()
    cases, refused = cases_for(method)
    _print_head(method, refused, console)
    runs = {check: runs_of(check, method, data_dir, scenarios, cases) for check in checks}
    findings: list[Finding] = []
    with _progress(console) as progress:
        bar = progress.add_task("", total=sum(map(len, runs.values())))
        for check in checks:
            progress.update(bar, description=check.name)
            findings.append(run_check(check, runs[check], lambda: progress.advance(bar)))
            console.print(_lines(findings[-1], findings[:-1]))
    broken = [finding for finding in findings if finding.failures]
    if not broken and len(checks) == len(ALL_CHECKS):
        _print_speed(Run(method, data_dir, scenarios[0], cases[0]), console)
    seconds = time.monotonic() - began
    console.print(_verdict(method, findings, scenarios, cases, seconds), soft_wrap=True)
    if 0 < len(broken) <= _SHOWN:
        words = [f"--only {finding.check.name}" for finding in broken]
        say(console, f"Again: engram check {shlex.quote(wanted)} {' '.join(words)}")
    console.print()
    return not broken


def _print_head(method: type[Method], refused: Iterable[str], console: Console) -> None:
    file, line = where_defined(method)
    summary = inspect.cleandoc(method.__doc__ or "").partition("\n")[0]
    console.print(Text(method.name, "bold").append(f"   {summary}", "not bold"), soft_wrap=True)
    say(console, f"{nearby(file)}:{line}, on {DATASET}\n")
    for line_ in refused:
        say(console, f"Left out, for it does not take these options: {line_}")


def _lines(finding: Finding, before: Sequence[Finding]) -> Table:
    """Return the lines of a check: its meaning, and what failed, where, and how often."""
    table = Table.grid(padding=(0, 2))
    table.add_column(width=6)
    table.add_column(width=max(len(check.name) for check in ALL_CHECKS))
    table.add_column(ratio=1, overflow="fold")
    state = Text("FAILED", "bold red") if finding.failures else Text("ok", "green")
    table.add_row(state, finding.check.name, finding.check.meaning)
    if finding.remarks and not finding.failures:
        table.add_row("", "", Text(", ".join(finding.remarks), "dim"))
    told = {_key(f): other.check.name for other in reversed(before) for f in other.failures}
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in finding.failures:
        groups.setdefault(_key(failure), []).append(failure)
    for key, failures in list(groups.items())[:_SHOWN]:
        if key in told:
            table.add_row("", "", Text(f"as in {told[key]}", "red"))
            continue
        table.add_row("", "", Text(failures[0].message, "red"))
        where = _where(failures[0], len(failures), finding.runs)
        if where:
            table.add_row("", "", Text(where, "dim"))
    if len(groups) > _SHOWN:
        table.add_row("", "", f"… and {len(groups) - _SHOWN} failures more")
    return table


def _key(failure: Failure) -> tuple[str, str]:
    return failure.message, failure.place


def _where(first: Failure, times: int, runs: int) -> str:
    place = f"{first.place}; " if first.place else ""
    if runs == 1:
        return place.removesuffix("; ")
    often = f", and {times - 1} more of {runs} runs" if times > 1 else f", of {runs} runs"
    return f"{place}{first.run.scenario}, {first.run.case.name}{often}"


def _print_speed(run: Run, console: Console) -> None:
    own, naive = seconds_per_task(run)
    text = (
        f"{own:.2g} s a task of {STEPS} steps with {BATCH_SIZE} images, {own / naive:.1f} × naive"
    )
    console.print(Padding(Text(f"Speed, for information: {text}", "dim"), (1, 0, 0, 0)))


def _verdict(
    method: type[Method],
    findings: Sequence[Finding],
    scenarios: Sequence[Scenario],
    cases: Sequence[Case],
    seconds: float,
) -> Text:
    broken = sum(bool(finding.failures) for finding in findings)
    checks = _plural(len(findings), "check")
    took = f"{seconds:.0f} s"
    if broken:
        return Text(f"\n{method.name} breaks {broken} of {checks} ({took})", "bold red")
    where = f"{_plural(len(scenarios), 'scenario')} × {_plural(len(cases), 'case')}"
    whole = "the contract" if len(findings) == len(ALL_CHECKS) else "this part of the contract"
    return Text(f"\n{method.name} keeps {whole}: {checks} × {where} in {took}", "bold green")


def _plural(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _chosen(only: Sequence[str]) -> tuple[Check, ...]:
    known = [check.name for check in ALL_CHECKS]
    for name in only:
        if name not in known:
            raise UserError(unknown("check", name, known))
    return tuple(check for check in ALL_CHECKS if not only or check.name in only)


def _scenario(name: str) -> Scenario:
    if name not in list(Scenario):
        raise UserError(unknown("scenario", name, Scenario))
    return Scenario(name)


def _scenarios_of(method: type[Method], asked: Sequence[Scenario]) -> list[Scenario]:
    declared = [scenario for scenario in Scenario if scenario in method.scenarios]
    if not declared:
        raise UserError(f"{method.name}: declares no scenario; leave scenarios out for all three")
    for scenario in asked:
        if scenario not in declared:
            raise UserError(f"{method.name} is not for {scenario}; it is for {', '.join(declared)}")
    return [scenario for scenario in declared if not asked or scenario in asked]


def _progress(console: Console) -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %")
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute as a trial does by default: small networks are fastest so, and repeat exactly."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
