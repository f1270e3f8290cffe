"""The command line: ``engram plan | run | leaderboard | list | data | sync | ui``, and more."""

from __future__ import annotations

import atexit
import difflib
import gc
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli_inspect import inspecting
from orchestrator.cli_options import (
    DATA,
    RESULTS,
    Budget,
    Cpus,
    Data,
    Gpus,
    Results,
    Space,
    console,
)
from orchestrator.errors import UserError
from orchestrator.terminal import printable

app = typer.Typer(
    name="engram",
    help="Grids of continual learning with generative replay: run, record, compare.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
data_app = typer.Typer(no_args_is_help=True, help="Look after the data that task streams use.")
app.add_typer(data_app, name="data")

#: Exit status after Ctrl-C, by the shell's custom.
_INTERRUPTED = 130
#: What the argument parser raises; typer names only its subclass.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


class Format(StrEnum):
    """Forms of a leaderboard."""

    TERMINAL = "terminal"
    MD = "md"
    PARQUET = "parquet"
    HTML = "html"


class Kind(StrEnum):
    """What ``engram list`` can list."""

    METHODS = "methods"
    DATASETS = "datasets"
    SEARCH_SPACES = "search-spaces"
    TRIALS = "trials"


@app.command(epilog="Example: engram plan quickstart")
def plan(
    space: Space,
    budget: Budget = None,
    results: Results = RESULTS,
    data: Data = DATA,
    cpus: Cpus = None,
    gpus: Gpus = None,
    every: Annotated[bool, typer.Option("--all", help="List every trial of a long plan.")] = False,
) -> None:
    """List the trials that a search space means, and what is done of them."""
    from orchestrator.plan import make_plan, without_garbage_collection
    from orchestrator.plan_view import print_plan, trial_states
    from orchestrator.results import ResultsStore

    with without_garbage_collection():
        made = make_plan(space, data, budget, _resources(cpus, gpus))
        print_plan(made, trial_states(made, ResultsStore(results)), console(), every)


@app.command(epilog="Example: engram run quickstart --results results")
def run(
    space: Space,
    budget: Budget = None,
    results: Results = RESULTS,
    data: Data = DATA,
    cpus: Cpus = None,
    gpus: Gpus = None,
    mlflow: Annotated[bool, typer.Option(help="Record in MLflow too.")] = True,
    retry: Annotated[
        bool, typer.Option("--retry", help="Run trials again whose method raised an error.")
    ] = False,
    keep_model: Annotated[
        bool, typer.Option("--keep-model", help="Keep the trained methods, for engram.load().")
    ] = False,
) -> None:
    """Run what is pending of a search space, record it and print its leaderboard.

    The same command again runs nothing twice; after an interruption it goes on.
    """
    from orchestrator import api

    out = console()
    sweep = api.run(
        space,
        budget=budget,
        results=results,
        data=data,
        mlflow=mlflow,
        retry=retry,
        keep_model=keep_model,
        resources=_resources(cpus, gpus),
        console=out,
    )
    from orchestrator.listing import print_sweep  # a mistake is told before it is needed
    from orchestrator.storage import Storage

    print_sweep(sweep, Storage(results), mlflow, out)
    if sweep.outcome.pending or "error" in sweep.outcome.outcomes.values():
        raise typer.Exit(1)


@app.command(epilog="Example: engram leaderboard quickstart --format md --output table.md")
def leaderboard(
    space: Annotated[
        str | None, typer.Argument(help="Name or file of one sweep; all of them by default.")
    ] = None,
    budget: Budget = None,
    results: Results = RESULTS,
    form: Annotated[Format, typer.Option("--format", help="Form of the table.")] = Format.TERMINAL,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write instead of printing.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Take trials too that no sweep plans any more.")
    ] = False,
) -> None:
    """Pool the trials of a results folder over their seeds, with intervals, and rank them."""
    from orchestrator import api
    from orchestrator.listing import store_report, write_leaderboard, write_report
    from orchestrator.results import ResultsStore
    from orchestrator.search_space import sweep_name

    store = ResultsStore(results)
    if store.is_absent():
        raise UserError(
            f"{store.storage.shown}: holds no results; run a search space first: engram run SPACE"
        )
    if budget is not None and not space:
        raise UserError("--budget needs its search space: engram leaderboard SPACE --budget NAME")
    name = sweep_name(space, budget) if space else None
    if form is Format.HTML:
        page = api.read_report(results, name, everything=every)
        if output is not None:
            write_report(page, output, console())
        else:
            file = "/".join(filter(None, ("leaderboards", name, "leaderboard.html")))
            store_report(page, store.storage, file, console())
        return
    table = api.read_leaderboard(results, name, everything=every)
    write_leaderboard(table, form.value, output, console())


app.registered_commands += inspecting.registered_commands


