"""Tells why a trial is new: what differs between it and the nearest one that has finished."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from orchestrator.checkpoints import Checkpoints
from orchestrator.data.added import discover
from orchestrator.errors import UserError
from orchestrator.ingredients import nearest_finished, recorded_at
from orchestrator.plan import Plan, make_plan
from orchestrator.results import Record, ResultsStore
from orchestrator.search_space import parse_space
from orchestrator.space.yaml_file import YamlFile
from orchestrator.terminal import say
from orchestrator.trial import Trial
from orchestrator.trial_view import trial_name

#: Trials that a message names.
_NAMED = 3


@dataclass(frozen=True)
class Planned:
    """A trial, and the plan that it is part of."""

    trial: Trial
    plan: Plan


def print_why(
    wanted: str,
    store: ResultsStore,
    data_dir: Path,
    console: Console,
    space: str | None = None,
    budget: str | None = None,
) -> None:
    """Say whether a planned trial has been run, and if not, what of it is new.

    Parameters
    ----------
    wanted : str
        The first letters of its id, or its name or a part of it.
    store : ResultsStore
    data_dir : Path
    console : Console
    space, budget : str, optional
        The search space that plans it; by default those of the sweeps that were run into this
        folder, as they were then.

    Raises
    ------
    UserError
        If no planned trial fits, or several do; or if a search space has mistakes.
    """
    plans, left_out = (
        _known_plans(store, data_dir)
        if space is None
        else ([make_plan(space, data_dir, budget)], {})
    )
    found = _find(wanted, plans)
    if found is None:
        record = _recorded(wanted, store)
        if record is None:
            raise UserError(_nothing(wanted, store, space, plans, left_out))
        say(console, f"{trial_name(record)} ({record['id']}) {_ended(record)}")
        say(console, "No search space plans it now." if plans else "")
        return
    trial = found.trial
    record = next(iter(store.records([trial.id])), None)
    title = f"{trial.config.name} ({trial.id})"
    if record is not None:
        say(console, f"{title} {_ended(record)}")
        return
    say(console, f"{title} has not been run{_begun(trial, store)}.")
    nearest = nearest_finished(trial, found.plan.environment, store)
    if nearest is None:
        say(
            console, f"No trial in {store.storage.shown} has finished that it could be compared to."
        )
        return
    record = nearest.record
    say(
        console,
        f"Nearest finished trial: {trial_name(record)} ({record['id']}), recorded {_when(record)}. "
        "They differ in",
    )
    width = max((len(difference.name) for difference in nearest.differences), default=0)
    for difference in nearest.differences:
        say(console, f"  {difference.name:<{width}}   {difference.text}")
    if not nearest.differences:
        say(console, "  how the configuration is written: options that are not set, or were not")


def _ended(record: Record) -> str:
    """Say how a recorded trial ended, when and where."""
    cause = f" ({record['cause']})" if record["cause"] else ""
    match record["outcome"]:
        case "error":
            return (
                f"has been run and raised an error{cause}, {_when(record)}; "
                "engram run with --retry runs it again"
            )
        case "diverged":
            return f"has been run: it diverged{cause}, recorded {_when(record)}"
    return f"has been run: it {record['outcome']}{cause}, recorded {_when(record)}"


def _when(record: Record) -> str:
    host = f" on {record['host']}" if record["host"] else ""
    return f"{recorded_at(record):%Y-%m-%d %H:%M}{host}"


def _begun(trial: Trial, store: ResultsStore) -> str:
    learned = max(Checkpoints(store.storage).after_tasks(trial.id), default=0)
    tasks = trial.config.stream.tasks
    return f" to its end: it goes on after task {learned} of {tasks}" if learned else ""


def _known_plans(store: ResultsStore, data_dir: Path) -> tuple[list[Plan], dict[str, str]]:
    """Plan anew what the sweeps of a results folder were; also those that cannot be, and why."""
    plans, left_out = [], {}
    for name in store.sweep_names():
        about = store.read_about(name)
        if "search_space" not in about:
            left_out[name] = "its search space was not noted"
            continue
        try:
            plans.append(_plan_again(name, about["search_space"], about["command"], data_dir))
        except UserError as error:
            left_out[name] = str(error).splitlines()[0]
    return plans, left_out


def _plan_again(name: str, text: str, command: str, data_dir: Path) -> Plan:
    discover(data_dir)
    words = shlex.split(command)
    budget = words[words.index("--budget") + 1] if "--budget" in words else None
    space, problems = parse_space(YamlFile.parse(text, f"sweep {name}"), name, budget)
    problems.raise_if_any()
    return make_plan(space, data_dir)


def _find(wanted: str, plans: Iterable[Plan]) -> Planned | None:
    """Return the one planned trial that is meant; None if there is none.

    Raises
    ------
    UserError
        If several fit.
    """
    known = {trial.id: Planned(trial, plan) for plan in plans for trial in plan.trials}
    by_id = [planned for trial, planned in known.items() if trial.startswith(wanted)]
    found = by_id or list(_named(wanted, known.values()))
    if len(found) > 1:
        some = ", ".join(f"{p.trial.id[:8]} ({p.trial.config.name})" for p in found[:_NAMED])
        raise UserError(
            f"{wanted!r} fits {len(found):,} planned trials, among them {some}; give one's id"
        )
    return found[0] if found else None


def _named(wanted: str, planned: Iterable[Planned]) -> Iterator[Planned]:
    names = [(one.trial.config.name, one) for one in planned]
    exact = [one for name, one in names if name == wanted]
    yield from exact or (one for name, one in names if wanted in name)


def _recorded(wanted: str, store: ResultsStore) -> Record | None:
    """Return the one record whose id begins so; a trial that was run need not be planned still."""
    ids = [trial for trial in store.ids() if trial.startswith(wanted)]
    return store.records(ids)[0] if len(ids) == 1 else None


def _nothing(
    wanted: str,
    store: ResultsStore,
    space: str | None,
    plans: list[Plan],
    left_out: dict[str, str],
) -> str:
    """Say that no trial fits, and what to do."""
    if space is not None:
        return f"{space}: plans no trial {wanted!r}; list them: engram plan {shlex.quote(space)}"
    where = store.storage.shown
    if not plans and not left_out:
        return f"{where}: knows no sweep; give the search space too: engram why {wanted} SPACE"
    known = len(plans) + len(left_out)
    message = (
        f"{where}: its sweep plans no trial {wanted!r}"
        if known == 1
        else f"{where}: none of its {known} sweeps plans a trial {wanted!r}"
    )
    if left_out:
        name, why = next(iter(left_out.items()))
        others = f", nor can {len(left_out) - 1} more" if len(left_out) > 1 else ""
        message += f" (sweep {name} cannot be planned: {why}{others})"
    return f"{message}; give its search space: engram why {shlex.quote(wanted)} SPACE"
