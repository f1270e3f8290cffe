"""A Wasserstein GAN as a memory: what it learns, keeps and is asked for; its options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from methods.core.log import SilentLog
from methods.core.rng import Rng
from methods.core.task import TensorExamples
from methods.core.training import Adam, Budget
from methods.memories.neural import NeuralMemory
from methods.memories.wgan_gp import WganGpConfig


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixture(n: int, seed: int, shift: float = 0.0) -> TensorExamples:
    """Activations in 8 dimensions around four centres."""
    y = torch.arange(n) % 4
    centres = 3 * torch.randn(4, 8, generator=seeded(99)) + shift
    return TensorExamples(centres[y] + torch.randn(n, 8, generator=seeded(seed)), y)


def remembering(**options: Any) -> NeuralMemory:
    usual: dict[str, Any] = {"latents": 16, "hidden": (64, 64), "batch_size": 64}
    usual |= {"optimizer": Adam(lr=1e-3, betas=(0.5, 0.9), reset="task")}
    return NeuralMemory(WganGpConfig(**usual | options), 10, Budget(iterations=1))


class Curve(SilentLog):
    """Keeps the estimates of the distance."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def scalar(self, name: str, value: float, step: int) -> None:
        if name == "generator/wasserstein":
            self.values.append(value)


def gaps(drawn: Tensor, real: Tensor) -> tuple[float, float]:
    """Return how far mean and covariance are off, as shares of deviation and covariance."""
    mean = (drawn.mean(0) - real.mean(0)).norm() / real.std(0).norm()
    cov = torch.cov(real.T)
    return float(mean), float((torch.cov(drawn.T) - cov).norm() / cov.norm())


def test_draws_take_after_a_mixture() -> None:
    memory, log, real = remembering(iterations=400), Curve(), mixture(2000, 0)
    memory.absorb(real, 0, Rng(0).at(0), log)
    drawn = memory.sample(2000, seeded()).x
    mean, covariance = gaps(drawn, real.x)
    assert mean < 0.2
    assert covariance < 0.35
    assert np.mean(log.values[-10:]) < 0.5 * max(log.values)


def test_a_second_task_with_replay_keeps_the_first() -> None:
    tasks = [mixture(1000, 0, -2.0), mixture(1000, 1, 10.0)]
    shares = {}
    for batch in (None, 0):
        memory = remembering(iterations=250, replay_batch=batch, replay_loss="mean")
        for t, task in enumerate(tasks):
            memory.absorb(task, t, Rng(0).at(t))
        drawn = memory.sample(1000, seeded()).x
        shares[batch] = float((drawn.mean(1) < 4.0).float().mean())
    assert 0.25 < shares[None] < 0.75
    assert shares[0] < 0.1


@pytest.fixture(scope="module")
def digits() -> TensorExamples:
    data = load_digits()
    x = torch.from_numpy((data.images * 255 / 16).astype(np.uint8))[:, None]
    return TensorExamples(x, torch.from_numpy(data.target))


def test_conditional_draws_are_of_their_class(digits: TensorExamples) -> None:
    optimizer = Adam(lr=3e-3, betas=(0.5, 0.9), reset="task")
    memory = remembering(conditional=True, iterations=300, hidden=(128,), optimizer=optimizer)
    memory.absorb(digits, 0, Rng(0).at(0))
    judge = LogisticRegression(max_iter=300).fit(digits.x.flatten(1) / 255, digits.y)
    batch = memory.sample(500, seeded())
    assert batch.y is not None
    assert batch.x.dtype == torch.uint8
    agreement = judge.score(batch.x.flatten(1) / 255, batch.y)
    assert agreement > 0.6
    assert set(memory.sample(20, seeded(), classes=(3,)).y.tolist()) == {3}


@pytest.mark.parametrize(
    "options",
    [{}, {"conditional": True}, {"channels": 2}, {"channels": 2, "batch_norm": "running"}]
    + [{"channels": 2, "conditional": True}],
)
def test_a_restored_memory_draws_the_same(options: dict[str, Any]) -> None:
    x = torch.randint(256, (40, 1, 16, 16), generator=seeded()).to(torch.uint8)
    task = TensorExamples(x, torch.arange(40) % 2)
    memory, again = (remembering(iterations=3, batch_size=8, **options) for _ in range(2))
    memory.absorb(task, 0, Rng(0).at(0))
    before = torch.get_rng_state()
    again.load_state_dict(memory.state_dict())
    for n in (1, 5, 50):
        one, other = (each.sample(n, seeded(n)) for each in (memory, again))
        assert torch.equal(one.x, other.x)
        assert one.x.shape == (n, 1, 16, 16)
    for each in (memory, again):
        each.absorb(task, 1, Rng(0).at(1))
    assert torch.equal(memory.sample(50, seeded()).x, again.sample(50, seeded()).x)
    assert torch.equal(torch.get_rng_state(), before)


RUNNING: dict[str, Any] = {"batch_norm": "running"}

# Options -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"batch_norm": "running"}, {}),
        ({"channels": 8, "hidden": (3,)}, {"channels": 8}),
        ({"channels": 8, "conditional": True}, {"channels": 8, "conditional": True} | RUNNING),
    ],
)
def test_options_without_meaning_make_no_difference(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert WganGpConfig(**one) == WganGpConfig(**other)


def test_options_with_meaning_do() -> None:
    assert WganGpConfig(channels=8, **RUNNING) != WganGpConfig(channels=8)
    assert WganGpConfig(hidden=[3, 4]).hidden == (3, 4)
    usual = WganGpConfig().optimizer
    assert usual == Adam(lr=1e-4, betas=(0.5, 0.9), reset="task")


@pytest.mark.parametrize(
    "wrong",
    [{"channels": 0}, {"hidden": []}, {"penalty": -1.0}, {"noise_std": 0.0}, {"critic_steps": 0}]
    + [{"batch_norm": "none"}],
)
def test_mistakes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        WganGpConfig(**wrong)


def test_convolutional_networks_are_for_images() -> None:
    assert WganGpConfig(channels=8).images_only
    assert not WganGpConfig().images_only
    with pytest.raises(ValueError, match="activations"):
        WganGpConfig(channels=8).network((64,), 0)
