from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from methods.core.registry import method_class
from orchestrator.errors import UserError
from orchestrator.identity import Environment, trial_id
from orchestrator.ingredients import nearest_finished
from orchestrator.plan import Plan
from orchestrator.results import SCHEMA, ResultsStore
from orchestrator.trial import Trial
from orchestrator.trial_code import code_by_module
from orchestrator.why import print_why

MakePlan = Callable[[str], Plan]
MakeRecord = Callable[..., dict[str, Any]]

SPACE = """\
name: digits
dataset: split-digits
network: {name: mlp, widths: [20]}
budget: {iterations: 500}
method: [naive, replay: {buffer_size: 500}]
seed: 0..1
"""
OTHER_CODE = "0123456789abcdef"


class Told:
    """A results folder, and what is said of trials in it."""

    def __init__(self, folder: Path, record_of: MakeRecord, plan: MakePlan) -> None:
        self.store = ResultsStore(folder / "results")
        self.folder, self.record_of, self.plan = folder, record_of, plan

    def record(self, trial: Trial, environment: Environment, **changed: Any) -> str:
        """Store a record; its identity follows from its ingredients, as it does of a real one."""
        columns = self.record_of(trial, environment, **changed)
        known = Environment(*(columns[k] for k in ("torch", "device", "precision", "threads")))
        config = json.loads(columns["config"])
        columns["id"] = trial_id(config, columns["data"], columns["code"], known)
        self.store.write(columns)
        return str(columns["id"])

    def record_all(self, text: str, **changed: Any) -> Plan:
        """Record all trials of a search space."""
        made = self.plan(text)
        for trial in made.trials:
            self.record(trial, made.environment, **changed)
        return made

    def sweep(self, text: str, name: str = "digits", command: str = "engram run x.yaml") -> None:
        """Note a sweep as engram run does."""
        self.store.write_sweep(name, [])
        self.store.write_about(name, {"search_space": text, "command": command})

    def why(self, wanted: str, space: str | None = None, budget: str | None = None) -> list[str]:
        told = io.StringIO()
        console = Console(width=100, file=told)
        file = None
        if space is not None:
            file = str(self.folder / "wanted.yaml")
            Path(file).write_text(space)
        print_why(wanted, self.store, self.folder / "data", console, file, budget)
        return told.getvalue().splitlines()

    def differences(self, wanted: str, space: str) -> dict[str, str]:
        """What differs, by ingredient."""
        _, nearest, *lines = self.why(wanted, space)
        assert nearest.endswith("They differ in")
        return dict(line.strip().split(None, 1) for line in lines)


@pytest.fixture
def told(tmp_path: Path, record_of: MakeRecord, plan: MakePlan) -> Told:
    return Told(tmp_path, record_of, plan)


REPLAY = "split-digits/class-incremental/replay[buffer_size=500]/seed=0"


def test_a_changed_option_is_named_with_both_values(told: Told) -> None:
    before = told.record_all(SPACE)
    changed = SPACE.replace("500}\nmethod", "600}\nmethod")
    after = told.plan(changed)
    first, second, *lines = told.why(REPLAY, changed)
    assert first == f"{REPLAY} ({after.trials[2].id}) has not been run."
    ended = time.strftime("%Y-%m-%d %H:%M", time.localtime(1795183500))
    assert second == (
        f"Nearest finished trial: {REPLAY} ({before.trials[2].id}), recorded {ended} on bench. "
        "They differ in"
    )
    assert lines == ["  budget.iterations   500 → 600"]


