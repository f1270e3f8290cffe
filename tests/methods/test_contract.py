"""Every registered method keeps the contract, and every check catches its planted cheat."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from methods.core import contract
from methods.core.contract import ContractBroken, Subject, check
from methods.core.log import SILENT, Log
from methods.core.method import Method
from methods.core.registry import method_class, method_names
from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, Task
from methods.joint import Joint
from methods.naive import Naive
from methods.networks import Backbone, Mlp
from methods.rehearsal import Replay
from orchestrator.data import StreamConfig, open_stream

#: Processor time that all checks of one method may take.
SECONDS = 6.0

#: Tasks that are learnt, out of five: enough to resume twice, and classes remain unseen.
TASKS = 3

#: Options that each method is tried with, as far as it has them.
CASES: tuple[dict[str, Any], ...] = (
    {"buffer_size": 20},
    {"freeze_depth": 1, "replay_loss": "mean", "mode": "online"},
    {"optimizer": {"name": "adam", "reset": "task"}, "freeze_depth": 2, "freeze_from": "start"},
    {
        "network": {"name": "cnn", "widths": [4], "hidden": [16]},
        "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "reset": "task"},
        "freeze_depth": 1,
        "per_class": 3,
    },
)


def buffer(policy: str) -> dict[str, Any]:
    return {"buffer_size": 20, "memory": {"name": "buffer", "policy": policy}}


def generator(name: str, refresh: str, **options: Any) -> dict[str, Any]:
    return {"buffer_size": 20, "memory": {"name": name, "refresh": refresh, **options}}


#: Options that only some methods have, in the order of their cases above.
OWN_CASES: dict[str, tuple[dict[str, Any], ...]] = {
    "ewc": ({"fisher": "sampled"}, {"gamma": 0.9}, {"fisher": "empirical"}, {}),
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
        {},
    ),
}


def cases_of(name: str) -> list[dict[str, Any]]:
    return [case | own for case, own in zip(CASES, OWN_CASES.get(name, ({},) * 4), strict=True)]


def make_subject(
    method: type[Method],
    data_dir: Path,
    options: dict[str, Any] | None = None,
    scenario: Scenario = Scenario.CLASS_INCREMENTAL,
) -> Subject:
    stream = open_stream(
        StreamConfig(dataset="split-digits", scenario=scenario, train_per_task=120), data_dir
    )
    tests = [stream.test(task).gather(torch.arange(24)) for task in range(TASKS)]
    small = {
        "network": {"name": "mlp", "widths": [16, 16]},
        "budget": {"iterations": 5, "batch_size": 16},
    } | (options or {})
    has = method.Config.model_fields  # type: ignore[attr-defined]
    config = method.Config.model_validate({k: v for k, v in small.items() if k in has})
    return Subject(
        method,
        config,
        stream.info,
        lambda: [stream.task(index) for index in range(TASKS)],
        tests,
    )


@pytest.fixture(scope="module")
def warm(data_dir: Path) -> None:
    """Pay once for what PyTorch imports when it takes its first steps."""
    check(make_subject(Naive, data_dir))


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


# Cheats, each named after what it does ------------------------------------------------------------


class PeeksAtItsCaller(Naive):
    def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
        logits = super().predict(x, task_id)
        frame = sys._getframe(1)
        for thing in frame.f_locals.values():
            if isinstance(thing, Batch) and thing.x is x and thing.y is not None:
                logits[torch.arange(len(x)), thing.y] += 1000.0
        return logits


class GuessesTheTaskFromTheBatch(Naive):
    def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
        logits = super().predict(x, task_id)
        return torch.where(logits.isfinite(), logits - logits.mean(0), logits)


class TrainsItsBatchNormOnTests(Naive):
    def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
        images = x.flatten(1).float()
        standard = (images - images.mean(0)) / (images.std(0) + 1)
        logits: Tensor = self.network(standard.view(x.shape).clamp(0, 1))
        return logits.detach().masked_fill(~self.eligible(task_id), -torch.inf)


class CountsItsCalls(Naive):
    calls = 0

    def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
        self.calls += 1
        return super().predict(x, task_id) + self.calls % 7


class AdaptsToTests(Naive):
    shown = 0

    def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
        self.shown += len(x)
        return super().predict(x, task_id)

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"shown": self.shown}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.shown = state["shown"]


class SpoilsTheImages(Naive):
    def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
        return super().predict(x.bitwise_or_(1), task_id)


class AllowsUnseenClasses(Naive):
    def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
        return super().predict(x, task_id).nan_to_num(neginf=-1e9)


class AddsAnOutput(Naive):
    def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
        logits = super().predict(x, task_id)
        return torch.cat([logits, logits[:, :1]], 1)


class NeverCloses(Naive):
    def learn(self, task: Task, log: Log = SILENT) -> None:  # type: ignore[misc]
        self.fit(task, log)
        self.remember(task, log)
        self.tasks_learned += 1


class ReadsAnEarlierTask(Naive):
    def after_task(self, task: Task, log: Log) -> None:
        self.last = task

    def before_task(self, task: Task) -> None:
        if self.tasks_learned:
            self.last.train.gather(torch.arange(8))


class GoesRoundTheLock(Naive):
    def after_task(self, task: Task, log: Log) -> None:
        self.last = task.train._examples  # type: ignore[attr-defined]

    def before_task(self, task: Task) -> None:
        if self.tasks_learned:
            self.last.gather(torch.arange(8))


class HoldsOnToTheData(Naive):
    def after_task(self, task: Task, log: Log) -> None:
        self.last = task.train._examples  # type: ignore[attr-defined]


class SeedsNumpy(Naive):
    def before_task(self, task: Task) -> None:
        np.random.seed(task.index)


class SeedsPyTorch(Naive):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        torch.manual_seed(0)


class DrawsWhilePredicting(Naive):
    def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
        random.random()
        return super().predict(x, task_id)


class DrawsWhileSampling(Replay):
    def sample(self, n: int, **asked: Any) -> Batch | None:
        torch.rand(1)
        return super().sample(n, **asked)


class TakesEntropy(Naive):
    def edit_gradients(self) -> None:
        noise = torch.Generator()
        noise.seed()
        self.network.head.weight.grad += torch.rand((), generator=noise)  # type: ignore[operator]


class IgnoresTheSeed(Naive):
    def __init__(self, config: Any, stream: Any, rng: Rng, device: Any) -> None:
        super().__init__(config, stream, Rng(0), device)


class ForgetsItsOptimizer(Naive):
    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"optimizer": None}


class ForgetsItsMemory(Replay):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.memory.priority = self.memory.priority.flip(0)


class ForgetsItsStep(Naive):
    step = 0

    def edit_gradients(self) -> None:
        self.step += 1
        self.network.head.weight.grad /= self.step  # type: ignore[operator]


class SavesReferences(Naive):
    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"network": self.network.state_dict()}


class LoadsReferences(Naive):
    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.network.load_state_dict(state["network"], assign=True)


class SavesObjects(Naive):
    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"rng": self.rng}


class Hides(Naive):
    """Keeps one image of each task, somewhere that ``owners`` does not name."""

    def after_task(self, task: Task, log: Log) -> None:
        self.hide(task.train.gather(torch.zeros(1, dtype=torch.int64)).x[0])

    def hide(self, image: Tensor) -> None:
        raise NotImplementedError


class HidesInAnAttribute(Hides):
    def hide(self, image: Tensor) -> None:
        self.image = image


class HidesInBytes(Hides):
    def hide(self, image: Tensor) -> None:
        self.image = image.numpy().tobytes()


class HidesInNumbers(Hides):
    def hide(self, image: Tensor) -> None:
        self.image = image.flatten().tolist()


class HidesInRows(Hides):
    def hide(self, image: Tensor) -> None:
        self.image = image.tolist()


class HidesInText(Hides):
    def hide(self, image: Tensor) -> None:
        self.image = image.numpy().tobytes().hex()


class HidesInOneNumber(Hides):
    def hide(self, image: Tensor) -> None:
        self.image = int.from_bytes(image.numpy().tobytes(), "big")


class HidesInAClosure(Hides):
    def hide(self, image: Tensor) -> None:
        self.show = lambda: image


class HidesOnItsGenerators(Hides):
    def hide(self, image: Tensor) -> None:
        self.rng.image = image  # type: ignore[attr-defined]


class HidesOnItsClass(Hides):
    images: ClassVar[list[Tensor]] = []

    def hide(self, image: Tensor) -> None:
        self.images.append(image)


_hidden: dict[int, Tensor] = {}


class HidesInItsModule(Hides):
    def hide(self, image: Tensor) -> None:
        _hidden[len(_hidden)] = image


class StealsTheTests(Naive):
    def before_task(self, task: Task) -> None:
        self.tests = torch.zeros(100, 64, dtype=torch.uint8)


class DeclaresTooMuch(Naive):
    def owners(self) -> dict[str, object]:
        return super().owners() | {"more": torch.zeros(10)}


class PolishesAfterwards(Naive):
    def after_task(self, task: Task, log: Log) -> None:
        with torch.no_grad():
            self.network.head.weight.mul_(1.01)


class SamplesAnyClass(Replay):
    def sample(self, n: int, **asked: Any) -> Batch | None:
        return super().sample(n)


class SamplesFloats(Replay):
    def sample(self, n: int, **asked: Any) -> Batch | None:
        batch = super().sample(n, **asked)
        return None if batch is None else batch._replace(x=batch.x.float())


CHEATS: dict[type[Method], str] = {
    PeeksAtItsCaller: "change with the labels",
    GuessesTheTaskFromTheBatch: "depends on the others in its batch",
    TrainsItsBatchNormOnTests: "depends on the others in its batch",
    CountsItsCalls: "change from one call to the next",
    AdaptsToTests: r"predict\(\) changes the method",
    SpoilsTheImages: "changes the images",
    AllowsUnseenClasses: "not -inf exactly",
    AddsAnOutput: r"logits are \(24, 11\), not \(24, 10\)",
    NeverCloses: r"learn\(\) is overridden",
    ReadsAnEarlierTask: "an earlier task are read again",
    GoesRoundTheLock: "an earlier task are read again",
    HoldsOnToTheData: "but the method reaches",
    SeedsNumpy: r"learn\(\) moves the global generator of numpy",
    SeedsPyTorch: r"__init__\(\) moves the global generator of PyTorch",
    DrawsWhilePredicting: r"predict\(\) moves the global generator of Python",
    DrawsWhileSampling: r"sample\(\) moves the global generator of PyTorch",
    TakesEntropy: "one seed gives two results",
    IgnoresTheSeed: "two seeds give the same",
    ForgetsItsOptimizer: "task 1 ends otherwise",
    ForgetsItsMemory: "ends otherwise",
    ForgetsItsStep: "task 1 ends otherwise",
    SavesReferences: r"changes a state_dict\(\) that was taken before .*network",
    LoadsReferences: "changes the state that was loaded .*network",
    SavesObjects: "other things than tensors",
    HidesInAnAttribute: "but the method reaches",
    HidesInBytes: "but the method reaches",
    HidesInNumbers: "but the method reaches",
    HidesInRows: "but the method reaches",
    HidesInText: "but the method reaches",
    HidesInOneNumber: "but the method reaches",
    HidesInAClosure: "but the method reaches",
    HidesOnItsGenerators: "but the method reaches",
    HidesOnItsClass: "bytes are kept on classes or modules",
    HidesInItsModule: "bytes are kept on classes or modules",
    StealsTheTests: "but the method reaches",
    DeclaresTooMuch: "but the method reaches",
    PolishesAfterwards: r"remember\(\) changes the predictions",
    SamplesAnyClass: "other classes than those asked for",
    SamplesFloats: "not images",
}


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
