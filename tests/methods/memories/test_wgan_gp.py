"""A Wasserstein GAN with gradient penalty: its losses and its draws."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from methods.core.rng import Rng
from methods.core.snapshot import frozen_copy
from methods.memories.generator_network import Labelled
from methods.memories.wgan_gp import WganGp, WganGpConfig, gradient_penalties
from methods.memories.wgan_networks import MlpCritic

SMALL: dict[str, Any] = {"latents": 8, "hidden": (16,)}
IMAGE = (1, 16, 16)
#: By kind of network: options, and shape of an item.
KINDS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "activations": (SMALL, (6,)),
    "images": (SMALL, IMAGE),
    "convolutional": ({"latents": 8, "channels": 2}, IMAGE),
    "running": ({"latents": 8, "channels": 2, "batch_norm": "running"}, IMAGE),
}
every = pytest.mark.parametrize("kind", KINDS)
conditional_or_not = pytest.mark.parametrize("conditional", [False, True])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(kind: str, conditional: bool = False, **more: Any) -> tuple[WganGp, WganGpConfig]:
    options, shape = KINDS[kind]
    config = WganGpConfig(**options, conditional=conditional, **more)
    with Rng(0).scoped("initialisation"):
        network = config.network(shape, 3 if conditional else 0)
    assert isinstance(network, WganGp)
    return network, config


def optimizers(network: WganGp, config: WganGpConfig) -> dict[str, torch.optim.Optimizer]:
    build = config.optimizer.build
    return {name: build(part.parameters()) for name, part in network.parts().items()}


def items(network: WganGp, n: int, seed: int) -> Labelled:
    x = torch.rand(n, *network.shape, generator=seeded(seed))
    return Labelled(x, torch.arange(n) % 3 if network.classes else None)


def weights(network: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in network.parameters()]


# The loss ----------------------------------------------------------------------------------------


def test_penalty_of_a_linear_critic() -> None:
    direction = torch.tensor([[3.0, 0.0], [0.0, 4.0]])  # of norm 5
    x, g = torch.rand(2, 7, 2, 2, generator=seeded())
    each = gradient_penalties(
        lambda at: (at * direction).sum((1, 2)), x, g, torch.rand(7, generator=seeded(1))
    )
    torch.testing.assert_close(each, torch.full((7,), 16.0))


def test_penalty_of_a_quadratic_critic() -> None:
    x, g = torch.randn(2, 7, 2, 3, generator=seeded(), dtype=torch.float64)
    share = torch.linspace(0, 1, 7, dtype=torch.float64)
    # Its slope at a point is the point itself: ε lies at g for 0, and at x for 1.
    each = gradient_penalties(lambda at: at.square().sum((1, 2)) / 2, x, g, share)
    part = share.numpy()[:, None]
    at = part * x.flatten(1).numpy() + (1 - part) * g.flatten(1).numpy()
    np.testing.assert_allclose(
        each.detach().numpy(), (np.linalg.norm(at, axis=1) - 1) ** 2, atol=1e-9
    )


@every
def test_each_penalty_is_of_its_own_pair(kind: str) -> None:
    critic = made(kind)[0].critic
    shape = KINDS[kind][1]
    x, g = torch.rand(2, 5, *shape, generator=seeded())
    share = torch.rand(5, generator=seeded())
    each = gradient_penalties(critic, x, g, share)
    alone = [gradient_penalties(critic, *(t[i : i + 1] for t in (x, g, share))) for i in range(5)]
    torch.testing.assert_close(each, torch.cat(alone))


def test_a_critic_without_slope_has_a_finite_gradient() -> None:
    critic = nn.Linear(4, 1)
    nn.init.zeros_(critic.weight)
    x, share = torch.rand(3, 4, generator=seeded()), torch.rand(3, generator=seeded(1))
    each = gradient_penalties(lambda at: critic(at).squeeze(1), x, x, share)
    each.sum().backward()  # type: ignore[no-untyped-call]
    assert critic.weight.grad is not None
    assert critic.weight.grad.isfinite().all()


def naive_critic_loss(
    network: WganGp, half: Labelled, fake: Tensor, share: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the mean distance and the mean penalty of one half, pair by pair."""
    distances, penalties = [], []
    for i in range(len(half.x)):
        one = slice(i, i + 1)
        code = None if half.y is None else nn.functional.one_hot(half.y[one], 3).float()
        distances.append(network.critic(half.x[one], code) - network.critic(fake[one], code))
        at = (share[i] * half.x[one] + (1 - share[i]) * fake[one]).requires_grad_()
        (slope,) = torch.autograd.grad(network.critic(at, code), at, create_graph=True)
        penalties.append((slope.norm() - 1) ** 2)
    return torch.stack(distances).mean(), torch.stack(penalties).mean()


