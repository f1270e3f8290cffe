"""Draws of the past that are held in place instead of being shown to the critic."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from methods.core.rng import Rng
from methods.core.task import TensorExamples
from methods.core.training import Adam, Budget
from methods.memories.generator_network import Labelled
from methods.memories.neural import NeuralMemory
from methods.memories.wgan_gp import WganGp, WganGpConfig

CENTRES = 3 * torch.eye(4, 6)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def items(*classes: int, n: int = 200, shift: float = 0.0) -> TensorExamples:
    """Activations in 6 dimensions around a centre of each class."""
    y = torch.tensor(classes)[torch.arange(n) % len(classes)]
    return TensorExamples(CENTRES[y] + shift + 0.3 * torch.randn(n, 6, generator=seeded(n)), y)


def remembering(**options: Any) -> NeuralMemory:
    usual: dict[str, Any] = {"latents": 4, "hidden": (32,), "batch_size": 16, "iterations": 100}
    usual |= {
        "critic_steps": 1,
        "optimizer": Adam(lr=3e-3, betas=(0.5, 0.9), reset="task"),
        "conditional": True,
    }
    return NeuralMemory(WganGpConfig(**usual | options), 4, Budget(iterations=1))


def made(alignment: float = 2.0) -> WganGp:
    config = WganGpConfig(latents=4, hidden=(8,), conditional=True, alignment=alignment)
    with Rng(0).scoped("initialisation"):
        return config.network((6,), 4)


def halves(network: WganGp, away: float) -> tuple[Labelled, Labelled]:
    """Return new items, and old ones that lie so far from where the generator draws them."""
    new = Labelled(torch.randn(8, 6, generator=seeded(1)), torch.arange(8) % 2 + 2)
    y = torch.arange(8) % 2
    with torch.no_grad():
        z, x = network.draw_of(8, y, seeded(2))
    return new, Labelled(x - away, y, z)


def still(network: WganGp) -> dict[str, torch.optim.Optimizer]:
    return {name: torch.optim.SGD(p.parameters(), 0.0) for name, p in network.parts().items()}


def test_an_unchanged_generator_is_aligned() -> None:
    network = made()
    terms = network.step(*halves(network, 0.0), 0.25, still(network), seeded())
    assert terms["alignment"] == 0


def test_alignment_is_the_weighted_mean_of_squared_distances() -> None:
    network = made()
    terms = network.step(*halves(network, 0.5), 0.25, still(network), seeded())
    assert float(terms["alignment"]) == pytest.approx(0.75 * 2.0 * 6 * 0.5**2, rel=1e-5)


def test_the_generators_step_is_that_of_both_terms() -> None:
    network = made()
    network.critic_steps = 1
    new, old = halves(network, 0.5)
    noise = seeded(3)
    _ = torch.randn(8, 4, generator=noise), torch.rand(8, generator=noise)
    z = torch.randn(8, 4, generator=noise)
    code = torch.nn.functional.one_hot(torch.cat([new.y, old.y]), 4).float()  # type: ignore[list-item]
    score = network.critic(network.generator(torch.cat([z, code[:8]], 1)), code[:8])
    assert old.z is not None
    moved = network.generator(torch.cat([old.z, code[8:]], 1)) - old.x
    loss = -0.25 * score.mean() + 0.75 * 2.0 * moved.square().sum(1).mean()
    expected = torch.autograd.grad(loss, list(network.generator.parameters()))
    before = [p.detach().clone() for p in network.generator.parameters()]
    steps = still(network) | {"generator": torch.optim.SGD(network.generator.parameters(), 1.0)}
    terms = network.step(new, old, 0.25, steps, seeded(3))
    torch.testing.assert_close(terms["generator"], loss.detach())
    after = [p.detach() for p in network.generator.parameters()]
    step = [a - b for a, b in zip(before, after, strict=True)]
    torch.testing.assert_close(step, list(expected), rtol=1e-3, atol=1e-5)


def test_the_critic_is_shown_new_items_alone() -> None:
    network = made()
    new, old = halves(network, 0.5)
    one = network.step(new, old, 0.25, still(network), seeded())
    other = network.step(new, None, 1.0, still(network), seeded())
    assert one["critic"] == other["critic"]
    assert "alignment" not in other


def test_items_without_latents_are_shown_and_the_others_held() -> None:
    """Each old item counts alike: here 3 of 8 are shown, of a class that the new task has too."""
    network = made()
    new, old = halves(network, 0.5)
    assert old.y is not None
    assert old.z is not None
    mixed = Labelled(old.x, torch.cat([torch.full((3,), 2), old.y[3:]]), old.z[3:])
    shown = Labelled(mixed.x[:3], torch.full((3,), 2))
    with torch.no_grad():  # those held are draws of their class, 0.5 away from where they are
        moved = network.generator(network.condition(old.y[3:], old.z[3:])) - old.x[3:]
    terms = network.step(new, mixed, 0.25, still(network), seeded(3))
    assert float(terms["alignment"]) == pytest.approx(0.75 * 5 / 8 * 2.0 * 1.5, rel=1e-5)
    assert moved.square().sum(1).mean().item() == pytest.approx(1.5, rel=1e-5)
    of_shown = 0.25 + 0.75 * 3 / 8
    both = network.step(new, shown, 0.25 / of_shown, still(network), seeded(3))
    for name in ("critic", "wasserstein", "penalty"):
        torch.testing.assert_close(terms[name], both[name])
    expected = of_shown * both["generator"] + terms["alignment"]
    torch.testing.assert_close(terms["generator"], expected)
    assert "alignment" not in both


def test_where_all_classes_come_again_nothing_is_held() -> None:
    """Byte for byte as without an alignment: a class is asked for in both places by one code."""
    states = []
    for alignment in (0.0, 1.0):
        memory = remembering(alignment=alignment, iterations=10)
        for task, shift in enumerate((0.0, 4.0)):
            memory.absorb(items(0, 1, shift=shift), task, Rng(0).at(task))
        states.append(memory.state_dict())
    torch.testing.assert_close(*states, rtol=0, atol=0)


class Noting(WganGp):
    """Writes down what it is shown."""

    def __init__(self, network: WganGp) -> None:
        super().__init__(network.shape, network.critic, network.generator, 4, 4, alignment=1.0)
        self.noted: list[Labelled] = []

    def step(self, new: Labelled, old: Labelled | None, *rest: Any) -> dict[str, Tensor]:
        assert old is not None
        self.noted.append(old)
        return super().step(new, old, *rest)


def test_a_memory_holds_draws_of_classes_that_do_not_come_again() -> None:
    memory = remembering(alignment=1.0, iterations=5, clamp=False)
    memory.absorb(items(0, 1, 2), 0, Rng(0).at(0))
    assert isinstance(memory.network, WganGp)
    before, units = copy.deepcopy(memory.network), copy.copy(memory.units)
    memory.network = noting = Noting(memory.network)
    memory.absorb(items(1, 3, shift=2.0), 1, Rng(0).at(1))
    assert len(noting.noted) == 5
    for old in noting.noted:
        assert old.y is not None
        assert old.z is not None
        first = len(old.y) - len(old.z)
        assert old.y[:first].tolist() == [1] * first
        assert set(old.y[first:].tolist()) == {0, 2}
        assert 5 <= first <= 6  # a third of 16
        with torch.no_grad():
            drawn = units.leave(before.generator(before.condition(old.y[first:], old.z)))
        torch.testing.assert_close(memory.units.enter(drawn), old.x[first:])


def means(memory: NeuralMemory) -> Tensor:
    """Return where draws of the first two classes lie: float ``[2, 6]``."""
    drawn = [memory.sample(300, seeded(5), classes=(label,)).x for label in range(2)]
    return torch.stack([x.mean(0) for x in drawn])


def test_draws_of_the_past_stay_though_units_change() -> None:
    """The second task lies elsewhere, so that what is standardised by moves."""
    moved = {}
    for alignment, replayed in {0.0: 0, 1.0: 32}.items():
        memory = remembering(alignment=alignment, replay_batch=replayed, clamp=False)
        memory.absorb(items(0, 1), 0, Rng(0).at(0))
        before = means(memory)
        memory.absorb(items(2, 3, shift=2.0), 1, Rng(0).at(1))
        moved[alignment] = float((means(memory) - before).norm(dim=1).max())
    assert moved[1.0] < 0.2 * moved[0.0]


def test_only_what_can_be_asked_for_is_held() -> None:
    with pytest.raises(ValidationError, match="give conditional: true"):
        WganGpConfig(alignment=1.0)