@pytest.mark.parametrize(
    ("old", "new", "wanted", "expected"),
    [
        ("widths: [20]", "widths: [20, 10]", "naive/seed=1", {"network.widths": "[20] → [20,10]"}),
        (
            "seed: 0",
            "optimizer.lr: 0.01\nseed: 0",
            "naive/seed=1",
            {"optimizer.lr": "0.001 → 0.01"},
        ),
        ("seed: 0", "resize: 4\nseed: 0", "naive/seed=1", {"resize": "– → 4"}),
        ("seed: 0", "tasks: 2\nseed: 0", "naive/seed=1", {"tasks": "5 → 2"}),
        ("seed: 0", "resources: {cpus: 2}\nseed: 0", "naive/seed=1", {"threads": "1 → 2"}),
        (
            "seed: 0",
            "scenario: task-incremental\nseed: 0",
            "naive/seed=1",
            {"scenario": "class-incremental → task-incremental"},
        ),
        (
            "buffer_size: 500",
            "freeze_depth: 1, depth: 0, buffer_size: 7",
            "replay[buffer_size=7,freeze_depth=1]/seed=1",
            {"buffer_size": "500 → 7", "freeze_depth": "0 → 1"},
        ),
    ],
)
def test_every_choice_is_an_ingredient(
    old: str, new: str, wanted: str, expected: dict[str, str], told: Told
) -> None:
    told.record_all(SPACE)
    assert told.differences(wanted, SPACE.replace(old, new, 1)) == expected


@pytest.mark.parametrize(
    ("column", "before", "now"),
    [("torch", "1.0", None), ("device", "cuda", "cpu"), ("precision", "bfloat16", "float32")],
)
def test_the_environment_is_an_ingredient(
    column: str, before: str, now: str | None, told: Told
) -> None:
    made = told.record_all(SPACE, **{column: before})
    now = now or made.environment.torch
    assert told.differences("naive/seed=0", SPACE) == {column: f"{before} → {now}"}


def test_other_data_under_the_same_name_are_told(told: Told) -> None:
    made = told.record_all(SPACE, data="f" * 64)
    found = told.differences("naive/seed=0", SPACE)
    change = f"ffffffff → {made.trials[0].data[:8]}"
    assert found == {"data": f"the images of digits are others ({change})"}


def test_another_dataset_is_one_difference(told: Told) -> None:
    told.record_all(SPACE)
    found = told.differences(
        "naive/seed=0",
        SPACE.replace("split-digits", "rotated-digits").replace("seed", "tasks: 5\nseed"),
    )
    assert "data" not in found
    assert found["dataset"] == "split-digits → rotated-digits"


# Code ---------------------------------------------------------------------------------------------


def note_code(told: Told, code: str, modules: dict[str, str]) -> None:
    told.store.storage.write(f"code/{code}.json", json.dumps(modules).encode())


def test_changed_modules_are_named(told: Told) -> None:
    modules = code_by_module(method_class("replay"))
    old = modules | {"methods.rehearsal": "x", "methods.memories.buffer": "y", "methods.past": "z"}
    del old["methods.core.rng"]
    told.record_all(SPACE, code=OTHER_CODE)
    note_code(told, OTHER_CODE, old)
    assert told.differences("replay[buffer_size=500]/seed=0", SPACE) == {
        "code": "methods.memories.buffer, methods.rehearsal, methods.core.rng (new), "
        "methods.past (gone)"
    }


def test_code_whose_modules_nobody_noted_is_told_by_its_hash(told: Told) -> None:
    made = told.record_all(SPACE, code=OTHER_CODE)
    (text,) = told.differences("naive/seed=0", SPACE).values()
    assert text.startswith(f"01234567 → {made.trials[0].code[:8]} (its modules were not noted")


def test_that_another_method_has_other_code_is_no_difference(told: Told) -> None:
    told.record_all(SPACE.replace("[naive, replay: {buffer_size: 500}]", "joint"))
    made = told.plan(SPACE)
    found = told.differences("naive/seed=0", SPACE)
    assert found == {"method": "joint → naive"}

    told.store.storage.remove_folder("trials")
    shared = code_by_module(method_class("joint")) | {"methods.core.training": "old"}
    told.record(
        told.plan(SPACE.replace("[naive, replay: {buffer_size: 500}]", "joint")).trials[0],
        made.environment,
        code=OTHER_CODE,
    )
    note_code(told, OTHER_CODE, shared)
    found = told.differences("naive/seed=0", SPACE)
    assert found["method"] == "joint → naive"
    assert "methods.core.training" in found["code"]


# The nearest --------------------------------------------------------------------------------------


