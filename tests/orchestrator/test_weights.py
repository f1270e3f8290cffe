"""Weights from a file: known by their content, found by the worker, refused where they changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from methods.core.vision import import_torchvision
from orchestrator.machine import MachineFailure
from orchestrator.plan import Plan
from orchestrator.storage import Storage
from orchestrator.trial import Trial, TrialConfig
from orchestrator.trial_run import TrialRun

MakePlan = Callable[[str], Plan]


def space(file: Path) -> str:
    return f"""\
dataset: split-digits
train_per_task: 16
test_per_task: 8
network: {{name: mobilenet-v2, image_size: null, weights: {file}}}
budget: {{iterations: 1, batch_size: 8}}
freeze_depth: 10
method: [latent-replay: {{freeze_from: start, buffer_size: 4}}]
"""


@pytest.fixture(scope="module")
def model() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return import_torchvision().models.mobilenet_v2()


def only(plan: Plan) -> Trial:
    (trial,) = plan.trials
    return trial


def test_a_file_is_known_by_its_content(model: Any, tmp_path: Path, plan: MakePlan) -> None:
    here, there, other = (tmp_path / f"{name}.pt" for name in ("here", "there", "other"))
    torch.save(model.state_dict(), here)
    shutil.copy(here, there)
    torch.save({k: v + 1 for k, v in model.state_dict().items()}, other)
    one, same, differs = (only(plan(space(file))) for file in (here, there, other))
    assert one.id == same.id != differs.id
    assert str(tmp_path) not in json.dumps(one.config.canonical)


def test_a_worker_finds_the_weights_and_starts_from_them(
    model: Any, tmp_path: Path, plan: MakePlan
) -> None:
    file = tmp_path / "weights.pt"
    torch.save(model.state_dict(), file)
    made = plan(space(file))
    trial = only(made)
    sent = json.loads(json.dumps(trial.config.portable))
    arrived = Trial(trial.id, TrialConfig.from_canonical(sent), trial.data, trial.code)
    assert arrived.config.canonical == trial.config.canonical
    run = TrialRun(
        arrived,
        made.environment,
        tmp_path / "data",
        {"space": "", "commit": ""},
        results=Storage(tmp_path / "results"),
    )
    report = run.step()
    while report.record is None:
        report = run.step()
    assert report.record["outcome"] == "finished", report.record["traceback"]
    first = run.method.network.backbone.blocks[0].state_dict()  # type: ignore[attr-defined]
    trained = [value for key, value in first.items() if key.endswith("0.0.weight")]
    assert trained
    assert torch.equal(trained[0], model.features[0][0].weight)


def test_a_file_that_changed_meanwhile_is_the_machine_s_fault(
    model: Any, tmp_path: Path, plan: MakePlan
) -> None:
    """The trial is left for later, and neither scored nor called an error of the method."""
    file = tmp_path / "weights.pt"
    torch.save(model.state_dict(), file)
    made = plan(space(file))
    torch.save({k: v + 1 for k, v in model.state_dict().items()}, file)
    about = {"space": "", "commit": ""}
    with pytest.raises(MachineFailure, match=r"weights\.pt"):
        TrialRun(
            only(made), made.environment, tmp_path / "data", about, results=Storage(tmp_path)
        ).step()
