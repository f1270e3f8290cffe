"""A plan in the terminal: its trials, what is done of each, and what collapsed or was skipped."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from orchestrator.checkpoints import Checkpoints
from orchestrator.plan import Plan
from orchestrator.results import ResultsStore
from orchestrator.setups import told_apart
from orchestrator.terminal import say
from orchestrator.trial import Trial, identifying_columns

#: Trials that a plan lists unless all are asked for.
_MOST_LISTED = 200
#: Narrower than this, ids are cut where lines would not fit.
_NARROW, _SHORT_ID = 100, 8
_COLUMNS = ("trial", "dataset", "scenario", "method", "seed", "state")
_COMMON, _METHOD = (1, 2), 3
_GAP = 2


@dataclass(frozen=True)
class State:
    """How far a trial is.

    Attributes
    ----------
    kind : str
        ``done``, ``failed``, ``partly done`` or ``pending``.
    text : str
        The same with what more is known: ``done (diverged)``, ``task 2 of 5``.
    """

    kind: str
    text: str


_PENDING = State("pending", "pending")
#: By the outcome in a record.
_ENDED = {
    "finished": State("done", "done"),
    "diverged": State("done", "done (diverged)"),
    "error": State("failed", "failed"),
}


def trial_states(plan: Plan, store: ResultsStore) -> dict[str, State]:
    """Return how far each trial of a plan is, by id.

    Raises
    ------
    UserError
        If a record cannot be read.
    """
    outcomes = store.outcomes([trial.id for trial in plan.trials])
    checkpoints = Checkpoints(store.storage)
    under_way = set(checkpoints.under_way()).difference(outcomes)
    states = {}
    for trial in plan.trials:
        state = _ENDED.get(outcomes.get(trial.id, ""), _PENDING)
        if trial.id in under_way:
            learned = max(checkpoints.after_tasks(trial.id), default=0)
            if learned:
                text = f"task {learned} of {trial.config.stream.tasks}"
                state = State("partly done", text)
        states[trial.id] = state
    return states


def print_plan(plan: Plan, states: Mapping[str, State], console: Console, every: bool) -> None:
    """Print the trials of a plan, what is done of them, and what collapsed or is skipped.

    Parameters
    ----------
    plan : Plan
    states : mapping
        From :func:`trial_states`.
    console : Console
    every : bool
        List every trial of a long plan.
    """
    shown = plan.trials if every else plan.trials[:_MOST_LISTED]
    rows = [
        (*cells, states[trial.id].text)
        for trial, cells in zip(shown, _cells(plan, len(shown)), strict=True)
    ]
    console.print(_table(rows, console))
    if len(shown) < len(plan.trials):
        say(console, f"… and {len(plan.trials) - len(shown):,} more; --all lists every one")
    say(console, f"\n{plan.space.name}: {len(plan.trials):,} unique trials: {_totals(states)}")
    say(console, f"  grid of {plan.points:,} points")
    again = plan.points - len(plan.trials)
    if again:
        say(console, f"  {again:,} of them are trials listed already:")
    for line in plan.collapsed:
        say(console, f"    {line}")
    if plan.skipped:
        points = "1 point is" if plan.skipped_points == 1 else f"{plan.skipped_points:,} points are"
        say(console, f"  {points} skipped:")
    for line in plan.skipped:
        say(console, f"    {line}")
    if plan.unused:
        say(console, "  left out, because beside the other options they have no meaning:")
    for line in plan.unused:
        say(console, f"    {line}")


def _totals(states: Mapping[str, State]) -> str:
    """Count the trials in each state: ``40 done (2 diverged), 1 failed, 13 pending``."""
    kinds = Counter(state.kind for state in states.values())
    diverged = sum(state is _ENDED["diverged"] for state in states.values())
    more = {"done": f" ({diverged:,} diverged)" if diverged else ""}
    order = ("done", "failed", "partly done", "pending")
    counted = [f"{kinds[kind]:,} {kind}{more.get(kind, '')}" for kind in order if kinds[kind]]
    return ", ".join(counted) or "none"


def _cells(plan: Plan, number: int) -> list[tuple[str, ...]]:
    """Return the cells of the first trials, but for their states; told apart from all others."""
    columns = identifying_columns(plan.trials, plan.environment)
    for row, trial in zip(columns, plan.trials, strict=True):
        row["stream_seed"] = trial.config.stream.stream_seed
    names = told_apart(columns)
    return [_of_trial(plan.trials[i], names[i]) for i in range(number)]


def _of_trial(trial: Trial, apart: str) -> tuple[str, ...]:
    config = trial.config
    label = " ".join(filter(None, (config.label, apart)))
    return trial.id, config.stream.dataset, str(config.stream.scenario), label, str(config.seed)


def _table(rows: Sequence[tuple[str, ...]], console: Console) -> Table:
    """Lay the trials out so that only the labels of methods need break, if anything must."""
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    too_wide = sum(widths) + _GAP * (len(widths) - 1) > console.width
    # What all have in common stands above the table then, and ids are cut.
    common = [i for i in _COMMON if too_wide and rows and len({row[i] for row in rows}) == 1]
    cut = _SHORT_ID if too_wide and console.width < _NARROW else None
    title = ", ".join(rows[0][i] for i in common) or None
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    shown = [i for i in range(len(_COLUMNS)) if i not in common]
    for i in shown:
        table.add_column(_COLUMNS[i], overflow="fold", no_wrap=i != _METHOD)
    others = sum(_SHORT_ID if cut and i == 0 else widths[i] for i in shown if i != _METHOD)
    room = console.width - others - _GAP * (len(shown) - 1)
    for trial, dataset, scenario, method, *more in rows:
        cells = (trial[:cut], dataset, scenario, _broken(method, room), *more)
        table.add_row(*(Text(cells[i]) for i in shown))  # square brackets in a label are no markup
    return table


def _broken(label: str, width: int) -> str:
    """Break a label that is too long behind commas and spaces, where it can be."""
    lines = [""]
    for part in re.split(r"(?<=[, ])", label):
        if lines[-1] and len(lines[-1] + part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)
