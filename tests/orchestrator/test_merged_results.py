from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from orchestrator import read_leaderboard
from orchestrator.plan import make_plan
from orchestrator.results import DETERMINISTIC, ResultsStore
from orchestrator.trial import identifying_columns
from orchestrator.trial_code import write_code
from orchestrator.trial_run import TrialRun

Write = Callable[..., Path]

SPACE = """\
name: {name}
dataset: split-digits
tasks: 2
scenario: [class-incremental, task-incremental]
network: {{name: mlp, widths: [10]}}
budget: {{iterations: 2}}
buffer_size: {sizes}
method: {methods}
seed: {seeds}
"""


@pytest.fixture
def swept(tmp_path: Path, write: Write) -> Callable[..., Path]:
    """Runs every trial of a search space into a folder of its own, as somebody's machine does."""

    def sweep(folder: str, name: str, methods: str, seeds: str, sizes: str = "[10, 20]") -> Path:
        text = SPACE.format(name=name, methods=methods, seeds=seeds, sizes=sizes)
        plan = make_plan(write(text), tmp_path / "data")
        store = ResultsStore(tmp_path / folder)
        store.write_sweep(name, identifying_columns(plan.trials, plan.environment))
        write_code(store.storage, plan)
        for trial in plan.trials:
            run = TrialRun(
                trial,
                plan.environment,
                tmp_path / "data",
                {"space": name, "commit": ""},
                results=store.storage,
            )
            while (report := run.step()).record is None:
                pass
            store.write(report.record)
        return tmp_path / folder

    return sweep


def measured(folder: Path, *, everything: bool = False) -> pd.DataFrame:
    """A leaderboard without what depends on the machine's speed."""
    table = read_leaderboard(folder, everything=everything)
    return table[[name for name in table if "second" not in name]]


def test_overlapping_folders_merge_into_one(swept: Callable[..., Path], tmp_path: Path) -> None:
    ours = swept("ours", "ours", "[naive, replay]", "0..2")
    theirs = swept("theirs", "theirs", "[replay, naive]", "1..3")
    whole = swept("whole", "whole", "[naive, replay]", "0..3")
    both = ResultsStore(ours).ids() & ResultsStore(theirs).ids()
    assert len(both) == 2 * 3 * 2, "the seeds 1 and 2 were run by both"

    merged = tmp_path / "merged"
    for folder in (ours, theirs):
        shutil.copytree(folder, merged, dirs_exist_ok=True)

    one, other = ResultsStore(whole), ResultsStore(merged)
    assert other.ids() == one.ids()
    assert str(other.read().select(DETERMINISTIC).to_pylist()) == str(
        one.read().select(DETERMINISTIC).to_pylist()
    )
    assert other.storage.names("code") == one.storage.names("code")
    table = measured(merged)
    assert set(table["n"]) == {4}
    pd.testing.assert_frame_equal(table, measured(whole))


def test_sweeps_of_one_name_count_nothing_twice(swept: Callable[..., Path], tmp_path: Path) -> None:
    ours = swept("ours", "digits", "replay", "0..1", "10")
    theirs = swept("theirs", "digits", "replay", "1..2", "10")
    merged = tmp_path / "merged"
    for folder in (ours, theirs):
        shutil.copytree(folder, merged, dirs_exist_ok=True)
    # The plan copied last is the sweep's; all records are still there, each once.
    assert list(measured(merged)["n"]) == [2, 2]
    assert list(measured(merged, everything=True)["n"]) == [3, 3]
