from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from orchestrator.data.sources import SOURCES, Images, Layout, Source
from orchestrator.errors import UserError
from orchestrator.plan import Plan

Write = Callable[..., Path]
MakePlan = Callable[[str], Plan]

ONE = """\
name: one
dataset: split-digits
tasks: 5
network: {name: mlp, widths: [20]}
method:
  - replay: {buffer_size: 50}
seed: 0..1
resources: {cpus: 1}
"""


def test_a_gpu_that_this_build_cannot_use_is_a_user_s_mistake(plan: MakePlan) -> None:
    import torch

    if torch.cuda.is_available():
        assert plan(ONE.replace("{cpus: 1}", "{gpus: 0.5}")).environment.device == "cuda"
        return
    with pytest.raises(UserError, match=r"space\.yaml:8: resources\.gpus: .*0\.5"):
        plan(ONE.replace("{cpus: 1}", "{gpus: 0.5}"))


def test_missing_data_and_machines_are_told_with_all_other_mistakes(
    plan: MakePlan, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    text = (
        "dataset: [split-digits, split-mnist]\nmethod: naive\nbudget: {iterations: -1}\n"
        "resources:\n  cpus: 4096\n  gpus: 64\n"
    )
    with pytest.raises(UserError) as caught:
        plan(text)
    path = write(text)
    data, budget, cpus, gpus = str(caught.value).splitlines()
    assert data.startswith(f"{path}:1: dataset[1]: mnist is not in {tmp_path / 'data'}: run ")
    assert budget.startswith(f"{path}:3: budget.iterations: ")
    assert cpus.startswith(f"{path}:5: resources.cpus: should be at most ")
    assert gpus.startswith(f"{path}:6: resources.gpus: ")
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    made = plan("dataset: split-digits\nmethod: naive\nresources: {cpus: 4096}\n")
    assert made.environment.threads == 4096, "another machine may have them"


def test_more_training_images_than_a_task_has_are_a_mistake(plan: MakePlan, write: Write) -> None:
    text = "dataset: {}\nmethod: naive\ntrain_per_task: [10, {}]\n"
    for dataset, most in (("split-digits", 283), ("permuted-digits", 1438)):
        assert len(plan(text.format(dataset, most)).trials) == 2
        with pytest.raises(UserError) as caught:
            plan(text.format(dataset, most + 1))
        assert str(caught.value) == (
            f"{write(text.format(dataset, most + 1))}:3: train_per_task[1]: should be at most "
            f"{most}, the training images of the smallest of 5 tasks of {dataset}, not {most + 1}"
        )
    with pytest.raises(UserError, match="train_per_task: should be at most") as caught:
        plan(
            "dataset: split-digits\ntasks: [2, 5]\nclass_order: seeded\nstream_seed: same\n"
            "seed: 0..3\ntrain_per_task: 2000\nmethod: naive\n"
        )
    assert "\n" not in str(caught.value), "one value is one mistake"


def test_the_smallest_source_of_several_counts(
    plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = np.zeros((52, 1, 8, 8), np.uint8), np.arange(52) % 26
    layout = Layout(lambda folder: Images(x, y, x, y))
    monkeypatch.setitem(SOURCES, "few", Source("few", "few", 26, (1, 8, 8), (layout,)))
    text = "dataset: digits+few\nmethod: naive\ntrain_per_task: {}\n"
    (trial,) = plan(text.format(52)).trials
    assert trial.config.stream.tasks == 2
    with pytest.raises(UserError, match=r"at most 52, .* smallest of 2 tasks of digits\+few, "):
        plan(text.format(53))


def test_all_sources_of_a_stream_are_looked_for(plan: MakePlan) -> None:
    with pytest.raises(UserError) as caught:
        plan(ONE.replace("split-digits", "digits+mnist+svhn").replace("tasks: 5\n", ""))
    lines = str(caught.value).splitlines()
    where = [line.split(" is not in ")[0].split(": ")[1:] for line in lines]
    assert where == [["dataset", "mnist"], ["dataset", "svhn"]]


def test_missing_data_name_the_command_that_prepares_them(plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        plan(ONE.replace("split-digits", "split-mnist"))
    command = f"engram data prepare mnist --data {tmp_path / 'data'}"
    assert command in str(caught.value)
    assert dedent(str(caught.value)).count("\n") == 0


def test_early_stopping_without_validation_data_is_told_before_anything_starts(
    plan: MakePlan,
) -> None:
    text = ONE + "budget: {epochs: 3, early_stopping: {patience: 2}}\n"
    line = text[: text.index("budget:")].count("\n") + 1
    wanted = rf"space\.yaml:{line}: budget: replay stops early .* validation: 0\.1"
    with pytest.raises(UserError, match=wanted):
        plan(text)
    assert plan(text + "validation: 0.1\n").trials


def test_more_test_images_than_there_are_is_told_with_its_place(plan: MakePlan) -> None:
    with pytest.raises(UserError, match=r"space\.yaml:9: test_per_task: should be at most \d+, "):
        plan(ONE + "test_per_task: 300\n")
