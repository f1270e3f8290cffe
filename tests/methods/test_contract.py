"""Every registered method keeps the contract, and every check catches its planted cheat."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cheats import (
    CHEATS,
    AllowsUnseenClasses,
    ForgetsItsOptimizer,
    HidesInAnAttribute,
    IgnoresTheSeed,
    NeverCloses,
    PeeksAtItsCaller,
    PolishesAfterwards,
    SamplesAnyClass,
    SeedsNumpy,
)
from torch import nn

from methods.core import contract
from methods.core.contract import ContractBroken, Subject, check
from methods.core.method import Method
from methods.core.registry import method_class, method_names
from methods.core.task import Task
from methods.joint import Joint
from methods.naive import Naive
from methods.networks import Backbone, Mlp
from methods.replay import Replay
from orchestrator.check import CASES, make_subject

pytestmark = pytest.mark.alone  # other work on the same core adds to processor time

#: Processor time that all checks of one method may take.
SECONDS = 6.0


def buffer(policy: str) -> dict[str, Any]:
    return {"buffer_size": 20, "memory": {"name": "buffer", "policy": policy}}


def generator(name: str, refresh: str, **options: Any) -> dict[str, Any]:
    return {"buffer_size": 20, "memory": {"name": name, "refresh": refresh, **options}}


#: For a method whose steps are long.
SHORT: dict[str, Any] = {"budget": {"iterations": 2, "batch_size": 16}}
ONE_STEP = {"iterations": 1, "batch_size": 8}


def trained(name: str, **options: Any) -> dict[str, Any]:
    small = {"hidden": (8,), "latents": 4, "iterations": 1}
    return SHORT | {"memory": {"name": name, **small, **options}}


def pseudo_rehearsal(**training: Any) -> dict[str, Any]:
    small = {"blocks": 1, "levels": 1, "hidden": 0.5, "hidden_layers": 0}
    return SHORT | {
        "autoencoder": training,
        "flow": training | small,
        "pool": 20,
        "replay_batch": 4,
    }


#: Options that only some methods have, in the order of their cases above.
OWN_CASES: dict[str, tuple[dict[str, Any], ...]] = {
    "a-gem": ({}, SHORT | {"replay_batch": 7}, SHORT, SHORT),
    "bi-r": (
        SHORT | {"decoder_widths": (8,)},
        SHORT | {"decoder_widths": (), "prior": "standard", "gates": 0.0},
        SHORT | {"decoder_widths": (8,), "modes": 2, "gate_by": "task"},
        SHORT | {"decoder_widths": (), "replay_labels": "hard"},
    ),
    "der++": ({}, {"depth": 0}, {}, {}),
    "dgr": (
        trained("vae", optimizer={"name": "adam", "reset": "never"}),
        trained("cvae", refresh="task") | {"replay_labels": "soft", "depth": 0, "buffer_size": 9},
        trained("wgan-gp", warm_start=False, critic_steps=1) | {"depth": 0},
        trained("vae", replay_batch=0) | {"depth": 0, "replay_batch": 0},
    ),
    "embedding-reg": (
        {"sample_size": 3},
        SHORT | {"distance": "euclidean"},
        SHORT | {"distance": "euclidean", "normalize": True},
        SHORT,
    ),
    "dvae": (
        {"budget": ONE_STEP, "samples_per_class": 1, "replay_through": "current"},
        {"budget": ONE_STEP, "samples_per_class": 2, "variant": "as-released"},
        {
            "budget": ONE_STEP,
            "samples_per_class": 1,
            "optimizer": {"name": "adam", "reset": "never"},
            "refresh": "task",
        },
        {"budget": ONE_STEP, "activation": "relu", "refresh": "epoch"},
    ),
    "ewc": ({"fisher": "sampled"}, {"gamma": 0.9}, {"fisher": "empirical"}, {}),
    "gfr": (
        trained("wgan-gp", critic_steps=1),
        SHORT | {"memory": {"name": "gaussian", "refresh": "step"}, "distillation": 0.0},
        SHORT | {"memory": {"name": "gaussian", "refresh": "task"}, "per_class": 3},
        SHORT | {"memory": "buffer"},
    ),
    "lwf": ({}, SHORT | {"temperature": 1.0}, SHORT | {"replay_loss": 0.5}, SHORT),
    "si": ({}, SHORT | {"strength": 100.0}, SHORT | {"damping": 0.01}, SHORT),
    "gem": ({"margin": 0.0}, SHORT | {"replay_batch": 7}, SHORT, SHORT),
    "prer": (
        pseudo_rehearsal(),
        pseudo_rehearsal(condition="none") | {"distance": "euclidean", "l1": 1e-4},
        pseudo_rehearsal(condition="embedding", epochs=1) | {"replay_pool": "frozen"},
        pseudo_rehearsal(iterations=1, tolerance=1) | {"variant": "as-released"},
    ),
    "replay": (buffer("reservoir"), buffer("task-balanced"), buffer("random"), {}),
    "latent-replay": (buffer("herding"), buffer("task-balanced"), buffer("random"), {}),
    "rehearsal": (
        generator("gmm", "once"),
        generator("kmeans", "epoch", centroids=2) | {"depth": 0},
        generator("gaussian", "step", share="decaying"),
        {},
    ),
    "glr": (
        generator("gmm", "task", components=2, share="unlimited"),
        generator("gaussian", "epoch", max_tasks=1),
        {"variant": "as-released"},
        SHORT
        | {
            "memory": {
                "name": "flow",
                "blocks": 1,
                "levels": 1,
                "iterations": 1,
                "refresh": "epoch",
            },
            "replay_labels": "soft",
        },
    ),
}


def cases_of(name: str) -> list[dict[str, Any]]:
    own_cases = OWN_CASES.get(name, ({},) * len(CASES))
    return [{**case.options, **own} for case, own in zip(CASES, own_cases, strict=True)]


@pytest.fixture(scope="module")
def warm(data_dir: Path) -> Iterator[None]:
    """Pay once for what PyTorch imports when it takes its first steps.

    What other tests have left in memory is none of a method's: the collector does not look at it.
    """
    check(make_subject(Naive, data_dir))
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("name", method_names())
@pytest.mark.usefixtures("warm")
def test_method_keeps_the_contract(name: str, data_dir: Path) -> None:
    method, start = method_class(name), time.process_time()
    for scenario in sorted(method.scenarios):
        for case in cases_of(name):
            try:
                check(make_subject(method, data_dir, case, scenario))
            except ContractBroken as broken:
                broken.add_note(f"{name}, {scenario}, {case}")
                raise
    assert time.process_time() - start <= SECONDS


class Noisy(Mlp):
    """A network with dropout and batch norm, which draw and remember."""

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        blocks: list[nn.Module] = [
            nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU()),
            nn.Sequential(nn.Dropout(0.3), nn.Linear(16, 16), nn.ReLU()),
        ]
        return Backbone(blocks, shape)


@pytest.mark.parametrize("freeze_depth", [0, 2])
def test_dropout_and_batch_norm_keep_the_contract(freeze_depth: int, data_dir: Path) -> None:
    options = {"network": Noisy(), "freeze_depth": freeze_depth}
    check(make_subject(Replay, data_dir, options))


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)
def test_cheat_is_caught(cheat: type[Method], data_dir: Path) -> None:
    before = [np.random.get_state(), random.getstate(), torch.get_rng_state()]
    with pytest.raises(ContractBroken, match=CHEATS[cheat]):
        check(make_subject(cheat, data_dir))
    np.random.set_state(before[0])  # type: ignore[arg-type]
    random.setstate(before[1])  # type: ignore[arg-type]
    torch.set_rng_state(before[2])  # type: ignore[arg-type]


def test_every_check_has_a_cheat_that_no_other_check_catches(data_dir: Path) -> None:
    """No check does the work of another."""
    alone = (
        NeverCloses,
        AllowsUnseenClasses,
        PeeksAtItsCaller,
        SeedsNumpy,
        IgnoresTheSeed,
        ForgetsItsOptimizer,
        HidesInAnAttribute,
        PolishesAfterwards,
        SamplesAnyClass,
    )
    for one, cheat in zip(contract.CHECKS, alone, strict=True):
        assert [check for check in contract.CHECKS if catches(check, cheat, data_dir)] == [one]


def catches(one: Callable[[Subject], None], cheat: type[Method], data_dir: Path) -> bool:
    try:
        one(make_subject(cheat, data_dir))
    except ContractBroken:
        return True
    return False


def test_validation_data_are_closed_too(data_dir: Path) -> None:
    """A task with validation data passes, and hands them to nobody afterwards."""
    subject = make_subject(Joint, data_dir)

    def tasks() -> list[Task]:
        return [Task(t.index, t.classes, t.train, t.train) for t in subject.tasks()]

    check(replace(subject, tasks=tasks))
