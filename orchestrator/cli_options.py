"""What commands share: their options, and where they print."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orchestrator.terminal import PlainConsole

Space = Annotated[str, typer.Argument(help="A search space: a file, or a packaged name.")]
Budget = Annotated[
    str | None,
    typer.Option("--budget", help="A named budget of the search space, such as small."),
]
Results = Annotated[
    str,
    typer.Option(
        "--results",
        envvar="ENGRAM_RESULTS",
        help="Folder of results, or a URI such as s3://bucket/results.",
    ),
]
Data = Annotated[Path, typer.Option("--data", envvar="ENGRAM_DATA", help="Folder of data.")]
Cpus = Annotated[
    int | None,
    typer.Option("--cpus", min=1, help="CPU cores and threads of a trial, whatever the file says."),
]
Gpus = Annotated[
    float | None,
    typer.Option("--gpus", min=0, help="GPUs of a trial, such as 0.25, whatever the file says."),
]
#: Where results and data are unless one says otherwise.
RESULTS, DATA = "results", Path("data")


def console() -> Console:
    """Return standard output, as wide as the terminal, or wide enough for tables in a file."""
    return PlainConsole(width=None if sys.stdout.isatty() else 120)
