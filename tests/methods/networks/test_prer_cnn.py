"""The encoders of pseudo-rehearsal: their sizes, their blocks, and what they compute."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from torch.nn.functional import conv2d

from methods.core.classifier import Network
from methods.core.rng import Rng
from methods.core.task import Scenario, StreamInfo
from methods.networks import NetworkConfig, PrerCnnCifar, PrerCnnMnist

MNIST, CIFAR = (1, 28, 28), (3, 32, 32)


def info(shape: tuple[int, int, int]) -> StreamInfo:
    classes_of = tuple((2 * t, 2 * t + 1) for t in range(5))
    return StreamInfo(Scenario.TASK_INCREMENTAL, 5, shape, 10, classes_of)


@pytest.mark.parametrize(
    ("config", "shape", "encoder", "head"),
    [
        # 4 × 4 × 1 × 12 + 12, 4 × 4 × 12 × 24 + 24, 864 × 100 + 100
        (PrerCnnMnist(), MNIST, 204 + 4_632 + 86_500, 10_100 + 2_525 + 52),
        # 3 × 3 × {3 × 24, 24 × 24, 24 × 48}, 4 × 4 × 48 × 48, 6,912 × 200, and biases
        (PrerCnnCifar(), CIFAR, 672 + 5_208 + 10_416 + 36_912 + 1_382_600, 40_200 + 10_050 + 102),
        (PrerCnnCifar(embedding=400), CIFAR, 53_208 + 2_765_200, 160_400 + 40_100 + 202),
    ],
)
def test_parameters(
    config: PrerCnnMnist | PrerCnnCifar, shape: tuple[int, int, int], encoder: int, head: int
) -> None:
    network = Network(config.build(shape), info(shape))
    assert sum(p.numel() for p in network.backbone.parameters()) == encoder
    assert sum(p.numel() for p in network.head.parameters()) == 5 * head


def test_shapes() -> None:
    mnist, cifar = PrerCnnMnist(), PrerCnnCifar()
    assert mnist.build(MNIST).shapes == (MNIST, (12, 14, 14), (24, 6, 6), (100,))
    inner = ((24, 30, 30), (24, 28, 28), (48, 26, 26), (48, 12, 12))
    assert cifar.build(CIFAR).shapes == (CIFAR, *inner, (200,))
    for config, shape in ((mnist, MNIST), (cifar, CIFAR)):
        assert config.build(shape).depth == config.depth


def test_it_computes_what_is_written() -> None:
    """Neither the last convolution nor the embedding is cut at 0."""
    with Rng(0).scoped("initialisation"):
        backbone = PrerCnnMnist().build(MNIST)
    weights = backbone.state_dict()
    x = torch.rand(3, *MNIST, generator=torch.Generator().manual_seed(0))
    z = conv2d(x, weights["blocks.0.0.weight"], weights["blocks.0.0.bias"], 2, 1).clamp_min(0)
    z = conv2d(z, weights["blocks.1.weight"], weights["blocks.1.bias"], 2)
    torch.testing.assert_close(backbone.run(x, 0, 2), z)
    embedding = z.flatten(1) @ weights["blocks.2.1.weight"].T + weights["blocks.2.1.bias"]
    torch.testing.assert_close(backbone.run(x), embedding)
    assert z.min() < 0
    assert embedding.min() < 0


@pytest.mark.parametrize(
    ("config", "shape"),
    [(PrerCnnMnist(), (3, 9, 13)), (PrerCnnMnist(), (1, 8, 8)), (PrerCnnCifar(), (1, 10, 17))],
)
def test_images_of_any_size(
    config: PrerCnnMnist | PrerCnnCifar, shape: tuple[int, int, int]
) -> None:
    assert config.build(shape).run(torch.zeros(2, *shape)).shape == (2, config.embedding)


@pytest.mark.parametrize("config", [PrerCnnMnist(), PrerCnnCifar()])
def test_images_that_are_too_small(config: PrerCnnMnist | PrerCnnCifar) -> None:
    with pytest.raises(ValueError, match="7 × 30 are too small"):
        config.build((1, 7, 30))


def test_they_are_found_by_name() -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(NetworkConfig)
    assert adapter.validate_python("prer-cnn-mnist") == PrerCnnMnist()
    expected = PrerCnnCifar(embedding=400)
    assert adapter.validate_python({"name": "prer-cnn-cifar", "embedding": 400}) == expected
