"""Brain-inspired replay on real digits: it keeps the past, and draws it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from methods.bi_r import BrainInspiredReplay
from methods.core.rng import Rng
from methods.core.task import Batch
from methods.feedback import Code
from orchestrator.data import StreamConfig, TaskStream, open_stream


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> TaskStream:
    folder = tmp_path_factory.mktemp("digits")
    return open_stream(StreamConfig(dataset="split-digits", tasks=5), folder)


def learnt(digits: TaskStream, tasks: int, **options: object) -> BrainInspiredReplay:
    small = {
        "network": {"name": "mlp", "widths": [64, 64]},
        "budget": {"iterations": 250, "batch_size": 32},
        "optimizer": {"name": "adam", "lr": 0.003},
        "latent_dim": 10,
    }
    config = BrainInspiredReplay.Config.model_validate(small | options)
    method = BrainInspiredReplay(config, digits.info, Rng(0))
    for index in range(tasks):
        method.learn(digits.task(index))
    return method


@pytest.fixture(scope="module")
def three(digits: TaskStream) -> BrainInspiredReplay:
    return learnt(digits, 3)


def real_images(digits: TaskStream, task: int) -> tuple[Tensor, Tensor]:
    test: Batch = digits.test(task).gather(torch.arange(len(digits.test(task))))
    assert test.y is not None
    return test.x, test.y


@pytest.mark.parametrize("task", [0, 1, 2])
def test_it_keeps_the_past(task: int, digits: TaskStream, three: BrainInspiredReplay) -> None:
    """Fine-tuning has 0 of all tasks but the last."""
    x, y = real_images(digits, task)
    assert three.predict(x).argmax(1).eq(y).float().mean() > 0.8


def test_draws_are_of_the_class_asked_for(digits: TaskStream, three: BrainInspiredReplay) -> None:
    """As the nearest of the real images has it."""
    parts = [real_images(digits, task) for task in range(3)]
    x, y = (torch.cat(part) for part in zip(*parts, strict=True))
    drawn = three.sample(300)
    assert drawn is not None
    assert drawn.y is not None
    nearest = torch.cdist(drawn.x.flatten(1).float(), x.flatten(1).float()).argmin(1)
    assert y[nearest].eq(drawn.y).float().mean() > 0.9


@pytest.mark.parametrize("depth", [0, 1])
def test_the_posterior_does_not_collapse(depth: int, digits: TaskStream) -> None:
    """A code says more of its item than the class does: codes of other ones fit worse, by nats."""
    options = {"freeze_depth": depth, "budget": {"iterations": 500, "batch_size": 32}}
    network = learnt(digits, 1, **options, freeze_from="start").network
    x, y = real_images(digits, 0)
    ones = network.backbone.run(x[y == 1], 0, depth)
    label = torch.ones(len(ones), dtype=torch.int64)
    context = network.context(label, torch.zeros_like(label))
    with torch.no_grad():
        hidden = network.backbone.run(ones, depth)
        code = network.feedback.encode(hidden, torch.Generator().manual_seed(0))
        own = network.feedback.reconstruction(ones, code, context).mean()
        of_others = Code(*(part.roll(1, 0) for part in code))
        other = network.feedback.reconstruction(ones, of_others, context).mean()
        divergence = network.feedback.prior.divergence(code, label).mean()
    assert divergence > 0.5
    assert other - own > 1.0
