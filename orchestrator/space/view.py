"""Search spaces in the terminal: what they show, their budgets, numbers of trials and times."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.data.added import discover
from orchestrator.errors import UserError
from orchestrator.plan import count_trials
from orchestrator.results import ResultsStore
from orchestrator.search_space import SearchSpace, packaged_spaces, read_space
from orchestrator.space.measured import read_measured
from orchestrator.space.times import Time, about, time_elsewhere, times_here
from orchestrator.storage import Storage
from orchestrator.terminal import say


def print_spaces(results: str, console: Console) -> None:
    """Print the packaged search spaces, each with its budgets, numbers of trials and times.

    Parameters
    ----------
    results : str
        Folder of results, or a URI; what was measured there tells times.
    console : Console
    """
    times = _Times(results)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("search space", overflow="fold")
    table.add_column("trials", justify="right")
    table.add_column("time", overflow="fold")
    table.add_column("what it shows", overflow="fold")
    for name in packaged_spaces():
        own = ""
        try:
            readings = [(space, count_trials(space)) for space in _readings(name)]
        except UserError as error:  # one that cannot be read hides no other
            why = str(error).splitlines()[0]
            table.add_row(Text(name), Text("?"), Text(""), Text(f"cannot be read: {why}"))
            continue
        for space, trials in readings:
            said = first_sentence(space.header.description)
            title = name if space.budget is None else f"  --budget {space.budget}"
            words = said if said != own else ""
            table.add_row(Text(title), f"{trials:,}", Text(times.of(space, trials)), Text(words))
            own = own or said
    console.print(table)
    for note in times.notes():
        say(console, note)


class _Times:
    """How long sweeps take on this machine, and where that is known from."""

    def __init__(self, results: str) -> None:
        self.cores = os.cpu_count() or 1
        self._shown = Storage(results).shown
        self._problem, self._from = "", set[bool]()
        self._here: Mapping[str, Time] = {}
        try:
            self._here = times_here(ResultsStore(results))
        except UserError as error:  # no list should fail for want of a time
            self._problem = str(error)

    def of(self, space: SearchSpace, trials: int) -> str:
        """Say how long a search space takes, such as ``12 min``."""
        time = self._here.get(space.name) or time_elsewhere(read_measured(space.name))
        if time is None:
            return "not measured"
        self._from.add(time.here)
        return about(time.of(trials).on(self.cores, space.resources.cpus)) + " *" * (not time.here)

    def notes(self) -> Iterator[str]:
        """Say what the times are."""
        if self._from:
            cores = "1 core" if self.cores == 1 else f"{self.cores} cores"
            yield f"\nTimes: about what all trials take on the {cores} of this machine."
        if True in self._from:
            yield f"Without a mark: measured here, by the trials in {self._shown}."
        if False in self._from:
            yield "* Measured elsewhere, by what docs/experiments.md was made of."
        if self._problem:
            yield f"Times that were measured here are not known: {self._problem}"


def print_space(name: str, data: Path, results: str, console: Console) -> None:
    """Print what a search space says of itself, and the commands that run it.

    Parameters
    ----------
    name : str
        A file, or the name of a packaged search space.
    data : Path
        Folder of data, whose added sources a file may use.
    results : str
        Folder of results, or a URI; what was measured there tells times.
    console : Console

    Raises
    ------
    UserError
        If there is none, or it has mistakes.
    """
    discover(data)
    readings = list(_readings(name))
    header = readings[0].header
    say(console, "\n".join(filter(None, (header.name, header.description.strip()))))
    if header.paper:
        say(console, f"\npaper: {header.paper.strip()}")
    if header.published:
        say(console, f"\npublished:{_written(header.published)}")
    times = _Times(results)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("command", overflow="fold")
    table.add_column("trials", justify="right")
    table.add_column("time")
    for space in readings:
        budget = () if space.budget is None else ("--budget", space.budget)
        command, trials = shlex.join(("engram", "run", name, *budget)), count_trials(space)
        table.add_row(Text(command), f"{trials:,}", Text(times.of(space, trials)))
    console.print()
    console.print(table)
    for note in times.notes():
        say(console, note)


def _readings(name: str) -> Iterator[SearchSpace]:
    """Yield a search space as it is, and with each of its budgets."""
    space, problems = read_space(name)
    problems.raise_if_any()
    yield from (space, *space.others)


def first_sentence(text: str) -> str:
    """Return the first sentence of a description, in one line."""
    return re.split(r"(?<=[.!?])\s", " ".join(text.split()), maxsplit=1)[0]


def _written(published: object) -> str:
    """Write figures as a file has them: text as it is, a mapping as indented YAML."""
    if isinstance(published, str):
        return f" {published.strip()}"
    text = yaml.safe_dump(published, sort_keys=False, allow_unicode=True)
    return "\n" + "\n".join(f"  {line}" for line in text.splitlines())
