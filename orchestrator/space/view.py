"""Search spaces in the terminal: what they show, their budgets and numbers of trials."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.data.added import discover
from orchestrator.plan import count_trials
from orchestrator.search_space import SearchSpace, packaged_spaces, read_space


def spaces_table() -> Table:
    """Return the packaged search spaces, each with its budgets and numbers of trials."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("search space", overflow="fold")
    table.add_column("trials", justify="right")
    table.add_column("what it shows", overflow="fold")
    for name in packaged_spaces():
        own = ""
        for space in _readings(name):
            said = space.header.description.strip()
            title = name if space.budget is None else f"  --budget {space.budget}"
            table.add_row(
                Text(title), f"{count_trials(space):,}", Text(said if said != own else "")
            )
            own = own or said
    return table


def print_space(name: str, data: Path, console: Console) -> None:
    """Print what a search space says of itself, and the commands that run it.

    Parameters
    ----------
    name : str
        A file, or the name of a packaged search space.
    data : Path
        Folder of data, whose added sources a file may use.
    console : Console

    Raises
    ------
    UserError
        If there is none, or it has mistakes.
    """
    discover(data)
    readings = list(_readings(name))
    header = readings[0].header
    _say(console, "\n".join(filter(None, (header.name, header.description.strip()))))
    if header.paper:
        _say(console, f"\npaper: {header.paper.strip()}")
    if header.published:
        _say(console, f"\npublished:{_written(header.published)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("command", overflow="fold")
    table.add_column("trials", justify="right")
    for space in readings:
        budget = () if space.budget is None else ("--budget", space.budget)
        table.add_row(
            Text(shlex.join(("engram", "run", name, *budget))), f"{count_trials(space):,}"
        )
    console.print()
    console.print(table)


def _readings(name: str) -> Iterator[SearchSpace]:
    """Yield a search space as it is, and with each of its budgets."""
    space, problems = read_space(name)
    problems.raise_if_any()
    yield from (space, *space.others)


def _written(published: object) -> str:
    """Write figures as a file has them: text as it is, a mapping as indented YAML."""
    if isinstance(published, str):
        return f" {published.strip()}"
    text = yaml.safe_dump(published, sort_keys=False, allow_unicode=True)
    return "\n" + "\n".join(f"  {line}" for line in text.splitlines())


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
