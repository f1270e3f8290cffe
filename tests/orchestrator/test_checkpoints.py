"""States of methods in files: whole or not there, plain, and what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from methods.naive import Naive
from orchestrator.checkpoints import FORMAT, Checkpoint, Checkpoints, Keep
from orchestrator.errors import UserError
from orchestrator.machine import NotKept
from orchestrator.plan import Plan
from orchestrator.trial_run import Report, TrialRun

MakePlan = Callable[[str], Plan]
SPACE = """\
dataset: split-digits
tasks: 5
network: {name: mlp, widths: [8]}
budget: {iterations: 4, batch_size: 8}
method: [replay: {buffer_size: 10}]
"""


def checkpoint(tasks: int = 1, **state: Any) -> Checkpoint:
    rows = [[float("nan")]] * (tasks + 1)
    return Checkpoint("aa", {"seed": 0}, "data", "code", {}, tasks, rows, {}, state)


def run(plan: Plan, results: Path, **keep: Any) -> tuple[TrialRun, list[Report]]:
    (trial,) = plan.trials
    whole = TrialRun(trial, plan.environment, results / "data", keep=Keep(**keep), results=results)
    whole.about = {"space": "test", "commit": ""}
    reports = [whole.step()]
    while reports[-1].record is None:
        reports.append(whole.step())
    return whole, reports


def files(results: Path) -> set[str]:
    kept = (path for path in results.rglob("*") if path.is_file() and "data" not in path.parts)
    return {str(path.relative_to(results)) for path in kept}


def test_nothing_is_kept_unless_it_is_asked_for(plan: MakePlan, tmp_path: Path) -> None:
    run(plan(SPACE), tmp_path / "results")
    assert files(tmp_path / "results") == set()


@pytest.mark.parametrize(
    ("keep", "names"),
    [
        ({"model": True}, ["models/ID.pt"]),
        ({"checkpoints": "last"}, ["checkpoints/ID/task-05.pt"]),
        ({"checkpoints": "all"}, [f"checkpoints/ID/task-{n:02d}.pt" for n in range(1, 6)]),
        (
            {"model": True, "checkpoints": "last"},
            ["models/ID.pt", "checkpoints/ID/task-05.pt"],
        ),
    ],
)
def test_what_is_asked_for_is_kept(
    keep: dict[str, Any], names: list[str], plan: MakePlan, tmp_path: Path
) -> None:
    made = plan(SPACE)
    whole, reports = run(made, tmp_path / "results", **keep)
    trial = made.trials[0]
    assert files(tmp_path / "results") == {name.replace("ID", trial.id) for name in names}
    record = reports[-1].record
    assert record is not None
    assert record["seconds_by_phase"]["keep"] > 0
    store = Checkpoints(tmp_path / "results")
    for path in (tmp_path / "results").rglob("*.pt"):
        found = store.read(path)
        assert found.trial == trial.id
        assert (found.data, found.code) == (trial.data, trial.code)
        assert found.config == trial.config.canonical
        assert found.environment == made.environment.__dict__
        assert repr(found.accuracy) == repr(record["accuracy"][: found.tasks_learned + 1])
        assert {len(values) for values in found.measures.values()} == {found.tasks_learned + 1}
        assert found.state["tasks_learned"] == found.tasks_learned
        if found.tasks_learned == 5:
            for name, weight in whole.method.state_dict()["network"].items():
                assert torch.equal(found.state["network"][name], weight)


def test_a_trial_under_way_has_its_last_state(plan: MakePlan, tmp_path: Path) -> None:
    made = plan(SPACE)
    (trial,) = made.trials
    keep = Keep(model=True, checkpoints="last")
    whole = TrialRun(trial, made.environment, tmp_path, keep=keep, results=tmp_path / "results")
    for tasks in (1, 2):
        whole.step()
        assert files(tmp_path / "results") == {f"checkpoints/{trial.id}/task-{tasks:02d}.pt"}


def test_going_on_from_a_checkpoint_is_as_if_uninterrupted(plan: MakePlan, tmp_path: Path) -> None:
    made = plan(SPACE)
    whole, _ = run(made, tmp_path / "results", checkpoints="all")
    store = Checkpoints(tmp_path / "results")
    found = store.read(store.after_tasks(made.trials[0].id)[3])
    config = made.trials[0].config
    resumed = config.cls(config.options, whole.stream.info, whole.method.rng)
    resumed.load_state_dict(found.state)
    for task in (3, 4):
        resumed.learn(whole.stream.task(task))
    x = whole.stream.test(0).x[:50]
    assert torch.equal(resumed.predict(x), whole.method.predict(x))


def test_what_cannot_be_kept_is_no_result_of_the_method(plan: MakePlan, tmp_path: Path) -> None:
    (tmp_path / "results").write_text("in the way")
    with pytest.raises(NotKept, match=r"results: the state of [0-9a-f]{16} could not be kept: "):
        run(plan(SPACE), tmp_path / "results", checkpoints="last")


def test_a_method_that_cannot_be_saved_is_recorded_without(
    plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Naive) -> dict[str, Any]:
        raise AttributeError("no state")

    made = plan(SPACE.replace("[replay: {buffer_size: 10}]", "naive"))
    monkeypatch.setattr(Naive, "state_dict", broken)
    _, reports = run(made, tmp_path / "results")
    assert reports[-1].record is not None
    assert reports[-1].record["outcome"] == "finished"
    with pytest.raises(NotKept, match="no state"):
        run(made, tmp_path / "results", model=True)


def test_last_leaves_one_file_and_many_tasks_sort_by_number(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    for tasks in (99, 100, 9):
        store.keep(checkpoint(tasks), Keep(checkpoints="all"), final=False)
    assert list(store.after_tasks("aa")) == [9, 99, 100]
    store.keep(checkpoint(10), Keep(checkpoints="last"), final=False)
    assert list(store.after_tasks("aa")) == [10]
    assert store.after_tasks("bb") == {}


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    store.keep(checkpoint(weight=torch.ones(3)), Keep(model=True), final=True)
    with pytest.raises(AttributeError):
        store.keep(checkpoint(weight=lambda: None), Keep(model=True), final=True)
    assert files(tmp_path) == {"models/aa.pt"}
    assert torch.equal(store.read(store.model("aa")).state["weight"], torch.ones(3))


class Runs:
    """An object: a file that holds one would run code when it is read."""


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path)
    path = store.model("aa")
    store.keep(checkpoint(weight=Runs()), Keep(model=True), final=True)
    with pytest.raises(UserError, match="other things than tensors and plain values") as caught:
        store.read(path)
    assert str(path) in str(caught.value)
    store.keep(checkpoint(), Keep(model=True), final=True)
    content = path.read_bytes()
    for damaged in (b"", content[:100], b"text", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is no ") as caught:
            store.read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    for other in ({"format": FORMAT + 1}, [1, 2]):
        torch.save(other, path)
        with pytest.raises(UserError, match="written by another version of Engram"):
            store.read(path)
