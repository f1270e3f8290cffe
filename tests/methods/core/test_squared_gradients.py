"""Squared gradients against a loop of autograd over single examples."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods.core import squared_gradients as module
from methods.core.classifier import Network
from methods.core.squared_gradients import squared_gradients
from methods.core.task import Scenario, StreamInfo
from methods.networks import Backbone, Cnn, Mlp

SHAPE, CLASSES = (1, 6, 6), 4
STREAM = StreamInfo(Scenario.DOMAIN_INCREMENTAL, 1, SHAPE, CLASSES, (tuple(range(CLASSES)),))


class Twice(nn.Module):
    """Goes through one layer two times."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(36, 36)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.layer(torch.tanh(self.layer(x.flatten(1))))
        return hidden


class Rows(nn.Module):
    """Gives a layer six rows of each image."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.layer(x.flatten(1, 2))
        return hidden.flatten(1)


def tied() -> list[nn.Module]:
    one, other = nn.Linear(36, 36), nn.Linear(36, 36)
    other.weight = one.weight
    return [nn.Sequential(nn.Flatten(), one, nn.Tanh()), nn.Sequential(other, nn.Tanh())]


def no_bias() -> list[nn.Module]:
    return [nn.Sequential(nn.Flatten(), nn.Linear(36, 8, bias=False), nn.ReLU(inplace=True))]


def normed() -> list[nn.Module]:
    conv, norm = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.running_mean.normal_()  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return [nn.Sequential(conv, norm, nn.ReLU(inplace=True), nn.Dropout(0.5))]


NETWORKS: dict[str, Any] = {
    "mlp": lambda: list(Mlp(widths=(9, 7)).build(SHAPE).blocks),
    "cnn": lambda: list(Cnn(widths=(3,), hidden=(5,)).build(SHAPE).blocks),
    "batch norm and dropout": normed,
    "no bias, activation in place": no_bias,
    "layer called twice": lambda: [Twice()],
    "layer of many rows": lambda: [Rows()],
    "shared weights": tied,
}


def make_network(name: str, frozen: int = 0) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Network(Backbone(NETWORKS[name](), SHAPE), STREAM)
    network.backbone.freeze(frozen)
    return network.eval()


def make_examples(n: int = 12) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(256, (n, *SHAPE), generator=generator, dtype=torch.uint8)
    y = torch.randint(CLASSES, (n,), generator=generator)
    eligible = torch.rand(n, CLASSES, generator=generator) < 0.7
    eligible[torch.arange(n), y] = True
    return x, y, eligible, torch.rand(n, generator=generator)


def one_by_one(
    network: Network, entry: int, x: Tensor, y: Tensor, eligible: Tensor, weight: Tensor
) -> dict[str, Tensor]:
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p.detach()) for name, p in learning.items()}
    for i in range(len(x)):
        logits = network(x[i : i + 1], entry)[0]
        classes = eligible[i].nonzero().squeeze(1).tolist()
        log_p = logits[classes].log_softmax(0)[classes.index(int(y[i]))]
        gradients = torch.autograd.grad(log_p, list(learning.values()))
        for name, gradient in zip(learning, gradients, strict=True):
            total[name] += weight[i] * gradient.square()
    return total


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert list(one) == list(other)
    for name in one:
        scale = float(other[name].max())
        assert scale > 0
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-6 * scale)


@pytest.mark.parametrize("name", NETWORKS)
def test_equal_to_a_loop_over_examples(name: str) -> None:
    network, examples = make_network(name), make_examples()
    assert_same(squared_gradients(network, 0, *examples), one_by_one(network, 0, *examples))


def test_few_at_once_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    network, examples = make_network("cnn"), make_examples()
    monkeypatch.setattr(module, "_HELD_AT_ONCE", 5 * 30)  # 30 weights of a convolution
    assert_same(squared_gradients(network, 0, *examples), one_by_one(network, 0, *examples))


@pytest.mark.parametrize(("name", "frozen"), [("mlp", 1), ("cnn", 1), ("mlp", 2)])
def test_frozen_blocks_take_no_part(name: str, frozen: int) -> None:
    network, (x, *rest) = make_network(name, frozen), make_examples()
    entering = network.backbone.run(x, 0, frozen)
    squares = squared_gradients(network, frozen, entering, *rest)
    assert not any(f"blocks.{block}." in key for key in squares for block in range(frozen))
    assert_same(squares, one_by_one(network, frozen, entering, *rest))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_left_as_it_was(name: str) -> None:
    network, examples = make_network(name), make_examples()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with torch.no_grad():  # a caller's mode makes no difference
        squared_gradients(network, 0, *examples)
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())
    assert not any(m._forward_hooks for m in network.modules())
