from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from methods.core.registry import method_class
from methods.core.task import Scenario
from orchestrator.plan import Plan
from orchestrator.plan_view import print_plan, trial_states
from orchestrator.results import ResultsStore
from orchestrator.storage import Storage

MakePlan = Callable[[str], Plan]
MakeRecord = Callable[..., dict[str, Any]]

SPACE = """\
name: states
dataset: split-digits
tasks: 5
network: {name: mlp, widths: [20]}
freeze_depth: [0, 1]
method: [naive, replay: {buffer_size: 1000}]
seed: 0..3
"""


@pytest.fixture
def store(tmp_path: Path) -> ResultsStore:
    return ResultsStore(tmp_path / "results")


def printed(plan: Plan, store: ResultsStore, width: int, every: bool = False) -> str:
    told = io.StringIO()
    print_plan(plan, trial_states(plan, store), Console(width=width, file=told), every)
    return told.getvalue()


def leave_checkpoints(store: ResultsStore, trial: str, *tasks: int) -> None:
    for learned in tasks:
        store.storage.write(f"checkpoints/{trial}/task-{learned:02d}.pt", b"state")


@pytest.fixture
def mixed(plan: MakePlan, store: ResultsStore, record_of: MakeRecord) -> Plan:
    """A plan of which something is in each state."""
    made = plan(SPACE)
    finished, diverged, failed, started, kept, begun, *_ = made.trials
    for trial, outcome in ((finished, "finished"), (diverged, "diverged"), (failed, "error")):
        store.write(record_of(trial, made.environment, outcome=outcome))
    store.write(record_of(kept, made.environment))
    leave_checkpoints(store, started.id, 1, 2)
    leave_checkpoints(store, kept.id, 1, 2, 3, 4, 5)
    leave_checkpoints(store, failed.id, 3)
    leave_checkpoints(store, "0123456789abcdef", 4)
    store.storage.write(f"checkpoints/{begun.id}/unfinished.tmp", b"sta")
    return made


def test_each_trial_has_its_state(mixed: Plan, store: ResultsStore) -> None:
    states = trial_states(mixed, store)
    assert list(states) == [trial.id for trial in mixed.trials]
    assert [state.text for state in states.values()] == [
        *("done", "done (diverged)", "failed", "task 2 of 5", "done"),
        *["pending"] * 7,
    ]


def test_a_store_that_is_not_there_has_done_nothing(plan: MakePlan, store: ResultsStore) -> None:
    made = plan(SPACE)
    assert {state.text for state in trial_states(made, store).values()} == {"pending"}
    assert "states: 12 unique trials: 12 pending\n" in printed(made, store, 120)


def test_states_are_counted(mixed: Plan, store: ResultsStore) -> None:
    told = printed(mixed, store, 120)
    assert (
        "states: 12 unique trials: 3 done (1 diverged), 1 failed, 1 partly done, 7 pending\n"
    ) in told
    listed = re.findall(r"(?m)^([0-9a-f]{16}) .*  \d {2,}(.*?) *$", told)
    states = trial_states(mixed, store)
    assert listed == [(trial.id, states[trial.id].text) for trial in mixed.trials]


def test_the_folder_of_checkpoints_is_listed_once(
    mixed: Plan, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    list_folder, listed = Storage._list, []

    def count(self: Storage, folder: str, *more: Any, **options: Any) -> list[str]:
        listed.append(folder)
        return list_folder(self, folder, *more, **options)

    monkeypatch.setattr(Storage, "_list", count)
    trial_states(mixed, store)
    begun = (f"checkpoints/{mixed.trials[i].id}" for i in (3, 5))
    assert sorted(listed) == sorted(["trials", "checkpoints", *begun])


def test_what_is_impossible_is_listed_and_counted(
    plan: MakePlan, store: ResultsStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = frozenset({Scenario.TASK_INCREMENTAL})
    monkeypatch.setattr(method_class("joint"), "scenarios", only)
    told = printed(
        plan(SPACE.replace("[naive,", "[naive, joint: {freeze_depth: [0, 1]},")), store, 80
    )
    assert "  8 points are skipped:\n    joint is not defined for class-incremental" in told
    assert re.search(r"(?m)^[0-9a-f]{8} .*joint", told) is None


# Layout -------------------------------------------------------------------------------------------


def lines_of(told: str) -> list[str]:
    return told.split("\n\n")[0].splitlines()


def test_a_wide_terminal_shows_every_column(mixed: Plan, store: ResultsStore) -> None:
    head, *rows = lines_of(printed(mixed, store, 120))
    assert head.split() == ["trial", "dataset", "scenario", "method", "seed", "state"]
    assert len(rows) == len(mixed.trials)
    assert max(map(len, rows)) <= 120


def test_a_narrow_terminal_says_once_what_all_have_in_common(
    mixed: Plan, store: ResultsStore
) -> None:
    common, head, *rows = lines_of(printed(mixed, store, 80))
    assert common.strip() == "split-digits, class-incremental"
    assert head.split() == ["trial", "method", "seed", "state"]
    assert len(rows) == len(mixed.trials), "each trial has one line"
    assert [row[:10] for row in rows] == [f"{trial.id[:8]}  " for trial in mixed.trials]
    assert max(len(row.rstrip()) for row in rows) <= 80


def test_labels_break_where_their_parts_end(plan: MakePlan, store: ResultsStore) -> None:
    made = plan(
        SPACE.replace("tasks: 5", "scenario: [class-incremental, domain-incremental]").replace(
            "1000}", "1000, memory.policy: reservoir}"
        )
    )
    told = printed(made, store, 80)
    assert re.search(
        r"(?m)^[0-9a-f]{8}  class-incremental +replay\[buffer_size=1000, +0 +pending *\n"
        r" {30}freeze_depth=1, *\n"
        r" {30}memory\.policy=reservoir\] *\n",
        told,
    ), told


def test_a_long_plan_is_shortened_unless_all_is_wanted(plan: MakePlan, store: ResultsStore) -> None:
    made = plan(SPACE.replace("0..3", "0..99").replace("1000}", "1..20}"))
    assert len(made.trials) == 4100
    short, whole = printed(made, store, 120), printed(made, store, 120, every=True)
    assert "… and 3,900 more; --all lists every one" in short
    assert "more; --all" not in whole
    rows = [re.findall(r"(?m)^[0-9a-f]{16} .*$", told) for told in (short, whole)]
    assert [len(found) for found in rows] == [200, 4100]
    assert [row.split() for row in rows[0]] == [row.split() for row in rows[1][:200]]
