"""Frozen blocks: from when on they stay as they are, and what else learns and is restored."""

from __future__ import annotations

import pytest
from classifiers import Noisy, alike, make, make_task, moved, weights
from pydantic import ValidationError

from methods.core.task import Batch, Task
from methods.naive import Naive


@pytest.mark.parametrize("reset", ["never", "task"])
@pytest.mark.parametrize("start", ["first-task", "start"])
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_frozen_blocks_do_not_move(depth: int, start: str, reset: str) -> None:
    """Neither by gradients, nor by weight decay and moments, nor in their statistics."""
    method = make(
        network=Noisy(),
        freeze_depth=depth,
        freeze_from=start,
        optimizer={"name": "adam", "weight_decay": 0.5, "reset": reset},
    )
    state = weights(method)
    for index in range(3):
        method.learn(make_task(index))
        after = weights(method)
        names = moved(state, after)
        frozen = depth if index > 0 or start == "start" else 0
        blocks = {int(name.split(".")[2]) for name in names if name.startswith("backbone")}
        assert blocks == {block for block in (0, 2) if block >= frozen}
        assert {"head.weight", "head.bias"} <= names
        state = after
        for i, block in enumerate(method.network.backbone.blocks):
            method.network.train()
            assert all(m.training is (i >= depth) for m in block.modules())
            assert all(p.requires_grad is (i >= depth) for p in block.parameters())


@pytest.mark.parametrize("reset", ["never", "task"])
def test_optimizer_holds_learning_parameters_only(reset: str) -> None:
    """Also where its moments are carried on: freezing makes a new one."""

    class Shows(Naive):
        def before_task(self, task: Task) -> None:
            self.kept_from_before = self.optimizer

        def after_step(self, batch: Batch) -> None:
            assert self.optimizer is not None
            self.groups = [p for g in self.optimizer.param_groups for p in g["params"]]

    method = make(Shows, freeze_depth=2, optimizer={"name": "adam", "reset": reset})
    counts = []
    for index in range(3):
        method.learn(make_task(index))
        counts.append(len(method.groups))
        assert (method.kept_from_before is None) is (reset == "task" or index < 2)
        learning = {id(p) for p in method.network.parameters() if p.requires_grad}
        assert index == 0 or {id(p) for p in method.groups} == learning
    assert counts == [8, 4, 4]


def test_first_task_is_the_same_for_every_depth() -> None:
    first = []
    for depth in range(4):
        method = make(network=Noisy(), freeze_depth=depth)
        method.learn(make_task(0))
        first.append(weights(method))
    assert all(alike(first[0], other) for other in first)


def test_everything_frozen_leaves_the_head() -> None:
    method = make(freeze_depth=3, freeze_from="start")
    before = weights(method)
    method.learn(make_task(0))
    assert moved(before, weights(method)) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("start", ["first-task", "start"])
def test_freezing_is_restored(start: str) -> None:
    options = {"network": Noisy(), "freeze_depth": 2, "freeze_from": start}
    whole, resumed = make(**options), make(**options)
    whole.learn(make_task(0))
    resumed.load_state_dict(whole.state_dict())
    assert resumed.network.backbone.frozen == 2
    unfrozen = make(**options)
    unfrozen.load_state_dict(make(**options).state_dict())  # of a method that has learnt nothing
    assert unfrozen.network.backbone.frozen == (2 if start == "start" else 0)
    for method in (whole, resumed):
        method.learn(make_task(1))
    assert alike(weights(whole), weights(resumed))


@pytest.mark.parametrize("depth", [-1, 4])
def test_freezing_deeper_than_the_network(depth: int) -> None:
    with pytest.raises(ValidationError, match="freeze_depth"):
        make(freeze_depth=depth)
