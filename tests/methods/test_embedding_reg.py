"""Embedding regularisation: what is stored, and how it pulls."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from tiny import learnt, make, make_task
from torch import Tensor, nn

from methods.core.task import Batch, Scenario, Task
from methods.embedding_reg import EmbeddingRegularization
from methods.networks import Backbone, Mlp


class Listening(EmbeddingRegularization):
    """Writes down each step's loss terms, what was drawn and the network that it went through."""

    def before_task(self, task: Task) -> None:
        super().before_task(task)
        self.steps: list[tuple[Any, dict[str, Tensor], Tensor]] = []
        self.rows, self.network_then = torch.empty(0), self.network

    def drawn(self, stored: int, n: int) -> Tensor:
        self.rows = super().drawn(stored, n)
        self.network_then = copy.deepcopy(self.network)  # the new batch has passed batch norm
        return self.rows

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        terms = super().losses(batch)
        self.steps.append((self.network_then, terms, self.rows))
        return terms


class Noisy(Mlp):
    """Batch norm and dropout, whose outputs differ between modes."""

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        first = nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.BatchNorm1d(8), nn.ReLU())
        return Backbone([first, nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 8))], shape)


def by_hand(now: Tensor, before: Tensor, distance: str, normalize: bool) -> float:
    """Return the mean distance of rows, in double precision and one by one."""
    total = 0.0
    for e, was in zip(now.double(), before.double(), strict=True):
        if distance == "cosine":
            total += 1 - float(e @ was / e.norm() / was.norm())
        elif normalize:
            total += float((e / e.norm() - was / was.norm()).square().sum().sqrt())
        else:
            total += float((e - was).square().sum().sqrt())
    return total / len(now)


#: The last layer is linear: no embedding is all zero.
OPTIONS: dict[str, Any] = {"network": Noisy(), "budget": {"iterations": 8, "batch_size": 10}}


@pytest.mark.parametrize(
    ("distance", "normalize"), [("cosine", False), ("euclidean", False), ("euclidean", True)]
)
@pytest.mark.parametrize("frozen", [0, 1])
@pytest.mark.parametrize("scenario", list(Scenario))
def test_loss_by_hand(scenario: Scenario, frozen: int, distance: str, normalize: bool) -> None:
    """In the third task, on images from both before it."""
    options = {"distance": distance, "normalize": normalize, "freeze_depth": frozen}
    sample = {"importance": 3.0, "sample_size": 6}
    learner = learnt(Listening, 3, scenario, **OPTIONS, **options, **sample)
    drawn = set()
    for network, terms, rows in learner.steps:
        assert len(rows.unique()) == 6
        drawn |= set(rows.tolist())
        network.eval()
        with torch.no_grad():
            now = network.backbone.run(learner.memory.x[rows]).flatten(1)
        expected = 3 * by_hand(now, learner.embeddings[rows], distance, normalize)
        assert terms.keys() == {"new", "embedding"}
        assert float(terms["embedding"].detach()) == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert set(learner.memory.task[list(drawn)].tolist()) == {0, 1}
    assert float(learner.steps[-1][1]["embedding"].detach()) > 0


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_an_unchanged_backbone_costs_nothing_and_is_left_alone(distance: str) -> None:
    """With dropout too, and with batch norm whose statistics do not follow the new batch.

    In the same order as when they were stored, so that sums are rounded alike.
    """
    learner = learnt(Listening, 1, **OPTIONS, distance=distance)
    task = make_task(1)
    learner.tasks_seen = 2
    learner.before_task(task)
    learner.network.train()
    learner.network.backbone.blocks[0][2].momentum = 0.0
    learner.drawn = lambda stored, n: torch.arange(stored)
    term = learner.losses(task.train.gather(torch.arange(10)))["embedding"]
    assert learner.network.backbone.training
    assert float(term.detach()) == 0
    gradients = torch.autograd.grad(term, list(learner.network.backbone.parameters()))
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_a_step_along_its_gradient_brings_embeddings_back(distance: str) -> None:
    learner = learnt(Listening, 2, **OPTIONS, distance=distance)
    learner.network.eval()
    backbone, x, before = learner.network.backbone, learner.memory.x[:7], learner.embeddings[:7]

    def apart() -> Tensor:
        now: Tensor = learner.distance(learner.embedded(x), before)
        return now

    start = apart()
    assert float(start.detach()) > 0
    start.backward()  # type: ignore[no-untyped-call]
    assert learner.network.head.weight.grad is None  # the head is not held
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter -= 0.01 * parameter.grad
    assert float(apart().detach()) < float(start.detach())


def test_importance_keeps_embeddings_in_place() -> None:
    longer = OPTIONS | {"budget": {"iterations": 60, "batch_size": 10}}
    moved = []
    for importance in (0.0, 10.0):
        learner = learnt(Listening, 2, **longer, importance=importance)
        now = learner.embedded(learner.memory.x[:7])
        moved.append(float(learner.distance(now, learner.embeddings[:7]).detach()))
    assert moved[1] < moved[0] / 3


def test_what_is_stored_is_what_the_head_read_at_the_end_of_the_task() -> None:
    learner = make(EmbeddingRegularization, **OPTIONS)
    expected = torch.empty(0, 8)
    for index in range(3):
        learner.learn(make_task(index))
        assert not learner.network.training
        with torch.no_grad():
            new = learner.network.backbone.run(learner.memory.x[7 * index :]).flatten(1)
        expected = torch.cat([expected, new])
        torch.testing.assert_close(learner.embeddings, expected)
        assert not learner.embeddings.requires_grad
    each = 9 + 2 + 2 + 4 + 4 * 8  # image, label, task, priority, embedding
    assert learner.bytes_kept()["memory"] == 21 * each


def test_no_label_is_replayed() -> None:
    """The past is the same whatever the stored labels say."""
    first = learnt(EmbeddingRegularization, 1)
    other = copy.deepcopy(first)
    other.memory.y += 1
    for learner in (first, other):
        learner.learn(make_task(1))
    for one, same in zip(first.network.parameters(), other.network.parameters(), strict=True):
        assert torch.equal(one, same)


def test_a_cosine_knows_no_lengths() -> None:
    config = EmbeddingRegularization.Config
    assert config(normalize=True) == config()
    assert config(distance="euclidean", normalize=True).normalize
