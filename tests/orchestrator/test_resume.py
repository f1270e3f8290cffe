"""A trial that was interrupted ends as one that was not: to the last byte, for every method."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from methods.naive import Naive
from orchestrator.checkpoints import Checkpoints, Keep
from orchestrator.machine import NotKept, OtherCode
from orchestrator.plan import Plan
from orchestrator.results import DETERMINISTIC, Record
from orchestrator.storage import Storage
from orchestrator.trial_run import Report, TrialRun
from orchestrator.watch import Watch

MakePlan = Callable[[str], Plan]

SPACE = """\
dataset: {dataset}
scenario: {scenario}
tasks: 5
validation: 0.1
train_per_task: 60
network: {network}
optimizer: {{name: adam, lr: 0.01}}
budget: {budget}
method: {method}
"""
MLP, CNN = "{name: mlp, widths: [16, 8]}", "{name: cnn, widths: [4, 8]}"
STEPS, EARLY = (
    "{iterations: 6, batch_size: 16}",
    "{epochs: 2, batch_size: 32, early_stopping: {patience: 1, min_delta: 0.3}}",
)
CLASS, TASK, DOMAIN = ("class-incremental", "task-incremental", "domain-incremental")
#: Methods with all that a state consists of: optimiser, buffers, generators, draws, Fisher matrix.
CASES = {
    "naive": ("naive", MLP, STEPS, CLASS),
    "sgd with momentum": ("naive: {optimizer: {name: sgd, momentum: 0.9}}", MLP, STEPS, TASK),
    "joint": ("joint", MLP, EARLY, CLASS),
    "replay": ("replay: {buffer_size: 20}", CNN, STEPS, TASK),
    "herding": ("replay: {per_class: 3, memory.policy: herding}", MLP, STEPS, CLASS),
    "latent replay": ("latent-replay: {freeze_depth: 1, buffer_size: 20}", CNN, STEPS, CLASS),
    "frozen at the start": ("naive: {freeze_depth: 1, freeze_from: start}", CNN, STEPS, CLASS),
    "mixtures": ("glr: {freeze_depth: 1}", MLP, STEPS, CLASS),
    "mixtures, renewed draws": (
        "glr: {freeze_depth: 1, buffer_size: 30, memory.refresh: epoch}",
        MLP,
        EARLY,
        DOMAIN,
    ),
    "as released": ("glr: {freeze_depth: 1, variant: as-released}", MLP, STEPS, DOMAIN),
    "ewc": ("ewc: {strength: 100}", CNN, STEPS, TASK),
}


@pytest.fixture(params=CASES)
def made(request: pytest.FixtureRequest, plan: MakePlan) -> Plan:
    method, network, budget, scenario = CASES[request.param]
    dataset = "rotated-digits" if scenario == DOMAIN else "split-digits"
    text = SPACE.format(
        dataset=dataset, scenario=scenario, network=network, budget=budget, method=f"[{method}]"
    )
    return plan(text)


def start(made: Plan, folder: Path, watch: int | None = 3, **keep: Any) -> TrialRun:
    (trial,) = made.trials
    about, results = {"space": "", "commit": ""}, Storage(folder / "results")
    how = Watch(every=watch), Keep(**keep)
    return TrialRun(trial, made.environment, folder, about, *how, results=results)


def to_the_end(run: TrialRun) -> list[Report]:
    reports = [run.step()]
    while reports[-1].record is None:
        reports.append(run.step())
    return [Report.from_json(report.to_json()) for report in reports]


def deterministic(record: Record | None) -> str:
    assert record is not None
    assert record["outcome"] == "finished", record["traceback"]
    return json.dumps({name: record[name] for name in DETERMINISTIC})


def interrupted(made: Plan, folder: Path, after: int, **keep: Any) -> None:
    lost = start(made, folder, **keep)
    for _ in range(after):
        lost.step()


def test_an_interrupted_trial_ends_as_if_it_had_not_been(made: Plan, tmp_path: Path) -> None:
    whole = to_the_end(start(made, tmp_path / "whole"))
    for after in (1, 3):
        folder = tmp_path / str(after)
        interrupted(made, folder, after)
        rest = to_the_end(start(made, folder))
        assert [report.task for report in rest] == list(range(after + 1, 6))
        assert deterministic(rest[-1].record) == deterministic(whole[-1].record)
        assert repr(rest[-1].confusion) == repr(whole[-1].confusion)
        told_again = [*rest[0].earlier, *rest]
        assert [r.curves for r in told_again] == [r.curves for r in whole]
        assert repr([(r.row, r.measures) for r in told_again]) == repr(
            [(r.row, r.measures) for r in whole]
        )


NAIVE = SPACE.format(
    dataset="split-digits", scenario=CLASS, network=MLP, budget=STEPS, method="naive"
)


def test_a_trial_can_be_interrupted_again_and_again(plan: MakePlan, tmp_path: Path) -> None:
    made = plan(NAIVE)
    whole = to_the_end(start(made, tmp_path / "whole"))
    record = None
    for _ in range(5):
        record = start(made, tmp_path).step().record
    assert deterministic(record) == deterministic(whole[-1].record)
    assert record is not None
    assert record["seconds_by_phase"]["fit"] > 0
    assert record["samples_per_second"] > 0


@pytest.mark.parametrize("keep", ["none", "last", "all"])
def test_a_trial_whose_record_was_lost_learns_its_last_task_again(
    keep: str, plan: MakePlan, tmp_path: Path
) -> None:
    made = plan(NAIVE)
    first = to_the_end(start(made, tmp_path, checkpoints=keep))
    (again,) = to_the_end(start(made, tmp_path, checkpoints=keep))
    assert deterministic(again.record) == deterministic(first[-1].record)
    assert [report.task for report in again.earlier] == [1, 2, 3, 4]


def test_what_a_state_holds_of_a_whole_trial_does_not_depend_on_interruptions(
    plan: MakePlan, tmp_path: Path
) -> None:
    made = plan(NAIVE)
    to_the_end(start(made, tmp_path / "whole", checkpoints="all"))
    for _ in range(5):
        start(made, tmp_path / "parts", checkpoints="all").step()
    trial = made.trials[0].id
    whole, parts = (
        Checkpoints(Storage(tmp_path / name / "results")) for name in ("whole", "parts")
    )
    assert list(parts.after_tasks(trial)) == [1, 2, 3, 4, 5]
    for name in parts.after_tasks(trial).values():
        a, b = whole.read(name), parts.read(name)
        assert repr(a.state) == repr(b.state)
        assert repr((a.accuracy, a.measures, a.curves)) == repr((b.accuracy, b.measures, b.curves))
        assert a.log["examples"] == b.log["examples"]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half a file", None])
def test_a_damaged_state_is_as_good_as_none(
    damage: bytes | None, plan: MakePlan, tmp_path: Path
) -> None:
    made = plan(NAIVE)
    interrupted(made, tmp_path, 2, checkpoints="all")
    folder = tmp_path / "results" / "checkpoints" / made.trials[0].id
    second = folder / "task-02.pt"
    second.write_bytes((folder / "task-01.pt").read_bytes() if damage is None else damage)
    rest = to_the_end(start(made, tmp_path))
    assert [report.task for report in rest] == [2, 3, 4, 5]
    assert deterministic(rest[-1].record) == deterministic(
        to_the_end(start(made, tmp_path / "whole"))[-1].record
    )


def test_a_machine_with_other_code_refuses(
    plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = plan(NAIVE)
    monkeypatch.setattr("orchestrator.trial_run.trial_code", lambda method: "0" * 16)
    with pytest.raises(OtherCode, match="the code of naive is not that of the plan"):
        start(made, tmp_path).step()
    monkeypatch.undo()
    monkeypatch.setattr("torch.__version__", "1.0")
    with pytest.raises(OtherCode, match=r"has PyTorch 1\.0, and the plan 2\."):
        start(made, tmp_path).step()


def test_a_state_that_cannot_be_written_is_no_result(plan: MakePlan, tmp_path: Path) -> None:
    made = plan(NAIVE)
    run = start(made, tmp_path)
    (tmp_path / "results").write_text("in the way")
    with pytest.raises(NotKept, match=r"results: the state of [0-9a-f]{16} could not be stored: "):
        run.step()


def test_a_method_without_a_state_begins_again(
    plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Naive) -> dict[str, Any]:
        raise AttributeError("no state")

    made = plan(NAIVE)
    monkeypatch.setattr(Naive, "state_dict", broken)
    interrupted(made, tmp_path, 2)
    assert [report.task for report in to_the_end(start(made, tmp_path))] == [1, 2, 3, 4, 5]
    with pytest.raises(NotKept, match="no state"):
        start(made, tmp_path, checkpoints="all").step()
