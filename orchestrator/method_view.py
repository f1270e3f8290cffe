"""A method in the terminal: what it does, and its options."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from methods.core.registry import method_class, method_names
from orchestrator.errors import UserError, unknown
from orchestrator.reference.docstrings import read_docstring
from orchestrator.reference.options import option_rows
from orchestrator.space.view import first_sentence
from orchestrator.terminal import say


def print_method(name: str, console: Console) -> None:
    """Print what a method does, and each of its options with its default and its meaning.

    Raises
    ------
    UserError
        If no method is called so; with a suggestion.
    """
    if name not in method_names():
        raise UserError(unknown("method", name, method_names()))
    cls = method_class(name)
    lines = [name, read_docstring(cls.__doc__).summary, ""]
    lines += [f"paper: {cls.paper}"] * bool(cls.paper)
    lines += [f"scenarios: {', '.join(sorted(cls.scenarios))}", ""]
    for line in lines:
        say(console, line)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("option", "default", "meaning"):
        table.add_column(column, overflow="fold")
    for option, _, default, meaning in option_rows(cls.Config):
        cells = option.strip("`"), default.replace("`", ""), first_sentence(meaning)
        table.add_row(*map(Text, cells))
    console.print(table)
    say(console, "\nOptions of memories, networks and optimizers: docs/methods.md")
