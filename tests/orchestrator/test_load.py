"""Trained methods come back from a results folder, or it is said why not."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import orchestrator as engram
from methods.core import registry
from methods.naive import Naive
from methods.replay import Replay
from orchestrator.checkpoints import Checkpoints, Keep, model_name
from orchestrator.data.streams import open_stream
from orchestrator.errors import UserError
from orchestrator.evaluation import evaluate
from orchestrator.plan import Plan, make_plan
from orchestrator.results import ResultsStore
from orchestrator.storage import Storage
from orchestrator.trial_code import code_hash
from orchestrator.trial_run import TrialRun

SPACE = """\
dataset: split-digits
tasks: 5
network: {name: mlp, widths: [16]}
budget: {iterations: 15, batch_size: 16}
freeze_depth: 1
method: [naive, replay: {buffer_size: 30}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of two trials: of naive all states are kept, of replay the model alone."""
    home = tmp_path_factory.mktemp("kept")
    for trial in planned(home).trials:
        every = trial.config.method == "naive"
        keep = Keep(checkpoints="all") if every else Keep(model=True)
        run = TrialRun(
            *(trial, planned(home).environment, home / "data", {"space": "", "commit": ""}),
            keep=keep,
            results=Storage(home / "results"),
        )
        report = run.step()
        while report.record is None:
            report = run.step()
        ResultsStore(home / "results").write(report.record)
        Checkpoints(run.results).tidy(trial.id, keep)
    return home


def planned(home: Path) -> Plan:
    (home / "space.yaml").write_text(SPACE)
    return make_plan(home / "space.yaml", home / "data")


def record(home: Path, method: str) -> dict[str, Any]:
    (found,) = (r for r in ResultsStore(home / "results").records() if r["method"] == method)
    return found


def load(home: Path, wanted: str, **more: Any) -> Any:
    return engram.load(wanted, results=home / "results", data=home / "data", **more)


def accuracies(home: Path, method: Any) -> list[float]:
    config = planned(home).trials[0].config
    stream = open_stream(config.stream, home / "data")
    return evaluate(method, stream, method.tasks_learned).accuracies.tolist()


@pytest.mark.parametrize(("name", "cls"), [("naive", Naive), ("replay", Replay)])
def test_a_method_comes_back_as_it_was_in_the_end(folder: Path, name: str, cls: type) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method = load(folder, record(folder, name)["id"][:8])
    assert isinstance(method, cls)
    assert method.tasks_learned == 5
    assert accuracies(folder, method) == record(folder, name)["accuracy"][-1]
    batch = method.sample(4)
    assert (batch is None) == (name == "naive")
    if batch is not None:
        assert batch.x.shape == (4, 1, 8, 8)


def test_by_its_name_too(folder: Path) -> None:
    assert isinstance(load(folder, "replay[buffer_size=30"), Replay)


@pytest.mark.parametrize("task", [1, 2, 5])
def test_a_checkpoint_comes_back_as_it_was_after_its_task(folder: Path, task: int) -> None:
    method = load(folder, "naive", task=task)
    assert method.tasks_learned == task
    found = accuracies(folder, method)
    np.testing.assert_array_equal(found, record(folder, "naive")["accuracy"][task])


def test_loading_leaves_the_global_generator_as_it_was(folder: Path) -> None:
    before = torch.get_rng_state()
    load(folder, "naive")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("wanted", "task", "message"),
    [
        ("xyz", None, "holds no trial 'xyz'"),
        ("split-digits", None, "'split-digits' fits 2 trials"),
        ("replay", 2, r"nothing was kept after task 2, only after 5; .* keep: {checkpoints: all}"),
        ("naive", 9, "nothing was kept after task 9, only after 1, 2, 3, 4, 5"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    folder: Path, wanted: str, task: int | None, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(folder, wanted, task=task)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("device", ["cuda", "toaster"])
def test_a_device_that_is_not_there_is_named(folder: Path, device: str) -> None:
    with pytest.raises(UserError, match=f"device '{device}' cannot be used here") as caught:
        engram.load("naive", results=folder / "results", device=device)
    assert "\n" not in str(caught.value)


def test_where_nothing_was_kept_it_is_said_how_to_keep_it(folder: Path, tmp_path: Path) -> None:
    found = record(folder, "naive")
    ResultsStore(tmp_path / "results").write(found)
    with pytest.raises(
        UserError, match="no trained method was kept; to keep it, delete "
    ) as caught:
        load(tmp_path, "naive")
    assert str(tmp_path / "results" / "trials" / f"{found['id']}.arrow") in str(caught.value)
    assert "--keep-model" in str(caught.value)


def test_other_code_is_warned_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code_hash.cache_clear()
    monkeypatch.setattr("orchestrator.loading.trial_code", lambda cls: "other")
    with pytest.warns(UserWarning, match="was trained with other code than is installed") as told:
        load(folder, "naive")
    assert told[0].filename == __file__


def test_a_state_that_does_not_fit_any_more_is_refused(folder: Path, tmp_path: Path) -> None:
    found = record(folder, "replay")
    wider = json.loads(found["config"])
    wider["options"]["network"]["widths"] = [17]
    store = ResultsStore(tmp_path / "results")
    store.write(found | {"config": json.dumps(wider)})
    name = model_name(found["id"])
    store.storage.write(name, Storage(folder / "results").read(name))
    with pytest.raises(UserError, match="what was kept does not fit the method as it is installed"):
        load(tmp_path, "replay")


def test_a_method_that_is_not_installed_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.method_names()
    monkeypatch.delitem(registry._registered, "naive")
    with pytest.raises(UserError, match="no method is called 'naive'"):
        load(folder, "naive")
