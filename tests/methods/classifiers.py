"""Classifiers on a stream of three tasks of random images, and which of their weights move."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from methods.core.classifier import Classifier
from methods.core.rng import Rng
from methods.core.task import Scenario, StreamInfo, Task, TensorExamples
from methods.naive import Naive
from methods.networks import Backbone, Mlp

SHAPE = (1, 4, 4)
CLASSES_OF = ((0, 1), (2, 3), (4, 5))


def info(scenario: Scenario = Scenario.CLASS_INCREMENTAL) -> StreamInfo:
    """Return three tasks of two classes each."""
    if scenario is Scenario.DOMAIN_INCREMENTAL:
        return StreamInfo(scenario, 3, SHAPE, 2, ((0, 1),) * 3)
    return StreamInfo(scenario, 3, SHAPE, 6, CLASSES_OF)


def make_task(index: int, stream: StreamInfo | None = None, n: int = 40) -> Task:
    """Return a task whose two classes take turns."""
    generator = torch.Generator().manual_seed(index)
    x = torch.randint(256, (n, *SHAPE), generator=generator, dtype=torch.uint8)
    classes = torch.tensor((stream or info()).classes_of[index])
    return Task(index, tuple(classes.tolist()), TensorExamples(x, classes[torch.arange(n) % 2]))


class Noisy(Mlp):
    """Blocks with dropout and batch norm, some of them without parameters."""

    @property
    def depth(self) -> int:
        return 3

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        blocks: list[nn.Module] = [
            nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8)),
            nn.Dropout(0.5),
            nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.ReLU()),
        ]
        return Backbone(blocks, shape)


def make(
    method: type[Classifier] = Naive,
    scenario: Scenario = Scenario.CLASS_INCREMENTAL,
    seed: int = 0,
    **options: Any,
) -> Any:
    """Return a method that has learnt nothing."""
    small = {
        "network": {"name": "mlp", "widths": [8, 8, 8]},
        "budget": {"iterations": 4, "batch_size": 16},
    }
    config = method.Config.model_validate(small | options)
    return method(config, info(scenario), Rng(seed))


def weights(method: Classifier) -> dict[str, Tensor]:
    """Return a copy of the network's parameters and statistics."""
    return {name: value.clone() for name, value in method.network.state_dict().items()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """Return the names of those that differ."""
    return {name for name in before if not torch.equal(before[name], after[name])}


def alike(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    """Whether both hold the same, to the last bit."""
    return one.keys() == other.keys() and not moved(one, other)
