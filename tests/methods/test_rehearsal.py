"""Replay: what is drawn, how it is weighed, and among which classes it is scored."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import cross_entropy

from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, StreamInfo, Task, TensorExamples
from methods.naive import Naive
from methods.replay import Replay

CLASSES_OF = ((0, 1), (2, 3), (4, 5))


def make_task(index: int, n: int = 30) -> Task:
    generator = torch.Generator().manual_seed(index)
    x = torch.randint(256, (n, 1, 3, 3), generator=generator, dtype=torch.uint8)
    y = torch.tensor(CLASSES_OF[index])[torch.arange(n) % 2]
    return Task(index, CLASSES_OF[index], TensorExamples(x, y))


class Listening(Replay):
    """Writes down what its loss is made of."""

    def before_task(self, task: Task) -> None:
        super().before_task(task)
        self.replayed: list[tuple[Batch, Tensor]] = []
        self.new: list[tuple[Batch, Tensor]] = []
        self.terms: list[dict[str, Tensor]] = []

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        self.terms.append(super().losses(batch))
        return self.terms[-1]

    def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        self.new.append((batch, logits.detach()))
        return super().loss_terms(batch, logits)

    def replay_loss(self, old: Batch, logits: Tensor) -> Tensor:
        self.replayed.append((old, logits.detach()))
        return super().replay_loss(old, logits)


def make(
    method: Any = Listening, scenario: Scenario = Scenario.CLASS_INCREMENTAL, **options: Any
) -> Any:
    small = {
        "network": {"name": "mlp", "widths": [8]},
        "budget": {"iterations": 3, "batch_size": 6},
    }
    stream = StreamInfo(scenario, 3, (1, 3, 3), 6, CLASSES_OF)
    return method(method.Config.model_validate(small | options), stream, Rng(0))


def learnt(tasks: int = 3, **options: Any) -> Any:
    method = make(**options)
    for index in range(tasks):
        method.learn(make_task(index))
    return method


@pytest.mark.parametrize(
    ("replay_loss", "weight_of_new"), [("mean", 6 / 16), ("1/t", 1 / 3), (0.7, 0.7)]
)
def test_weights_of_new_and_replayed_loss(replay_loss: Any, weight_of_new: float) -> None:
    """In the third task, with 6 new and 10 stored images a step."""
    method = learnt(replay_loss=replay_loss, replay_batch=10)
    assert len(method.terms) == 3
    for terms, (new, new_logits), (old, old_logits) in zip(
        method.terms, method.new, method.replayed, strict=True
    ):
        assert terms.keys() == {"new", "replay"}
        assert (len(new.x), len(old.x)) == (6, 10)
        one, other = cross_entropy(new_logits, new.y), cross_entropy(old_logits, old.y)
        torch.testing.assert_close(terms["new"].detach(), weight_of_new * one)
        torch.testing.assert_close(terms["replay"].detach(), (1 - weight_of_new) * other)
        if replay_loss == "mean":
            logits, y = torch.cat([new_logits, old_logits]), torch.cat([new.y, old.y])
            total = (terms["new"] + terms["replay"]).detach()
            torch.testing.assert_close(total, cross_entropy(logits, y))


def test_weight_follows_the_task() -> None:
    method = make(replay_loss="1/t")
    for index, weight in ((0, None), (1, 1 / 2), (2, 1 / 3)):
        method.learn(make_task(index))
        if weight is None:
            assert [terms.keys() for terms in method.terms] == [{"new"}] * 3
        else:
            new, logits = method.new[0]
            seen = logits[:, : 2 * (index + 1)]
            torch.testing.assert_close(
                method.terms[0]["new"].detach(), weight * cross_entropy(seen, new.y)
            )


def test_replay_is_as_large_as_the_batch_by_default() -> None:
    method = learnt()
    assert [len(old.x) for old, _ in method.replayed] == [6, 6, 6]


def test_replay_is_of_the_past_only() -> None:
    method = make(replay_batch=200)
    for index in range(3):
        method.learn(make_task(index))
        tasks = {task for old, _ in method.replayed for task in old.task.tolist()}
        assert tasks == set(range(index))


def test_logits_of_replay_are_those_of_its_images() -> None:
    method = make()
    method.learn(make_task(0))
    method.network.train()
    task = make_task(1)
    method.tasks_seen = 2
    method.before_task(task)
    batch = task.train.gather(torch.arange(6))
    method.losses(batch)
    for shown, logits in (*method.new, *method.replayed):
        torch.testing.assert_close(logits, method.network(shown.x).detach())


@pytest.mark.parametrize("scenario", [Scenario.TASK_INCREMENTAL, Scenario.CLASS_INCREMENTAL])
def test_replayed_labels_compete_with_the_classes_of_their_task(scenario: Scenario) -> None:
    method = learnt(scenario=scenario, replay_batch=50, replay_loss=0.5)
    terms, (old, logits) = method.terms[0], method.replayed[0]
    assert set(old.task.tolist()) == {0, 1}
    rows = []
    for row, label, task in zip(logits, old.y.tolist(), old.task.tolist(), strict=True):
        known = scenario is Scenario.TASK_INCREMENTAL
        classes = list(CLASSES_OF[task]) if known else list(range(6))
        rows.append(-row[classes].log_softmax(0)[classes.index(label)])
    torch.testing.assert_close(terms["replay"].detach(), 0.5 * torch.stack(rows).mean())


def test_draws_differ_between_tasks_and_steps_but_not_between_runs() -> None:
    one, same = learnt(2, replay_batch=20), learnt(2, replay_batch=20)
    assert torch.equal(one.replayed[0][0].x, same.replayed[0][0].x)
    assert not torch.equal(one.replayed[0][0].x, one.replayed[1][0].x)
    seed = one.draws.initial_seed()
    one.learn(make_task(2))
    assert one.draws.initial_seed() != seed


def test_first_task_is_that_of_fine_tuning() -> None:
    replay, naive = make(Replay), make(Naive)
    for method in (replay, naive):
        method.learn(make_task(0))
    for mine, theirs in zip(replay.network.parameters(), naive.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    ("budget", "stored"), [({"buffer_size": 7}, 7), ({"per_class": 2}, 12), ({}, 90)]
)
def test_the_budget_reaches_the_buffer(budget: dict[str, int], stored: int) -> None:
    method = learnt(**budget)
    assert len(method.memory) == stored
    item = 9 + 2 + 2 + 4  # pixels, label, task, priority
    assert method.bytes_kept()["memory"] == stored * item


def test_policy_reaches_the_buffer() -> None:
    method = learnt(buffer_size=9, memory={"name": "buffer", "policy": "task-balanced"})
    assert method.memory.task.bincount().tolist() == [3, 3, 3]


def test_samples() -> None:
    method = learnt()
    batch = method.sample(40, task=1)
    assert batch.x.shape == (40, 1, 3, 3)
    assert set(batch.y.tolist()) == {2, 3}
    assert set(method.sample(40, classes=(5, 0)).y.tolist()) == {0, 5}
    assert torch.equal(method.sample(40).x, method.sample(40).x)


def test_default_budget() -> None:
    assert Replay.Config().buffer_size == 500
    assert Replay.Config(per_class=3).buffer_size is None
    assert Replay.Config(buffer_size=None).buffer_size == 500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"buffer_size": 5, "per_class": 2}, "buffer_size or per_class, not both"),
        ({"buffer_size": 0}, "greater than 0"),
        ({"per_class": 0}, "greater than 0"),
        (
            {"per_class": 2, "memory": {"name": "buffer", "policy": "reservoir"}},
            "leave the policy out",
        ),
        ({"memory": {"name": "buffer", "policy": "newest"}}, "policy"),
        ({"replay_batch": -1}, "greater than or equal to 0"),
        ({"replay_loss": 0.0}, "replay_loss"),
        ({"replay_loss": 1.0}, "replay_loss"),
        ({"replay_loss": "max"}, "replay_loss"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Replay.Config.model_validate(options)
