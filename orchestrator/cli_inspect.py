"""Commands that look into one thing: ``engram show | why | sample | check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli_options import DATA, RESULTS, Budget, Data, Results, console
from orchestrator.errors import UserError

#: Its commands are taken over by ``orchestrator.cli.app``, among the others.
inspecting = typer.Typer()

Device = Annotated[str, typer.Option("--device", help="Where to compute: cpu, cuda, cuda:1.")]


@inspecting.command(epilog="Example: engram show 3f2a")
def show(
    trial: Annotated[str, typer.Argument(help="The first letters of a trial's id, or its name.")],
    results: Results = RESULTS,
) -> None:
    """Show all that is recorded of one trial."""
    from orchestrator.results import ResultsStore
    from orchestrator.trial_view import print_trial

    print_trial(trial, ResultsStore(results), console())


@inspecting.command(epilog="Example: engram why 3f2a")
def why(
    trial: Annotated[
        str, typer.Argument(help="The first letters of a planned trial's id, or its name.")
    ],
    space: Annotated[
        str | None,
        typer.Argument(help="The search space that plans it; by default all that were run."),
    ] = None,
    budget: Budget = None,
    results: Results = RESULTS,
    data: Data = DATA,
) -> None:
    """Say what makes a trial new, compared with the nearest one that has finished."""
    from orchestrator.results import ResultsStore
    from orchestrator.why import print_why

    if budget is not None and not space:
        raise UserError("--budget needs its search space: engram why TRIAL SPACE --budget NAME")
    print_why(trial, ResultsStore(results), data, console(), space, budget)


@inspecting.command(epilog="Example: engram sample 3f2a --output samples.png")
def sample(
    trial: Annotated[str, typer.Argument(help="The first letters of a trial's id, or its name.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="PNG file to write.")
    ] = None,
    per_class: Annotated[
        int, typer.Option("--per-class", min=1, help="Images of each class, in one row.")
    ] = 10,
    task: Annotated[
        int | None, typer.Option("--task", min=1, help="Only what it knows of this task, from 1.")
    ] = None,
    label: Annotated[int | None, typer.Option("--class", min=0, help="Only this class.")] = None,
    after: Annotated[
        int | None,
        typer.Option("--after", min=1, help="As after so many tasks; by default after the last."),
    ] = None,
    results: Results = RESULTS,
    data: Data = DATA,
    device: Device = "cpu",
) -> None:
    """Draw images from what a trial's method remembers, into a picture."""
    from orchestrator.results import ResultsStore
    from orchestrator.sample_view import write_samples

    write_samples(
        trial,
        ResultsStore(results),
        data,
        output=output,
        per_class=per_class,
        task=task,
        label=label,
        after=after,
        device=device,
        console=console(),
    )


@inspecting.command(epilog="Example: engram check replay")
def check(
    method: Annotated[
        str, typer.Argument(help="A method's name, its file such as anchor.py, or its module.")
    ],
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Only this check; may be given several times."),
    ] = None,
    scenario: Annotated[
        list[str] | None,
        typer.Option("--scenario", help="Only this scenario; may be given several times."),
    ] = None,
    data: Data = DATA,
) -> None:
    """Check that a method keeps the contract, and learns: your own too, from its file."""
    from orchestrator.check import check_methods

    if not check_methods(method, data, console(), only=only or (), scenarios=scenario or ()):
        raise typer.Exit(1)