@every
@conditional_or_not
@pytest.mark.parametrize("replayed", [0, 6, 4, 9])
def test_both_halves_at_once_are_the_weighted_formula(
    kind: str, conditional: bool, replayed: int
) -> None:
    network, _ = made(kind, conditional, critic_steps=1)
    for parameter in network.critic.parameters():  # slopes far from 0
        parameter.data.normal_(std=0.3, generator=seeded())
    new, weight = items(network, 6, 1), 0.3 if replayed else 1.0
    old = items(network, replayed, 2) if replayed else None
    halves = [new] if old is None else [new, old]
    same_net = copy.deepcopy(network).train()
    # The draws, in the order in which the step makes them.
    noise, rows = seeded(3), sum(len(half.x) for half in halves)
    draws = rows if conditional else max(6, replayed)
    y = torch.cat([half.y for half in halves if half.y is not None]) if conditional else None
    with torch.no_grad():
        fake = same_net.generator(network.condition(y, torch.randn(draws, 8, generator=noise)))
    share = torch.rand(rows, generator=noise)
    second = fake[6:] if conditional else fake
    of_new = naive_critic_loss(same_net, new, fake, share[:6])
    distance, penalty = of_new
    if old is not None:
        of_old = naive_critic_loss(same_net, old, second, share[6:])
        distance, penalty = (
            weight * a + (1 - weight) * b for a, b in zip(of_new, of_old, strict=True)
        )
    loss = 10 * penalty - distance
    expected = torch.autograd.grad(loss, list(same_net.critic.parameters()))

    network.train()
    steps = {name: torch.optim.SGD(p.parameters(), 1.0) for name, p in network.parts().items()}
    before = weights(network.critic)
    terms = network.step(new, old, weight, steps, seeded(3))
    close = {"rtol": 1e-3, "atol": 1e-5}
    torch.testing.assert_close(terms["wasserstein"], distance.detach(), **close)
    torch.testing.assert_close(terms["penalty"], 10 * penalty.detach(), **close)
    torch.testing.assert_close(terms["critic"], loss.detach(), **close)
    moved = [a - b for a, b in zip(before, weights(network.critic), strict=True)]
    torch.testing.assert_close(moved, list(expected), **close)


def test_the_generator_climbs_the_critics_scores() -> None:
    network, _ = made("activations", critic_steps=1)
    new = items(network, 6, 1)
    steps = {"critic": torch.optim.SGD(network.critic.parameters(), 0.0)} | {
        "generator": torch.optim.SGD(network.generator.parameters(), 1.0)
    }
    noise = seeded(3)
    _ = torch.randn(6, 8, generator=noise), torch.rand(6, generator=noise)
    loss = -network.critic(network.generator(torch.randn(6, 8, generator=noise))).mean()
    expected = torch.autograd.grad(loss, list(network.generator.parameters()))
    before = weights(network.generator)
    terms = network.step(new, None, 1.0, steps, seeded(3))
    torch.testing.assert_close(terms["generator"], loss.detach())
    moved = [a - b for a, b in zip(before, weights(network.generator), strict=True)]
    torch.testing.assert_close(moved, list(expected), rtol=1e-3, atol=1e-6)
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(term.requires_grad for term in terms.values())


def test_the_critic_learns_several_times_and_the_generator_once() -> None:
    network, config = made("activations", critic_steps=4)
    steps = optimizers(network, config)
    network.step(items(network, 6, 1), None, 1.0, steps, seeded())
    for name, times in {"critic": 4, "generator": 1}.items():
        counts = [int(state["step"]) for state in steps[name].state.values()]
        assert counts == [times] * len(counts) != []


# Draws -------------------------------------------------------------------------------------------


@every
@conditional_or_not
@pytest.mark.parametrize("n", [0, 1, 3, 40])
def test_draws_change_nothing(kind: str, conditional: bool, n: int) -> None:
    network, config = made(kind, conditional)
    network.train()
    network.step(items(network, 8, 1), None, 1.0, optimizers(network, config), seeded())
    past = frozen_copy(network)
    before = copy.deepcopy(past.state_dict())
    of_all, y = torch.get_rng_state(), torch.zeros(n, dtype=torch.int64) if conditional else None
    with torch.no_grad():
        one, other = (past.draw(n, y, seeded(7)) for _ in range(2))
    assert one.shape == (n, *network.shape)
    assert torch.equal(one, other)
    assert one.isfinite().all()
    assert torch.equal(torch.get_rng_state(), of_all)
    assert all(torch.equal(value, before[name]) for name, value in past.state_dict().items())


def test_few_draws_are_normalised_as_many_are() -> None:
    network, _ = made("convolutional")
    with torch.no_grad():
        network.eval()
        assert torch.equal(network.draw(1, None, seeded()), network.draw(32, None, seeded())[:1])


def test_draws_of_one_class_are_normalised_as_those_of_all() -> None:
    network, config = made("convolutional", conditional=True)
    assert config.batch_norm == "running"
    z, y = torch.randn(6, 8, generator=seeded()), torch.arange(6) % 3
    with torch.no_grad():
        network.eval()
        together = network.generator(network.condition(y, z))
        alone = network.generator(network.condition(y[:1], z[:1]))
    torch.testing.assert_close(together[:1], alone)


def test_latents_have_the_same_deviation_in_training_and_draws() -> None:
    seen = []

    class Spy(nn.Linear):
        def forward(self, z: Tensor) -> Tensor:
            seen.append(z.std().item())
            return super().forward(z)

    with Rng(0).scoped("initialisation"):
        parts = MlpCritic(4, (4,)), Spy(200, 4)
    network = WganGp((4,), *parts, 200, noise_std=0.1, critic_steps=1)
    network.step(items(network, 50, 1), None, 1.0, optimizers(network, WganGpConfig()), seeded())
    network.draw(50, None, seeded())
    assert seen == [pytest.approx(0.1, rel=0.05)] * 3
