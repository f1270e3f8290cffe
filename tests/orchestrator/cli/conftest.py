"""The command line in this process, in an empty folder, and the results of a tiny sweep."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator import cli
from orchestrator.plan import make_plan
from orchestrator.results import ResultsStore
from orchestrator.storage import Storage
from orchestrator.trial import identifying_columns
from orchestrator.trial_run import TrialRun

SPACE = """\
name: tiny
dataset: split-digits
scenario: [class-incremental, task-incremental]
tasks: 2
network: {name: mlp, widths: [8]}
budget: {iterations: 3, batch_size: 8}
buffer_size: [10, 20]
method: [naive, replay]
seed: 0..1
"""


class Answer(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with nothing in it, and nothing of the user's own around."""
    for name in list(os.environ):
        if name.startswith(("ENGRAM_", "MLFLOW_")):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    return folder


@pytest.fixture
def answer(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """Runs the command line in this process: ``answer("plan", "quickstart")``."""

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["engram", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, out, err)

    return run


@pytest.fixture(scope="package")
def tiny() -> str:
    """A search space of twelve trials."""
    return SPACE


@pytest.fixture(scope="package")
def done(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with all trials of the search space but the last two."""
    root = tmp_path_factory.mktemp("done")
    space = root / "tiny.yaml"
    space.write_text(tiny)
    plan, store = make_plan(space, root / "data"), ResultsStore(root / "results")
    store.write_sweep("tiny", identifying_columns(plan.trials, plan.environment))
    for trial in plan.trials[:-2]:
        run = TrialRun(
            trial,
            plan.environment,
            root / "data",
            {"space": "tiny", "commit": ""},
            results=Storage(root / "results"),
        )
        while (report := run.step()).record is None:
            pass
        store.write(report.record)
    return root


@pytest.fixture(scope="package")
def ids(done: Path) -> list[str]:
    """Ids of the trials in that folder, in order."""
    return sorted(ResultsStore(done / "results").ids())
