"""The published networks of deep generative replay: sizes, and the numbers of their defects."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from methods.core.rng import Rng
from methods.core.training import Budget
from methods.memories import Setting, WganGpConfig
from methods.memories.generator_network import Labelled
from methods.memories.neural import NeuralMemory
from methods.memories.pool import Pool
from methods.memories.wgan_gp import gradient_penalties
from methods.memories.wgan_networks import ConvCritic
from methods.memories.wgan_released import (
    ReleasedCritic,
    ReleasedWganGp,
    ReleasedWganGpConfig,
    check_released,
    pixel_penalties,
)

IMAGE = (1, 32, 32)
STEPS = Budget(iterations=3, batch_size=8)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """The same networks and images in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_published_number_of_parameters() -> None:
    assert count(ReleasedCritic(64, IMAGE)) == 2_758_593
    assert count(ConvCritic(64, IMAGE)) == 2_759_105


def test_32_images_have_36_scores() -> None:
    x = torch.rand(32, *IMAGE, generator=seeded())
    assert ReleasedCritic(8, IMAGE)(x).shape == (36,)
    assert ReleasedCritic(2, (3, 32, 32))(torch.rand(8, 3, 32, 32)).shape == (9,)


def test_scores_mix_neighbours_within_eight_images() -> None:
    with Rng(0).scoped("initialisation"):
        critic = ReleasedCritic(2, IMAGE)
    nn.init.normal_(critic.layers[-1].weight, generator=seeded())
    x = torch.rand(16, *IMAGE, generator=seeded())
    features = critic.layers[:-1](x)
    assert features.shape == (16, 16 * 9)
    last = critic.layers[-1]
    by_hand = [last(row) for row in features.flatten().split(16 * 8)]
    torch.testing.assert_close(critic(x), torch.cat(by_hand))
    other = x.clone()
    other[1] = 0
    changed = (critic(other) - critic(x)).abs() > 0
    assert changed.nonzero().flatten().tolist() == [1, 2]


def test_other_batches_and_images_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 8, not 12"):
        ReleasedCritic(2, IMAGE)(torch.rand(12, *IMAGE))
    with pytest.raises(ValueError, match="pad_to: 32"):
        ReleasedCritic(2, (1, 28, 28))


def test_penalty_of_a_linear_critic_is_of_each_pixel() -> None:
    """Slopes (3, 4) over two channels of one pixel and 0 at the other: norms 5 and 0."""
    direction = torch.tensor([[[3.0, 0.0]], [[4.0, 0.0]]])  # [2, 1, 2]
    x, g = torch.rand(2, 5, 2, 1, 2, generator=seeded())
    share = torch.rand(5, generator=seeded())

    def score(at: Tensor) -> Tensor:
        return (at * direction).sum((1, 2, 3))

    released = pixel_penalties(score, x, g, share)
    torch.testing.assert_close(released, torch.full((5,), ((1 - 5) ** 2 + (1 - 0) ** 2) / 2))
    torch.testing.assert_close(gradient_penalties(score, x, g, share), torch.full((5,), 16.0))


def test_penalty_of_a_quadratic_critic_with_one_channel() -> None:
    x, g = torch.randn(2, 4, 1, 3, 2, generator=seeded(), dtype=torch.float64)
    share = torch.linspace(0, 1, 4, dtype=torch.float64)
    released = pixel_penalties(lambda at: at.square().sum((1, 2, 3)) / 2, x, g, share)
    part = share.numpy()[:, None, None, None]
    at = part * x.numpy() + (1 - part) * g.numpy()  # its own slope
    np.testing.assert_allclose(released.detach().numpy(), ((1 - np.abs(at)) ** 2).mean((1, 2, 3)))


@pytest.mark.parametrize("replayed", [0, 8, 16])
def test_both_halves_at_once_are_the_published_loss(replayed: int) -> None:
    config = ReleasedWganGpConfig(channels=2, latents=4, critic_steps=1)
    with Rng(0).scoped("initialisation"):
        network = config.network(IMAGE, 0)
    for parameter in network.critic.parameters():  # slopes far from 0
        parameter.data.normal_(std=0.3, generator=seeded())
    new = Labelled(torch.rand(8, *IMAGE, generator=seeded(1)), None)
    old = Labelled(torch.rand(replayed, *IMAGE, generator=seeded(2)), None) if replayed else None
    halves = [(new, 0.3 if replayed else 1.0)] + ([(old, 0.7)] if old else [])
    same = copy.deepcopy(network).train()
    noise, rows = seeded(3), sum(len(half.x) for half, _ in halves)
    with torch.no_grad():
        fake = same.generator(torch.randn(max(8, replayed), 4, generator=noise))
    share, start, loss = torch.rand(rows, generator=noise), 0, torch.zeros(())
    for half, weight in halves:  # one after the other, as the published code does
        drawn, part = fake[: len(half.x)], share[start : start + len(half.x), None, None, None]
        start += len(half.x)
        between = (part * half.x + (1 - part) * drawn).requires_grad_()
        scores = same.critic(between)
        (slope,) = torch.autograd.grad(scores, between, torch.ones_like(scores), create_graph=True)
        penalty = (1 - (slope + 1e-16).norm(2, dim=1)).square().mean()
        distance = same.critic(half.x).mean() - same.critic(drawn).mean()
        loss = loss + weight * (10 * penalty - distance)
    network.train()
    steps = {name: torch.optim.SGD(p.parameters(), 0.0) for name, p in network.parts().items()}
    terms = network.step(new, old, 0.3 if replayed else 1.0, steps, seeded(3))
    torch.testing.assert_close(terms["critic"], loss.detach(), rtol=1e-3, atol=1e-5)


def test_the_memory_as_released_is_made_of_them() -> None:
    config = WganGpConfig(channels=2, latents=4, iterations=2)
    pool = config.build(Setting(budget=STEPS, as_released=True))
    assert isinstance(pool, Pool)
    assert isinstance(pool.generator, NeuralMemory)
    made = pool.generator.config.network(IMAGE, 0)
    assert isinstance(made, ReleasedWganGp)
    assert isinstance(made.critic, ReleasedCritic)
    kept = pool.generator.config.canonical()
    assert kept == config.canonical()


@pytest.mark.parametrize(
    ("options", "budget", "message"),
    [
        ({"channels": None}, STEPS, "give channels"),
        ({"conditional": True}, STEPS, "conditional is False"),
        ({"batch_norm": "running"}, STEPS, "batch_norm is batch"),
        ({"refresh": "task"}, STEPS, "refresh is step"),
        ({"batch_size": 20}, STEPS, "multiple of 8, not 20"),
        ({"replay_batch": 12}, STEPS, "multiple of 8, not 12"),
        ({}, Budget(iterations=3, batch_size=100), "multiple of 8, not 100"),
        ({}, Budget(epochs=1, batch_size=8), "count in iterations"),
    ],
)
def test_what_the_published_code_cannot_do(
    options: dict[str, Any], budget: Budget, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_released(WganGpConfig(**{"channels": 2} | options), budget)
