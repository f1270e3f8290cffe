"""The classifier of deep generative replay: its size, its blocks, and batch norm when frozen."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn
from torch.nn.functional import conv2d

from methods.core.classifier import Network
from methods.core.rng import Rng
from methods.core.task import Scenario, StreamInfo, Task, TensorExamples
from methods.naive import Naive
from methods.networks import DgrCnn, NetworkConfig

SHAPE = (1, 12, 10)


def info(shape: tuple[int, int, int] = SHAPE, classes: int = 4, tasks: int = 2) -> StreamInfo:
    each = classes // tasks
    classes_of = tuple(tuple(range(each * t, each * (t + 1))) for t in range(tasks))
    return StreamInfo(Scenario.CLASS_INCREMENTAL, tasks, shape, classes, classes_of)


def images(n: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, *shape), generator=generator, dtype=torch.uint8)


def make_task(index: int, n: int = 24) -> Task:
    y = torch.tensor(info().classes_of[index])[torch.arange(n) % 2]
    return Task(index, info().classes_of[index], TensorExamples(images(n, seed=index), y))


def make(**options: Any) -> Naive:
    small = {
        "network": {"name": "dgr-cnn", "channels": 16},
        "budget": {"iterations": 3, "batch_size": 8},
        "optimizer": {"name": "adam", "betas": [0.5, 0.9], "weight_decay": 1e-5},
    }
    return Naive(Naive.Config.model_validate(small | options), info(), Rng(0))


def state(method: Naive) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in method.network.state_dict().items()}


@pytest.mark.parametrize(("channels", "expected"), [(1, 6_363_658), (3, 6_365_962)])
def test_parameters_as_published(channels: int, expected: int) -> None:
    shape = (channels, 32, 32)
    with torch.device("meta"):
        head = nn.Linear(16_384, 10)
    backbone = DgrCnn().build(shape)
    assert backbone.features == head.in_features
    counted = sum(p.numel() for part in (backbone, head) for p in part.parameters())
    assert counted == expected
    assert backbone.shapes == (shape, (128, 32, 32), (256, 16, 16), (512, 8, 8), (1024, 4, 4))


def test_scaled_down_with_its_head() -> None:
    network = Network(DgrCnn(channels=64).build((1, 32, 32)), info(classes=10))
    widths = (8, 16, 32, 64)
    expected = 1 * 9 * 8 + 8 + 64 * 4 * 4 * 10 + 10
    for before, after in pairwise(widths):
        expected += before * 9 * after + after + 2 * after
    assert sum(p.numel() for p in network.parameters()) == expected
    assert network.backbone.shapes[-1] == (64, 4, 4)


def test_it_computes_what_is_written() -> None:
    """The first block is linear, the others are clipped at 0 and normalised before."""
    with Rng(0).scoped("initialisation"):
        backbone = DgrCnn(channels=8).build(SHAPE).train()
    weights = backbone.state_dict()
    x = images(6) / 255
    first = backbone.run(x, 0, 1)
    torch.testing.assert_close(
        first, conv2d(x, weights["blocks.0.weight"], weights["blocks.0.bias"], padding=1)
    )
    assert first.min() < 0
    for depth in (2, 3, 4):
        kernel, bias = (weights[f"blocks.{depth - 1}.0.{part}"] for part in ("weight", "bias"))
        z = conv2d(backbone.run(x, 0, depth - 1), kernel, bias, stride=2, padding=1)
        mean, variance = z.mean((0, 2, 3), keepdim=True), z.var((0, 2, 3), False, keepdim=True)
        normalised = (z - mean) / (variance + 1e-5).sqrt()
        expected = normalised.clamp_min(0)
        torch.testing.assert_close(backbone.run(x, 0, depth), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("size", "last"), [((28, 28), (4, 4)), ((8, 8), (1, 1)), ((1, 3), (1, 1)), ((33, 9), (5, 2))]
)
def test_images_of_any_size(size: tuple[int, int], last: tuple[int, int]) -> None:
    config = DgrCnn(channels=8)
    backbone = config.build((2, *size))
    assert backbone.depth == config.depth == 4
    assert backbone.shapes[-1] == (8, *last)
    assert backbone.run(images(3, (2, *size))).shape == (3, 8, *last)


def test_it_is_found_by_name() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(NetworkConfig)
    assert adapter.validate_python("dgr-cnn") == DgrCnn()
    assert adapter.validate_python({"name": "dgr-cnn", "channels": 64}) == DgrCnn(channels=64)


@pytest.mark.parametrize(("channels", "message"), [(12, "give a multiple of 8"), (0, "greater")])
def test_widths_that_cannot_be_halved(channels: int, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DgrCnn(channels=channels)


def test_prediction_leaves_the_statistics_and_reads_each_image_alone() -> None:
    method = make()
    method.learn(make_task(0))
    before, x = state(method), images(10, seed=9)
    together = method.predict(x)
    assert torch.allclose(method.predict(x[:1]), together[:1], atol=1e-5)
    after = state(method)
    assert all(torch.equal(after[name], before[name]) for name in before)
    # The statistics are of the task's images, not those that a fresh network starts with.
    assert before["backbone.blocks.3.1.num_batches_tracked"] == 3
    assert not torch.equal(before["backbone.blocks.3.1.running_var"], torch.ones(16))


def test_frozen_blocks_keep_weights_and_statistics() -> None:
    """Neither a step nor weight decay nor a batch of training moves what is frozen."""
    method = make(freeze_depth=3)
    method.learn(make_task(0))
    before = state(method)
    method.network.train()
    modes = [block.training for block in method.network.backbone.blocks]
    assert modes == [False, False, False, True]
    method.learn(make_task(1))
    after = state(method)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    frozen = tuple(f"backbone.blocks.{i}." for i in range(3))
    assert not {name for name in moved if name.startswith(frozen)}
    assert {name for name in before if not name.startswith(frozen)} == moved
    learning = {p for group in method.optimizer.param_groups for p in group["params"]}  # type: ignore[union-attr]
    assert learning == {p for p in method.network.parameters() if p.requires_grad}


def test_activations_of_the_frozen_prefix_do_not_depend_on_their_batch() -> None:
    method = make(freeze_depth=2)
    method.learn(make_task(0))
    method.network.train()
    x = images(6)
    together = method.network.backbone.run(x, 0, 2)
    alone = torch.cat([method.network.backbone.run(one, 0, 2) for one in torch.split(x, 1)])
    torch.testing.assert_close(together, alone)