@app.command("list", epilog="Example: engram list methods")
def list_(
    kind: Annotated[
        Kind | None, typer.Argument(help="What to list; all but trials by default.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Argument(help="A method, to read its options; a search space, to read all of it."),
    ] = None,
    results: Results = RESULTS,
    data: Data = DATA,
) -> None:
    """List methods, datasets, search spaces, or recorded trials."""
    from orchestrator.listing import print_lists

    if name is not None:
        _list_one(kind, name, results, data)
        return
    kinds = [kind.value] if kind else [Kind.METHODS.value, "datasets", "search-spaces"]
    print_lists(kinds, results, data, console())


def _list_one(kind: Kind | None, name: str, results: str, data: Path) -> None:
    match kind:
        case Kind.METHODS:
            from orchestrator.method_view import print_method

            print_method(name, console())
        case Kind.SEARCH_SPACES:
            from orchestrator.space.view import print_space

            print_space(name, data, results, console())
        case _:
            raise UserError(f"{name}: only methods and search spaces are told of one by one")


@data_app.command("list", epilog="Example: engram data list")
def data_list(data: Data = DATA) -> None:
    """List sources of data, and whether each is ready."""
    from orchestrator.listing import print_sources

    print_sources(data, console())


@data_app.command(epilog="Example: engram data prepare mnist --data data")
def prepare(
    source: Annotated[str, typer.Argument(help="A source of data, such as mnist.")],
    data: Data = DATA,
    local: Annotated[
        Path | None, typer.Option("--from", help="Folder that holds the raw files already.")
    ] = None,
) -> None:
    """Download a source if it is missing, and convert it for all trials."""
    from orchestrator.data import prepare as prepare_source

    dataset = prepare_source(source, data, local)
    console().print(_ready(source, dataset), highlight=False)


@data_app.command("add", epilog="Example: engram data add flowers --from flowers --size 64 64")
def data_add(
    name: Annotated[str, typer.Argument(help="A name for your data; small letters and digits.")],
    local: Annotated[
        Path,
        typer.Option(
            "--from",
            help="An .npz file, or a folder of Parquet files or of images: see docs/data.md.",
        ),
    ],
    size: Annotated[
        tuple[int, int] | None,
        typer.Option(help="Height and width to resize images to.", metavar="HEIGHT WIDTH"),
    ] = None,
    data: Data = DATA,
) -> None:
    """Convert images of your own for all trials: split-NAME and the like are then datasets."""
    from orchestrator.data import add_source, open_source

    add_source(name, data, local, size)
    dataset = open_source(name, data)
    names = f"split-{name}, permuted-{name} or rotated-{name}"
    out = console()
    out.print(_ready(name, dataset), highlight=False)
    out.print(f"Use it in a search space: dataset: {names}", highlight=False, soft_wrap=True)


@app.command(epilog="Example: engram sync quickstart")
def sync(
    space: Annotated[
        str | None, typer.Argument(help="Name or file of one sweep; all of them by default.")
    ] = None,
    budget: Budget = None,
    results: Results = RESULTS,
) -> None:
    """Write to MLflow what it lacks of the results, where it was down or is a new one."""
    from orchestrator.results import ResultsStore
    from orchestrator.search_space import sweep_name
    from orchestrator.tracking.sync import print_sync

    if budget is not None and not space:
        raise UserError("--budget needs its search space: engram sync SPACE --budget NAME")
    print_sync(ResultsStore(results), sweep_name(space, budget) if space else None, console())


@app.command(epilog="Example: engram ui quickstart --port 5000")
def ui(
    space: Annotated[
        str | None,
        typer.Argument(help="Name or file of a sweep to link to; by default the last."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65535)] = 5000,
) -> None:
    """Start MLflow's pages on this machine, and print the link to a sweep's comparison."""
    from orchestrator.ui import serve

    serve(space, port, console())


def _resources(cpus: int | None, gpus: float | None) -> dict[str, float]:
    """Return what was given of the resources of a trial."""
    return {key: n for key, n in (("cpus", cpus), ("gpus", gpus)) if n is not None}


def _ready(name: str, dataset: Any) -> str:
    return (
        f"{name} is ready: {len(dataset.train_x):,} training and {len(dataset.test_x):,} test "
        f"images of {' × '.join(map(str, dataset.shape))}, {dataset.classes} classes"
    )


def main() -> None:
    """Run the command line: a mistake of the user is one line and exit status 2."""
    # What PyTorch and others make of themselves is no garbage: to look through it, while they are
    # imported and once more when all is done, is a fifth of the time of a short command.
    gc.set_threshold(20_000)
    atexit.register(gc.freeze)
    try:
        status = app(standalone_mode=False)
        if status == _INTERRUPTED:  # the argument parser swallows the exception
            raise KeyboardInterrupt
    except UserError as error:
        _complain(*(f"engram: {line}" for line in str(error).splitlines()))
        sys.exit(2)
    except _UsageError as error:
        _complain(_usage(error))
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        _complain("engram: interrupted; what has finished is kept, and the same command goes on")
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:  # `engram plan … | head`
        sys.stderr.close()
        sys.exit(141)
    sys.exit(status if isinstance(status, int) else 0)


def _complain(*lines: str) -> None:
    print(*map(printable, lines), sep="\n", file=sys.stderr)  # noqa: T201 - this is the command line


def _usage(error: Any) -> str:
    """Put a usage error into one line, with a suggestion where a name is near.

    A group of commands given without any of them answers with its help, which stays as it is.
    """
    if error.format_message().startswith("Usage:"):
        return str(error.format_message())
    message = " ".join(error.format_message().split()).rstrip(".").replace("Value error, ", "")
    if message.startswith(("No such command", "No such option")):
        wrong = message.split()[3].strip("'.")
        near = difflib.get_close_matches(wrong, _names(error.ctx), n=1)
        what = "option" if wrong.startswith("-") else "command"
        message = f"no such {what}: {wrong}" + (f"; did you mean {near[0]}?" if near else "")
    where = error.ctx.command_path if error.ctx else "engram"
    return f'engram: {message[0].lower()}{message[1:]}; "{where} --help" tells more'


def _names(context: Any) -> list[str]:
    """Options and commands that could have been meant."""
    if context is None:
        return []
    parameters = context.command.params
    options = [name for p in parameters for name in (*p.opts, *p.secondary_opts)]
    return [*options, *getattr(context.command, "commands", {})]


if __name__ == "__main__":
    main()
