"""What is told of a trial that ended without a record, and what is stored with one."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from orchestrator.checkpoints import Keep
from orchestrator.curves import read_curves
from orchestrator.plan import Plan, make_plan
from orchestrator.progress import Progress
from orchestrator.recorder import Recorder
from orchestrator.results import ResultsStore
from orchestrator.trainable import job
from orchestrator.trial_run import TrialRun
from orchestrator.watch import Watch

SPACE = """\
dataset: split-digits
tasks: 5
network: {name: mlp, widths: [8]}
budget: {iterations: 10, batch_size: 8}
method: naive
"""

LOST = """\
Failure # 1 (occurred at 2026-01-01_00-00-00)
The actor died unexpectedly before finishing this task.
\tpid: 5176
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
"""
RAISED = """\
Failure # 3 (occurred at 2026-01-01_00-00-00)
\x1b[36mray::ResourceTrainable.train()\x1b[39m (pid=4461)
  File "trial_run.py", line 192, in _keep
{error}
"""


@pytest.fixture
def made(tmp_path: Path) -> Plan:
    (tmp_path / "space.yaml").write_text(SPACE)
    return make_plan(tmp_path / "space.yaml", tmp_path / "data")


def recorder_of(plan: Plan, results: Path) -> tuple[Recorder, Any, Console]:
    """A recorder, and Tune's trial as far as it looks at it."""
    console = Console(record=True, file=io.StringIO(), width=400)
    recorder = Recorder(ResultsStore(results), Progress(plan.trials, console))
    given = job(plan.trials[0], plan.environment, results, results, {}, Watch(), Keep())
    return recorder, SimpleNamespace(config={"job": given}, error_file=None), console


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "its worker was lost"),
        ("", "its worker was lost"),
        (LOST, "its worker was lost"),
        (RAISED.format(error="orchestrator.machine.NotKept: /results: no space"), "/results: no s"),
        (RAISED.format(error="torch.OutOfMemoryError: CUDA out of memory"), "torch.OutOfMemoryEr"),
        (RAISED.format(error="RuntimeError: can't allocate memory"), "RuntimeError: can't allocat"),
    ],
)
def test_why_a_trial_has_no_record_is_told(
    text: str | None, told: str, made: Plan, tmp_path: Path
) -> None:
    recorder, trial, console = recorder_of(made, tmp_path / "results")
    if text is not None:
        trial.error_file = str(tmp_path / "error.txt")
        Path(trial.error_file).write_text(text)
    recorder.on_trial_error(1, [trial], trial)
    assert recorder.outcomes == {made.trials[0].id: "infrastructure"}
    (line,) = (line for line in console.export_text().splitlines() if "infrastructure" in line)
    assert line.partition("): ")[2].startswith(told)


def test_a_trial_that_began_again_has_its_curves_once(made: Plan, tmp_path: Path) -> None:
    recorder, trial, _ = recorder_of(made, tmp_path / "results")
    run = made.trials[0], made.environment, tmp_path / "data", {"space": "", "commit": ""}
    lost, whole = TrialRun(*run), TrialRun(*run)
    for _ in range(3):
        recorder.on_trial_result(1, [trial], trial, {"report": lost.step().to_json()})
    for _ in range(5):
        recorder.on_trial_result(1, [trial], trial, {"report": whole.step().to_json()})
    found = read_curves(tmp_path / "results", made.trials[0].id)
    assert found is not None
    assert [at for at, _ in found.series()["loss/new"]] == [10, 20, 30, 40, 50]
    assert [part.task for part in found.tasks] == [1, 2, 3, 4, 5]
    assert recorder.store.ids() == {made.trials[0].id}
