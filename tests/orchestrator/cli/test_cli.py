"""What commands answer: plans, lists, data, and where they look."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from orchestrator.api import Sweep
from orchestrator.leaderboard import build_leaderboard
from orchestrator.listing import print_sweep
from orchestrator.plan import make_plan
from orchestrator.storage import Storage
from orchestrator.sweep import SweepOutcome

Write = Callable[..., Path]


def test_plan_tells_what_is_done_and_what_collapses(
    answer: Callable[..., Any], done: Path, ids: list[str]
) -> None:
    given = answer("plan", done / "tiny.yaml", "--results", done / "results")
    assert given.status == 0
    assert "tiny: 12 unique trials: 10 done, 2 pending" in given.out
    assert "grid of 16 points" in given.out
    assert "buffer_size [10, 20] collapses for naive" in given.out
    listed = re.findall(r"(?m)^([0-9a-f]{16}) .* (done|pending) *$", given.out)
    assert len(listed) == 12
    assert {trial for trial, state in listed if state == "done"} == set(ids)


def test_a_long_plan_is_cut_unless_all_is_asked_for(
    answer: Callable[..., Any], write: Write
) -> None:
    path = write("dataset: split-digits\nmethod: naive\nseed: 0..299\n")
    short, long = answer("plan", path), answer("plan", path, "--all")
    assert len(re.findall(r"(?m)^[0-9a-f]{16} ", short.out)) == 200
    assert "… and 100 more; --all lists every one" in short.out
    assert len(re.findall(r"(?m)^[0-9a-f]{16} ", long.out)) == 300


def test_a_damaged_record_is_one_line(
    answer: Callable[..., Any], done: Path, home: Path, ids: list[str], tiny: str
) -> None:
    shutil.copytree(done / "results", home / "results")
    path = home / "results" / "trials" / f"{ids[0]}.arrow"
    path.write_bytes(path.read_bytes()[:100])
    other = home / "other.yaml"
    other.write_text(tiny.replace("seed: 0..1", "seed: 8"))
    assert answer("plan", other).status == 0, "the plan is of other trials"
    for command in (["leaderboard"], ["list", "trials"], ["show", ids[0]]):
        given = answer(*command)
        assert (given.status, given.err.count("\n")) == (2, 1)
        assert f"{path.relative_to(home)}: is no readable record" in given.err


def test_a_sweep_that_did_not_finish_says_how_to_go_on(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = make_plan(done / "tiny.yaml", done / "data")
    first, second, third, *_ = (trial.id for trial in plan.trials)
    outcomes = {trial.id: "finished" for trial in plan.trials[:-2]}
    outcomes |= {first: "diverged", second: "error", third: "error"}
    ended = SweepOutcome(0, outcomes, {}, plan.trials[-2:])
    for results, more in ((Storage("results"), ""), (Storage("er er"), " --results 'er er'")):
        sweep = Sweep(plan, ended, build_leaderboard(pd.DataFrame()), ())
        print_sweep(sweep, results, mlflow=False, console=Console(width=200))
        out = capsys.readouterr().out
        assert "tiny: 10 of 12 trials done, 0 of them now" in out
        assert "Did not finish: 1 diverged, 2 error; see why: " in out
        assert f"show {min(second, third)}{more}\n" in out
        assert "--retry" in out
        assert "The same command goes on with what is missing." in out


def test_lists(answer: Callable[..., Any], done: Path, home: Path, ids: list[str]) -> None:
    everything = answer("list")
    assert everything.status == 0
    for word in ("naive", "replay", "joint", "digits", "mnist", "quickstart", "split-SOURCE"):
        assert word in everything.out
    methods = answer("list", "methods").out
    assert "buffer_size" in methods
    assert "quickstart" not in methods
    trials = answer("list", "trials", "--results", done / "results").out
    assert re.findall(r"(?m)^([0-9a-f]{16}) .*finished +0\.\d{4} *$", trials) == ids
    assert list(home.iterdir()) == []


def test_data_are_listed_and_prepared(answer: Callable[..., Any], home: Path) -> None:
    before = answer("data", "list", "--data", "d")
    assert before.status == 0
    assert "embedded" in before.out
    assert "missing: engram data prepare mnist --data d" in before.out
    assert list(home.iterdir()) == []
    given = answer("data", "prepare", "digits", "--data", "d")
    assert given.status == 0
    assert "digits is ready: 1,438 training and 359 test images of 1 × 8 × 8" in given.out
    assert (home / "d/arrow/digits.arrow").is_file()


def test_the_environment_names_the_folders(
    answer: Callable[..., Any], done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENGRAM_RESULTS", str(done / "results"))
    monkeypatch.setenv("ENGRAM_DATA", str(done / "data"))
    assert "10 done, 2 pending" in answer("plan", done / "tiny.yaml").out


def test_the_reader_of_a_pipe_may_leave(engram: Any, done: Path) -> None:
    command = f"{sys.executable} -m orchestrator list trials --results {done / 'results'} | true"
    ended = subprocess.run(
        ["bash", "-c", command],
        env=engram.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""
