"""What is told of a trial that ended without a record, and what is stored with one."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from orchestrator.audit.config import Audit
from orchestrator.checkpoints import Checkpoints, Keep
from orchestrator.curves import read_curves
from orchestrator.errors import UserError
from orchestrator.failures import Kind
from orchestrator.plan import Plan, make_plan
from orchestrator.progress import Progress
from orchestrator.recorder import Recorder
from orchestrator.results import ResultsStore
from orchestrator.space.config import Resources
from orchestrator.trainable import job
from orchestrator.trial import Trial
from orchestrator.trial_queue import TrialQueue
from orchestrator.trial_run import Report, TrialRun
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
"""
NO_MEMORY = """\
  File "trial_run.py", line 100, in step
orchestrator.machine.OutOfMemory: host: CUDA out of memory
"""


@pytest.fixture
def made(tmp_path: Path) -> Plan:
    (tmp_path / "space.yaml").write_text(SPACE)
    return make_plan(tmp_path / "space.yaml", tmp_path / "data")


class Setting:
    """A recorder of one trial that runs, and Tune's trial as far as the recorder looks at it."""

    def __init__(self, plan: Plan, folder: Path, keep: Keep = Keep()) -> None:  # noqa: B008
        self.plan, self.folder, self.keep = plan, folder, keep
        self.trial = plan.trials[0]
        self.store = ResultsStore(folder / "results")
        self.console = Console(record=True, file=io.StringIO(), width=400)

        def job_of(trial: Trial, share: Resources) -> dict[str, Any]:
            where = folder / "data", self.store.storage
            return job(trial, plan.environment, share, *where, {}, Watch(), keep, Audit())

        self.queue = TrialQueue(
            plan.trials, Resources(), job_of, lambda: Resources(), lambda: self.recorder.check()
        )
        progress = Progress(plan.trials, self.console)
        self.recorder = Recorder(self.store, progress, self.queue, keep, pauses=(0.2, 0.2))
        config = self.queue.suggest("x")
        assert isinstance(config, dict)
        self.tunes = SimpleNamespace(config=config, error_file=str(folder / "error.txt"))

    def run(self) -> TrialRun:
        about = {"space": "", "commit": ""}
        where = self.folder / "data", about, Watch(), self.keep
        return TrialRun(self.trial, self.plan.environment, *where, results=self.store.storage)

    def report(self, report: Report) -> None:
        result = {"report": report.to_json()}
        self.recorder.on_trial_result(1, [self.tunes], self.tunes, result)

    def fail(self, text: str) -> None:
        Path(self.tunes.error_file).write_text(text)
        self.recorder.on_trial_error(1, [self.tunes], self.tunes)

    def told(self) -> list[str]:
        return self.console.export_text().splitlines()


@pytest.fixture
def setting(made: Plan, tmp_path: Path) -> Setting:
    return Setting(made, tmp_path)


def test_a_lost_trial_runs_again_until_it_has_no_attempt_left(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.trial_queue.PAUSES", {Kind.WORKER: (0, 0)})
    for _ in range(2):
        setting.fail(LOST)
        assert setting.recorder.outcomes == {}
        assert isinstance(setting.queue.suggest("x"), dict)
    setting.fail(LOST)
    assert setting.recorder.outcomes == {setting.trial.id: "infrastructure"}
    named = f"naive/seed=0 ({setting.trial.id}): its worker was lost"
    told = [line for line in setting.told() if named in line]
    assert [line.split(":")[0] for line in told] == ["interrupted"] * 2 + ["infrastructure"]
    assert [line.split("; ")[1:] for line in told] == [["runs again in 0 s"]] * 2 + [[]]
    assert setting.store.ids() == set()


def test_memory_that_a_whole_machine_lacks_is_told(setting: Setting) -> None:
    setting.fail(NO_MEMORY)
    assert setting.recorder.outcomes == {setting.trial.id: "infrastructure"}
    assert any("): host: CUDA out of memory" in line for line in setting.told())


def test_a_trial_that_began_again_has_its_curves_once(setting: Setting) -> None:
    lost = setting.run()
    for _ in range(3):
        setting.report(lost.step())
    Checkpoints(setting.store.storage).tidy(setting.trial.id, Keep())
    whole = setting.run()
    for _ in range(5):
        setting.report(whole.step())
    assert_five_tasks_once(setting)


def test_a_trial_that_went_on_after_the_sweep_was_killed_has_all_its_curves(
    made: Plan, tmp_path: Path
) -> None:
    lost = Setting(made, tmp_path).run()
    for _ in range(3):
        lost.step()
    setting = Setting(made, tmp_path)
    rest = setting.run()
    for _ in range(2):
        setting.report(rest.step())
    assert_five_tasks_once(setting)


def assert_five_tasks_once(setting: Setting) -> None:
    found = read_curves(setting.store.storage, setting.trial.id)
    assert found is not None
    assert [at for at, _ in found.series()["loss/new"]] == [10, 20, 30, 40, 50]
    assert [part.task for part in found.tasks] == [1, 2, 3, 4, 5]
    assert setting.store.ids() == {setting.trial.id}
    assert Checkpoints(setting.store.storage).under_way() == []
    assert setting.queue.suggest("x") == TrialQueue.FINISHED


@pytest.mark.parametrize("mended", [True, False])
def test_a_record_that_cannot_be_written_is_waited_for(setting: Setting, mended: bool) -> None:
    run = setting.run()
    reports = [run.step() for _ in range(5)]
    in_the_way = setting.folder / "results" / "trials"
    in_the_way.write_text("a file")
    if mended:
        threading.Timer(0.3, in_the_way.unlink).start()
        setting.report(reports[-1])
        assert setting.store.ids() == {setting.trial.id}
    else:
        with pytest.raises(UserError, match=r"\); what was recorded before is safe, and once this"):
            setting.report(reports[-1])
        assert setting.recorder.outcomes == {}
        # What it goes on from is still there.
        assert Checkpoints(setting.store.storage).under_way() == [setting.trial.id]
    waits = [line for line in setting.told() if line.endswith("the sweep waits, next try in 0.2 s")]
    assert len(waits) == 2
    assert all(f"the record of {setting.trial.id} cannot be written (" in line for line in waits)


def test_a_sweep_that_waits_for_its_disk_can_be_ended(setting: Setting) -> None:
    run = setting.run()
    reports = [run.step() for _ in range(5)]
    (setting.folder / "results" / "trials").write_text("a file")
    setting.recorder.interrupted = True
    with pytest.raises(KeyboardInterrupt):
        setting.report(reports[-1])


def test_that_nothing_runs_is_told_once_a_minute(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    for now in (1e6, 1e6 + 1, 1e6 + 30, 1e6 + 62, 1e6 + 63):
        monkeypatch.setattr("orchestrator.recorder.time.monotonic", lambda now=now: now)
        setting.recorder.on_step_begin(1, [])
    assert sum("no machine has had room" in line for line in setting.told()) == 2
    setting.recorder.on_trial_start(1, [], setting.tunes)
    monkeypatch.setattr("orchestrator.recorder.time.monotonic", lambda: 2e6)
    setting.recorder.on_step_begin(1, [])
    assert not any("no machine has had room" in line for line in setting.told())
