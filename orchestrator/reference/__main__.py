"""``python -m orchestrator.reference``: write the pages; with ``export``, what they are made of."""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.errors import UserError
from orchestrator.reference import write_pages

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def pages(
    context: typer.Context,
    docs: Annotated[Path, typer.Option(help="Folder of the documentation.")] = Path("docs"),
) -> None:
    """Write the pages of methods and experiments."""
    if context.invoked_subcommand is None:
        for path in write_pages(docs):
            typer.echo(path)


@app.command()
def export(
    sweeps: Annotated[
        list[str] | None,
        typer.Argument(help="Names of sweeps, such as glr-rotated-small; all by default."),
    ] = None,
    results: Annotated[str, typer.Option(help="Folder of results.")] = "results",
    reference: Annotated[
        str, typer.Option(help="The method that others are compared with; naive by default.")
    ] = "",
) -> None:
    """Keep what a folder of results has of packaged search spaces, for the pages and for lists."""
    from orchestrator.reference.export import export as write

    folder = Path(str(files("search_spaces"))) / "measured"
    for path in write(results, sweeps or [], folder, reference):
        typer.echo(path)


def main() -> None:
    """Run the command: a mistake of the user is one line and exit status 2."""
    try:
        app()
    except UserError as error:
        typer.echo(f"engram: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
