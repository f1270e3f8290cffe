"""Methods that break the contract, each named after what it does, and what is said of it."""

from __future__ import annotations

import random
import sys
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from methods.core.log import SILENT, Log
from methods.core.method import Method
from methods.core.rng import Rng
from methods.core.task import Batch, Task
from methods.naive import Naive
from methods.replay import Replay


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