def test_the_nearest_has_the_fewest_differences(told: Told) -> None:
    for iterations, rate in ((100, 0.01), (200, 0.001), (300, 0.02)):
        told.record_all(
            SPACE.replace("500}\nmethod", f"{iterations}}}\noptimizer.lr: {rate}\nmethod")
        )
    assert told.differences("naive/seed=0", SPACE) == {"budget.iterations": "200 → 500"}


def test_of_equally_near_ones_the_same_method_and_then_the_last_is_taken(told: Told) -> None:
    joint = told.plan(SPACE.replace("[naive, replay: {buffer_size: 500}]", "joint"))
    other = told.plan(SPACE.replace("0..1", "7..9"))
    late, later, latest = 1_900_000_000_000, 1_900_000_500_000, 1_900_000_900_000
    told.record(joint.trials[0], joint.environment, started=latest)
    told.record(other.trials[0], other.environment, started=late)
    told.record(other.trials[1], other.environment, started=later)
    told.record(other.trials[2], other.environment, started=late)
    assert told.differences("naive/seed=0", SPACE) == {"seed": "8 → 0"}


def test_only_what_finished_or_diverged_is_compared(told: Told) -> None:
    made = told.record_all(SPACE.replace("0..1", "5"), outcome="error")
    wanted = told.plan(SPACE)
    assert nearest_finished(wanted.trials[0], wanted.environment, told.store) is None
    assert told.why("naive/seed=0", SPACE) == [
        f"split-digits/class-incremental/naive/seed=0 ({wanted.trials[0].id}) has not been run.",
        f"No trial in {told.store.storage.shown} has finished that it could be compared to.",
    ]
    told.record(made.trials[0], made.environment, outcome="diverged")
    assert told.differences("naive/seed=0", SPACE) == {"seed": "5 → 0"}


def test_ten_thousand_records_are_compared_in_seconds(told: Told) -> None:
    wanted, before = told.plan(SPACE), told.plan(SPACE.replace("seed:", "optimizer.lr: 0.5\nseed:"))
    told.record(before.trials[0], before.environment)
    (row,) = told.store.read().to_pylist()
    config = json.loads(row["config"])
    changed = [{"config": json.dumps(config | {"seed": n})} for n in range(10_000)]
    many = pa.Table.from_pylist([row | each for each in changed], schema=SCHEMA)

    class InMemory(ResultsStore):
        def read(self, ids: Iterable[str] | None = None) -> pa.Table:
            return many if ids is None else super().read(ids)

    start = time.process_time()
    nearest = nearest_finished(
        wanted.trials[0], wanted.environment, InMemory(told.folder / "results")
    )
    assert time.process_time() - start < 3
    assert nearest is not None
    assert [difference.name for difference in nearest.differences] == ["optimizer.lr"]


# What has been run --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "cause", "expected"),
    [
        ("finished", "", "has been run: it finished, recorded "),
        ("diverged", "loss is nan", "has been run: it diverged (loss is nan), recorded "),
        ("error", "ValueError: no", "has been run and raised an error (ValueError: no), "),
    ],
)
def test_what_has_been_run_says_so(outcome: str, cause: str, expected: str, told: Told) -> None:
    made = told.record_all(SPACE, outcome=outcome, cause=cause)
    (line,) = told.why("naive/seed=1", SPACE)
    name = "split-digits/class-incremental/naive/seed=1"
    assert line.startswith(f"{name} ({made.trials[1].id}) {expected}20")
    assert " on bench" in line
    assert ("--retry" in line) == (outcome == "error")


def test_what_was_interrupted_says_where_it_goes_on(told: Told) -> None:
    made = told.plan(SPACE)
    told.store.storage.write(f"checkpoints/{made.trials[0].id}/task-03.pt", b"state")
    line = told.why("naive/seed=0", SPACE)[0]
    assert line.endswith("has not been run to its end: it goes on after task 3 of 5.")


# On the command line ------------------------------------------------------------------------------


