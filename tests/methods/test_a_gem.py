"""Averaged gradient episodic memory: its projection, and its reference."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny import competing, learnt, make, make_task
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from methods.a_gem import AGem, without_conflict
from methods.core.gradient_vectors import current_gradient
from methods.core.task import Scenario, Task
from methods.gem import projected


def test_by_hand() -> None:
    gradient, reference = torch.tensor([3.0, -4.0]), torch.tensor([0.0, 2.0])
    assert without_conflict(gradient, reference).tolist() == [3, 0]
    for harmless in (-reference, torch.tensor([4.0, 3.0]), torch.zeros(2)):
        assert without_conflict(gradient, harmless) is gradient


def test_it_is_the_projection_of_gem_with_one_past_gradient() -> None:
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        gradient, reference = torch.randn(2, 50, generator=generator)
        found = without_conflict(gradient, reference)
        torch.testing.assert_close(found, projected(gradient, reference[None]))
        if found is not gradient:
            assert abs(float(found @ reference)) < 1e-4


class Listening(AGem):
    """Writes down the network, its gradient before and after, and what was drawn."""

    def before_task(self, task: Task) -> None:
        super().before_task(task)
        self.steps: list[tuple[nn.Module, Tensor, Tensor, Tensor]] = []
        self.rows: Tensor | None = None

    def drawn(self, stored: int, n: int) -> Tensor:
        self.rows = super().drawn(stored, n)
        return self.rows

    def edit_gradients(self) -> None:
        learning = [p for p in self.network.parameters() if p.requires_grad]
        network, before = copy.deepcopy(self.network), current_gradient(learning)
        super().edit_gradients()
        if self.rows is not None:
            self.steps.append((network, before, current_gradient(learning), self.rows))


@pytest.mark.parametrize("frozen", [0, 1])
@pytest.mark.parametrize("scenario", list(Scenario))
def test_each_step_is_projected_by_a_draw_of_all_past_tasks(
    scenario: Scenario, frozen: int
) -> None:
    """In the third task, image by image among the classes that it competes with."""
    options = {"freeze_depth": frozen, "replay_batch": 9, "optimizer": {"name": "adam", "lr": 0.01}}
    learner = learnt(Listening, 3, scenario, budget={"iterations": 20, "batch_size": 10}, **options)
    turned, tasks, memory = 0, set(), learner.memory
    assert len(learner.steps) == 20
    for network, before, after, rows in learner.steps:
        assert len(rows.unique()) == 9
        losses = []
        for row in rows:
            task = int(memory.task[row])
            tasks.add(task)
            classes = competing(scenario, task, 2)
            y = torch.tensor(classes.index(int(memory.y[row])))
            losses.append(cross_entropy(network(memory.x[row][None])[0, classes], y))
        learning = [p for p in network.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(torch.stack(losses).mean(), learning)
        reference = torch.cat([gradient.flatten() for gradient in gradients])
        product = before @ reference
        if product < 0:
            turned += 1
            before = before - product / (reference @ reference) * reference
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-5)
    assert tasks == {0, 1}
    assert turned


def test_as_many_are_drawn_as_new_ones_and_none_in_the_first_task() -> None:
    learner = learnt(Listening, 1)
    assert not learner.steps
    for index in (1, 2):
        learner.learn(make_task(index))
        assert [len(rows) for *_, rows in learner.steps] == [7 if index == 1 else 10] * 5
    assert not torch.equal(learner.steps[0][-1], learner.steps[1][-1])
    assert make(AGem).config.replay_batch is None
