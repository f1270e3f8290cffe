"""States of methods in files: whole or not there, plain, and what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.checkpoints import FORMAT, Checkpoint, Checkpoints, Keep
from orchestrator.errors import UserError
from orchestrator.plan import Plan
from orchestrator.storage import Storage
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
    whole = TrialRun(
        trial, plan.environment, results / "data", keep=Keep(**keep), results=Storage(results)
    )
    whole.about = {"space": "test", "commit": ""}
    reports = [whole.step()]
    while reports[-1].record is None:
        reports.append(whole.step())
    return whole, reports


def files(results: Path) -> set[str]:
    kept = (path for path in results.rglob("*") if path.is_file() and "data" not in path.parts)
    return {str(path.relative_to(results)) for path in kept}


def test_nothing_is_kept_unless_it_is_asked_for(plan: MakePlan, tmp_path: Path) -> None:
    made = plan(SPACE)
    run(made, tmp_path / "results")
    Checkpoints(Storage(tmp_path / "results")).tidy(made.trials[0].id, Keep())
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
    store = Checkpoints(Storage(tmp_path / "results"))
    store.tidy(trial.id, Keep(**keep))
    assert files(tmp_path / "results") == {name.replace("ID", trial.id) for name in names}
    record = reports[-1].record
    assert record is not None
    assert record["seconds_by_phase"]["keep"] > 0
    for path in (tmp_path / "results").rglob("*.pt"):
        found = store.read(path.relative_to(tmp_path / "results").as_posix())
        assert found.trial == trial.id
        assert (found.data, found.code) == (trial.data, trial.code)
        assert found.config == trial.config.canonical
        assert found.environment == asdict(made.environment)
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
    whole = TrialRun(
        trial, made.environment, tmp_path, keep=keep, results=Storage(tmp_path / "results")
    )
    for tasks in (1, 2):
        whole.step()
        assert files(tmp_path / "results") == {f"checkpoints/{trial.id}/task-{tasks:02d}.pt"}


def test_states_sort_by_number_and_what_is_not_kept_goes(tmp_path: Path) -> None:
    store = Checkpoints(Storage(tmp_path))
    for tasks in (99, 100, 9):
        store.write(checkpoint(tasks))
    assert list(store.after_tasks("aa")) == [9, 99, 100]
    assert store.after_tasks("bb") == {}
    assert store.under_way() == ["aa"]
    store.tidy("aa", Keep(checkpoints="all"))
    assert list(store.after_tasks("aa")) == [9, 99, 100]
    store.remove_before("aa", 99)
    assert list(store.after_tasks("aa")) == [99, 100]
    store.tidy("aa", Keep(checkpoints="last"))
    assert list(store.after_tasks("aa")) == [100]
    store.tidy("aa", Keep())
    assert store.under_way() == []
    store.tidy("aa", Keep(checkpoints="last"))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Checkpoints(Storage(tmp_path))
    store.write_model(checkpoint(weight=torch.ones(3)))
    with pytest.raises(AttributeError):
        store.write_model(checkpoint(weight=lambda: None))
    assert files(tmp_path) == {"models/aa.pt"}
    assert torch.equal(store.read("models/aa.pt").state["weight"], torch.ones(3))


class Runs:
    """An object: a file that holds one would run code when it is read."""


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    store = Checkpoints(Storage(tmp_path))
    store.write_model(checkpoint(weight=Runs()))
    name = store.model("aa")
    assert name is not None
    path = tmp_path / name
    with pytest.raises(UserError, match="other things than tensors and plain values") as caught:
        store.read(name)
    assert str(path) in str(caught.value)
    store.write_model(checkpoint())
    content = path.read_bytes()
    for damaged in (b"", content[:100], b"text", content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="is no ") as caught:
            store.read(name)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    for other in ({"format": FORMAT + 1}, [1, 2], {"format": FORMAT, "more": 1}):
        torch.save(other, path)
        with pytest.raises(UserError, match="version of Engram"):
            store.read(name)