def test_the_command_takes_a_search_space_and_a_budget(told: Told, engram: Any) -> None:
    space = told.folder / "own.yaml"
    space.write_text(SPACE + "budgets: {small: {seed: 7, budget: {iterations: 9}}}\n")
    made = told.record_all(SPACE)
    folders = ["--results", told.folder / "results", "--data", told.folder / "data"]
    given = engram("why", "naive/seed=7", space, "--budget", "small", *folders, cwd=told.folder)
    assert given.returncode == 0, given.stderr
    assert "naive/seed=7 (" in given.stdout
    assert given.stdout.endswith(
        "  budget.iterations   500 → 9\n  seed                1 → 7\n"
    ) or (given.stdout.endswith("  budget.iterations   500 → 9\n  seed                0 → 7\n"))
    assert (
        "has been run: it finished"
        in engram("why", made.trials[0].id[:12], space, *folders, cwd=told.folder).stdout
    )
    wrong = engram("why", "naive", "--budget", "small", *folders, cwd=told.folder)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("engram: --budget needs its search space: engram why TRIAL")


# Which trial --------------------------------------------------------------------------------------


def test_the_sweeps_of_the_folder_are_planned_anew(told: Told) -> None:
    small = SPACE + "budgets: {small: {seed: 0, budget: {iterations: 9}}}\n"
    told.sweep("# with budget small\n" + small, "digits-small", "engram run x.yaml --budget small")
    told.sweep(SPACE.replace("split-digits", "rotated-digits"), "rotated")
    told.record_all(SPACE)
    (only,) = (
        t
        for t in told.plan(SPACE.replace("500}\nm", "9}\nm")).trials
        if t.config.seed == 0 and t.config.method == "naive"
    )
    by_name, by_id = told.why("split-digits/class-incremental/naive"), told.why(only.id[:9])
    assert by_name == by_id
    assert (
        by_name[0] == f"split-digits/class-incremental/naive/seed=0 ({only.id}) has not been run."
    )
    assert by_name[2:] == ["  budget.iterations   500 → 9"]


def test_what_no_sweep_plans_any_more_is_told_by_its_record(told: Told) -> None:
    made = told.record_all(SPACE.replace("0..1", "7"))
    told.sweep(SPACE)
    line, more = told.why(made.trials[0].id[:10])
    assert line.startswith(f"split-digits/class-incremental/naive/seed=7 ({made.trials[0].id}) has")
    assert more == "No search space plans it now."


def test_a_part_of_several_names_is_not_enough(told: Told) -> None:
    with pytest.raises(
        UserError, match=r"'naive' fits 2 planned trials, among them .*give one's id"
    ):
        told.why("naive", SPACE)


@pytest.mark.parametrize(
    ("sweeps", "space", "message"),
    [
        ([], None, "results: knows no sweep; give the search space too: engram why ewc SPACE"),
        ([SPACE], None, "results: its sweep plans no trial 'ewc'; give its search space"),
        ([], SPACE, "wanted.yaml: plans no trial 'ewc'; list them: engram plan "),
        (
            [SPACE.replace("split-digits", "split-digitz")],
            None,
            r"\(sweep sweep0 cannot be planned: .*split-digitz.*\); give its search space",
        ),
    ],
)
def test_nothing_that_fits_is_one_line(
    sweeps: list[str], space: str | None, message: str, told: Told
) -> None:
    for i, text in enumerate(sweeps):
        told.sweep(text, f"sweep{i}")
    with pytest.raises(UserError, match=message) as raised:
        told.why("ewc", space)
    assert "\n" not in str(raised.value)


def test_sweeps_that_noted_no_search_space_are_named(told: Told) -> None:
    told.store.write_sweep("old", [])
    with pytest.raises(UserError, match="sweep old cannot be planned: its search space was not"):
        told.why("naive")


def test_each_part_of_the_environment_counts_once(told: Told) -> None:
    made = told.plan(SPACE)
    elsewhere = replace(made.environment, threads=16, device="cuda")
    told.record(made.trials[0], elsewhere)
    assert told.differences("naive/seed=0", SPACE) == {"device": "cuda → cpu", "threads": "16 → 1"}
