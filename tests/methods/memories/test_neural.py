"""A trained generator as a memory: how it is fed, what it keeps, and what it forgets."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import pytest
import torch
from digits import digits
from torch import Tensor, nn

from methods.core.rng import Rng
from methods.core.task import TensorExamples
from methods.core.training import Budget, Diverged
from methods.memories.generator_network import GeneratorNetwork, Labelled
from methods.memories.neural import NeuralConfig, NeuralMemory

BUDGET = Budget(iterations=12, batch_size=16)


class Fed(GeneratorNetwork):
    """Notes down what it is fed; draws rows of its level, which rises by 1 in each step."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(shape, classes)
        self.level = nn.Parameter(torch.zeros(1))
        self.start = float(torch.rand(1))
        self.notes: list[dict[str, Any]] = []

    def step(
        self,
        new: Labelled,
        old: Labelled | None,
        weight: float,
        optimizers: Mapping[str, torch.optim.Optimizer],
        noise: torch.Generator,
    ) -> dict[str, Tensor]:
        assert self.training
        note = {"new": new, "old": old, "weight": weight, "noise": torch.rand(1, generator=noise)}
        self.notes.append(note)
        with torch.no_grad():
            self.level += 1
        optimizers["generator"].zero_grad()
        self.level.sum().backward()  # type: ignore[no-untyped-call]
        return {"loss": self.level.detach() / (self.level.detach() != self.fails)}

    fails = -1

    def draw(self, n: int, y: Tensor | None, noise: torch.Generator) -> Tensor:
        assert not self.training
        assert not torch.is_grad_enabled()
        assert n <= 512
        return self.level.expand(n, *self.shape) / 255


class FedConfig(NeuralConfig):
    name: Literal["fed"] = "fed"

    def network(self, item: tuple[int, ...], classes: int) -> GeneratorNetwork:
        return Fed(item, classes)


class Notes:
    """A log that keeps everything."""

    def __init__(self) -> None:
        self.scalars: list[tuple[str, float, int]] = []
        self.phases: list[str] = []
        self.images: dict[str, Tensor] = {}

    def scalar(self, name: str, value: float, step: int) -> None:
        self.scalars.append((name, value, step))

    def phase(self, name: str) -> AbstractContextManager[None]:
        self.phases.append(name)
        return nullcontext()

    def image(self, name: str, x: Tensor, columns: int = 10) -> None:
        self.images[name] = x

    def tick(self, done: int, total: int) -> None: ...


def fed(tasks: int = 3, budget: Budget = BUDGET, log: Any = None, **options: Any) -> NeuralMemory:
    memory = NeuralMemory(FedConfig(**options), 10, budget)
    for task in range(tasks):
        absorb(memory, task, log)
    return memory


def absorb(memory: NeuralMemory, task: int, log: Any = None) -> None:
    x = digits(2 * task, 2 * task + 1)
    memory.absorb(x, task, Rng(0).at(task), log or Notes())


def notes(memory: NeuralMemory) -> list[dict[str, Any]]:
    assert isinstance(memory.network, Fed)
    return memory.network.notes


# How it is fed


