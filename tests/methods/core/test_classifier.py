"""The loop that most methods share: steps, divergence, hooks, state."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from classifiers import alike, make, make_task, moved, weights
from torch import Tensor, nn

from methods.core.classifier import Classifier
from methods.core.log import SILENT, Log, SilentLog
from methods.core.rng import Rng
from methods.core.task import Batch, Task, TaskClosed
from methods.core.training import Diverged

# The step


@pytest.mark.parametrize(
    ("options", "build"),
    [
        ({"name": "adam", "lr": 0.01}, lambda p: torch.optim.Adam(p, 0.01, fused=True)),
        (
            {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
            lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=0.01, fused=True),
        ),
    ],
)
def test_steps_are_those_of_plain_pytorch(
    options: dict[str, Any], build: Callable[[Any], torch.optim.Optimizer]
) -> None:
    """Written out by hand, task 0 and 1 of a class-incremental stream give the same weights."""
    method = make(optimizer=options)
    for index in (0, 1):
        method.learn(make_task(index))

    with Rng(0).of("network").scoped("initialisation"):
        sizes = itertools.pairwise((16, 8, 8, 8))
        layers = [layer for size in sizes for layer in (nn.Linear(*size), nn.ReLU())]
        network = nn.Sequential(nn.Flatten(), *layers, nn.Linear(8, 6))
    optimizer = build(network.parameters())
    for index in (0, 1):
        task = make_task(index)
        generator = Rng(0).at(index).of("training").generator("order")
        order = torch.cat([torch.randperm(40, generator=generator) for _ in range(2)])
        for rows in order[:64].view(4, 16):
            batch = task.train.gather(rows)
            logits = network(batch.x.float() / 255)
            seen = 2 * (index + 1)
            logits = torch.cat([logits[:, :seen], torch.full((16, 6 - seen), -torch.inf)], 1)
            loss = nn.functional.cross_entropy(logits, batch.y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    by_hand = list(network.parameters())
    assert len(by_hand) == 8
    for mine, theirs in zip(method.network.parameters(), by_hand, strict=True):
        assert torch.equal(mine, theirs)


def test_only_outputs_of_eligible_classes_are_trained() -> None:
    method = make(optimizer="sgd")
    before = weights(method)["head.weight"]
    method.learn(make_task(0))
    after = weights(method)["head.weight"]
    assert not torch.equal(before[:2], after[:2])
    assert torch.equal(before[2:], after[2:])


def test_optimizer_is_carried_on_or_reset() -> None:
    for reset, steps in (("never", 8.0), ("task", None)):
        method = make(optimizer={"name": "adam", "reset": reset})
        method.learn(make_task(0))
        method.learn(make_task(1))
        if steps is None:
            assert method.optimizer is None
        else:
            assert {float(s["step"]) for s in method.optimizer.state.values()} == {steps}


def test_nothing_of_the_last_step_is_kept() -> None:
    method = make()
    method.learn(make_task(0))
    assert all(p.grad is None for p in method.network.parameters())


def test_a_loss_may_have_any_single_term() -> None:
    class Other(Classifier):
        def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
            return {"other": logits.square().mean()}

    before, method = weights(make()), make(Other)
    method.learn(make_task(0))
    assert moved(before, weights(method))


def test_terms_are_added() -> None:
    class Split(Classifier):
        def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
            loss = super().loss_terms(batch, logits)["new"]
            return {"new": loss * 0.25, "a": loss * 0.25, "b": loss * 0.5}

    whole, split = make(optimizer="sgd"), make(Split, optimizer="sgd")
    for method in (whole, split):
        method.learn(make_task(0))
    for name, value in weights(whole).items():
        torch.testing.assert_close(value, weights(split)[name])


# Divergence


def test_divergence_stops_with_its_cause() -> None:
    class Bad(Classifier):
        steps = 0

        def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
            self.steps += 1
            terms = super().loss_terms(batch, logits)
            return terms | {"bad": logits.sum() * (torch.nan if self.steps >= 13 else 0.0)}

    method, task = make(Bad, budget={"iterations": 50, "batch_size": 4}), make_task(0)
    with pytest.raises(Diverged, match=r"loss term '(new|bad)' is nan at step 20 of task 1"):
        method.learn(task)
    assert method.steps == 20
    with pytest.raises(TaskClosed):
        task.train.gather(torch.arange(1))


def test_divergence_in_the_last_steps_is_seen() -> None:
    method = make(optimizer={"name": "sgd", "lr": 1e30}, budget={"iterations": 3, "batch_size": 8})
    with pytest.raises(Diverged, match="at step 3 of task 1"):
        method.learn(make_task(0))


# Hooks and log


def test_hooks_come_in_order() -> None:
    calls: list[str] = []

    class Listening(Classifier):
        def before_task(self, task: Task) -> None:
            calls.append(f"before {task.index} {self.tasks_seen} {self.tasks_learned}")

        def training_examples(self, task: Task) -> Any:
            calls.append("examples")
            return super().training_examples(task)

        def losses(self, batch: Batch) -> dict[str, Tensor]:
            assert self.network.training
            calls.append("losses")
            return super().losses(batch)

        def edit_gradients(self) -> None:
            assert self.network.head.weight.grad is not None
            self.weight = self.network.head.weight.detach().clone()
            calls.append("edit")

        def after_step(self, batch: Batch) -> None:
            assert not torch.equal(self.weight, self.network.head.weight)
            calls.append("step")

        def after_task(self, task: Task, log: Log) -> None:
            assert not self.network.training
            assert self.network.backbone.frozen == 1
            calls.append(f"after {task.index}")

    method = make(Listening, freeze_depth=1, budget={"iterations": 2, "batch_size": 4})
    for index in (0, 1):
        method.learn(make_task(index))
    steps = ["examples", *["losses", "edit", "step"] * 2]
    assert calls == ["before 0 1 0", *steps, "after 0", "before 1 2 1", *steps, "after 1"]


def test_log_hears_of_losses_and_progress() -> None:
    class Writes(SilentLog):
        def __init__(self) -> None:
            self.scalars: list[tuple[str, int]] = []
            self.ticks: list[tuple[int, int]] = []

        def scalar(self, name: str, value: float, step: int) -> None:
            assert value > 0
            self.scalars.append((name, step))

        def tick(self, done: int, total: int) -> None:
            self.ticks.append((done, total))

    log, method = Writes(), make(budget={"iterations": 25, "batch_size": 4})
    method.learn(make_task(0), log)
    assert log.scalars == [("loss/new", step) for step in (10, 20, 25)]
    assert log.ticks == [(40, 100), (80, 100), (100, 100)]


def test_tasks_come_in_order() -> None:
    method = make()
    with pytest.raises(ValueError, match="task 1 came when task 0 was due"):
        method.learn(make_task(1))
    method.learn(make_task(0))
    with pytest.raises(ValueError, match="task 0 came when task 1 was due"):
        method.learn(make_task(0))


# Seeds and state


def test_one_seed_starts_all_methods_alike() -> None:
    class Another(Classifier):
        """A different method, with other options."""

    one = make(freeze_depth=2, optimizer="sgd")
    assert alike(weights(one), weights(make(Another)))
    assert moved(weights(one), weights(make(seed=1)))


def test_fit_and_remember_are_what_learn_does() -> None:
    whole, parts = make(), make()
    whole.learn(make_task(0))
    parts.fit(make_task(0), SILENT)
    assert alike(weights(whole), weights(parts))  # no dropout: nothing draws globally


def test_bytes_kept() -> None:
    method = make(optimizer="sgd")
    values = 16 * 8 + 8 + 2 * (8 * 8 + 8) + 8 * 6 + 6
    method.learn(make_task(0))
    masks = 3 * 6  # one byte for each task and class
    assert method.bytes_kept() == {"network": 4 * values + masks, "optimizer": 0}
    method = make()
    method.learn(make_task(0))
    moments_and_steps = 2 * 4 * values + 4 * 8
    assert method.bytes_kept()["optimizer"] == moments_and_steps