def test_each_task_is_learnt_with_draws_of_the_network_as_it_was() -> None:
    fed_with = notes(fed())
    assert len(fed_with) == 36
    for i, note in enumerate(fed_with):
        new, old = note["new"], note["old"]
        assert new.x.shape == (16, 1, 8, 8)
        assert 0 <= new.x.min() < new.x.max() <= 1
        assert new.y is None
        if i < 12:
            assert old is None
            assert note["weight"] == 1
        else:
            assert old.x.shape == (16, 1, 8, 8)
            assert (old.x * 255).unique().tolist() == [12 * (i // 12)]
            assert old.y is None
            assert note["weight"] == pytest.approx(1 / (1 + i // 12))
    assert len({float(note["noise"]) for note in fed_with}) == 36
    batches = [note["new"].x for note in fed_with]
    assert not torch.equal(batches[0], batches[1])


@pytest.mark.parametrize("conditional", [True, False])
def test_only_a_conditional_network_is_told_classes(conditional: bool) -> None:
    memory = fed(conditional=conditional, replay_batch=60)
    assert memory.network is not None
    assert memory.network.classes == (10 if conditional else 0)
    for i, note in enumerate(notes(memory)):
        for part in (note["new"], note["old"]):
            assert part is None or (part.y is not None) == conditional
        if conditional:
            assert set(note["new"].y.tolist()) == {2 * (i // 12), 2 * (i // 12) + 1}
        if conditional and i >= 24:  # all classes of the past, about as often as they were there
            assert min(note["old"].y.bincount(minlength=4).tolist()) >= 12


@pytest.mark.parametrize(
    ("options", "budget", "steps", "new", "old"),
    [
        ({}, Budget(iterations=3, batch_size=20), 3, 20, 20),
        ({"iterations": 5, "batch_size": 7}, Budget(epochs=2), 5, 7, 7),
        ({"iterations": 2, "replay_batch": 50}, Budget(iterations=3, batch_size=8), 2, 8, 50),
        ({"iterations": 2, "replay_batch": 0}, Budget(batch_size=8), 2, 8, 0),
        ({}, Budget(epochs=2, batch_size=120), 6, 120, 120),  # of 360 digits
        ({"batch_size": 360}, Budget(epochs=2, batch_size=120), 2, 360, 360),
    ],
)
def test_budgets(options: dict[str, Any], budget: Budget, steps: int, new: int, old: int) -> None:
    memory = fed(0, budget, **options)
    for task in range(2):
        examples = digits(2 * task, 2 * task + 1)
        kept = TensorExamples(examples.x, examples.y, torch.arange(360) % len(examples))
        memory.absorb(kept, task, Rng(0).at(task))
    first, last = notes(memory)[0], notes(memory)[-1]
    assert len(notes(memory)) == 2 * steps
    assert len(first["new"].x) == len(last["new"].x) == new
    assert (0 if last["old"] is None else len(last["old"].x)) == old


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({"replay_loss": "mean", "replay_batch": 48}, [1, 0.25, 0.25]),
        ({"replay_loss": "1/t", "replay_batch": 48}, [1, 1 / 2, 1 / 3]),
        ({"replay_loss": 0.7}, [1, 0.7, 0.7]),
        ({"replay_batch": 0}, [1, 1, 1]),
    ],
)
def test_weights(options: dict[str, Any], weights: list[float]) -> None:
    found = [note["weight"] for note in notes(fed(**options))]
    assert found[::12] == pytest.approx(weights)
    assert found[11::12] == pytest.approx(weights)


def test_a_cold_start_makes_new_weights_and_rehearses_the_old_network() -> None:
    starts = []
    for warm_start in (True, False):
        memory = fed(1, warm_start=warm_start)
        one = memory.network
        absorb(memory, 1)
        assert (memory.network is one) == warm_start
        assert isinstance(memory.network, Fed)
        assert memory.network.level.item() == (24 if warm_start else 12)
        assert (notes(memory)[-1]["old"].x * 255).unique().tolist() == [12]
        starts.append(memory.network.start)
    assert starts[0] != starts[1]


# What it reports


def test_losses_phases_and_draws_are_reported() -> None:
    log = Notes()
    fed(1, Budget(iterations=25, batch_size=4), log, conditional=True)
    assert log.scalars == [("generator/loss", float(step), step) for step in (10, 20, 25)]
    assert log.phases == ["generator"]
    assert list(log.images) == [f"generator, step {step}" for step in (6, 12, 18)] + ["generator"]
    for name, level in zip(log.images, (6, 12, 18, 25), strict=True):
        assert log.images[name].shape == (20, 1, 8, 8)  # ten of each class
        assert log.images[name].dtype == torch.uint8
        assert log.images[name].unique().tolist() == [level]
    fed(3, BUDGET, log := Notes(), conditional=True)
    assert len(log.images["generator"]) == 60


def test_a_loss_that_is_not_finite_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fed, "fails", 10)
    with pytest.raises(Diverged, match=r"generator's 'loss' is inf at step 10"):
        fed(1)


# Drawing


def test_draws_of_classes_and_tasks() -> None:
    memory = fed(2, conditional=True)
    generator = torch.Generator()
    batch = memory.sample(1300, generator)
    assert batch.x.shape == (1300, 1, 8, 8)
    assert batch.y is not None
    assert batch.task is not None
    assert torch.equal(batch.y // 2, batch.task)
    assert batch.y.bincount().min() > 300
    alone = memory.sample(50, generator, task=1, classes=(0, 3))
    assert alone.y is not None
    assert alone.y.tolist() == [3] * 50
    assert memory.sample(0, generator).x.shape == (0, 1, 8, 8)
    assert len(memory) == 182 + 178 + 183 + 177
    unlabelled = fed(2).sample(5, generator, weights={0: 1.0})
    assert unlabelled.y is unlabelled.task is unlabelled.logits is None


def test_each_draw_is_of_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are drawn at once."""

    def of_class(network: Fed, n: int, y: Tensor, noise: torch.Generator) -> Tensor:
        return (y / 255).view(n, 1, 1, 1).expand(n, *network.shape)

    monkeypatch.setattr(Fed, "draw", of_class)
    batch = fed(2, conditional=True).sample(1300, torch.Generator())
    assert batch.y is not None
    assert torch.equal(batch.x[:, 0, 0, 0].long(), batch.y)


def test_nothing_to_draw() -> None:
    generator = torch.Generator()
    with pytest.raises(LookupError, match="nothing is remembered"):
        fed(0).sample(1, generator)
    asked: dict[str, Any]
    for asked in ({"classes": (0,)}, {"task": 0}):
        with pytest.raises(LookupError, match="cannot be asked"):
            fed(1).sample(1, generator, **asked)
    for asked in ({"classes": (5,)}, {"task": 3}):
        with pytest.raises(LookupError, match="nothing of this kind"):
            fed(1, conditional=True).sample(1, generator, **asked)
