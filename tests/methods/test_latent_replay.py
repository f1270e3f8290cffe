"""Replay behind frozen blocks: what is stored there, and that it is as good as storing images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from methods.core.rng import Rng
from methods.core.task import Scenario, StreamInfo, Task, TensorExamples
from methods.glr import GenerativeLatentReplay
from methods.rehearsal import Rehearsal
from methods.replay import LatentReplay, Replay

SHAPE = (1, 6, 6)
CLASSES_OF = ((0, 1), (2, 3), (4, 5))


def make_task(index: int, n: int = 30) -> Task:
    generator = torch.Generator().manual_seed(index)
    x = torch.randint(256, (n, *SHAPE), generator=generator, dtype=torch.uint8)
    y = torch.tensor(CLASSES_OF[index])[torch.arange(n) % 2]
    return Task(index, CLASSES_OF[index], TensorExamples(x, y))


def make(method: Any, scenario: Scenario = Scenario.CLASS_INCREMENTAL, **options: Any) -> Any:
    small = {
        "network": {"name": "cnn", "widths": [4, 6], "hidden": [8]},
        "budget": {"iterations": 6, "batch_size": 8},
        "freeze_depth": 2,
        "buffer_size": 12,
    }
    stream = StreamInfo(scenario, 3, SHAPE, 6, CLASSES_OF)
    return method(method.Config.model_validate(small | options), stream, Rng(0))


def learnt(method: Any, tasks: int = 3, **options: Any) -> Any:
    learner = make(method, **options)
    for index in range(tasks):
        learner.learn(make_task(index))
    return learner


@pytest.mark.parametrize("scenario", list(Scenario))
def test_stored_activations_teach_what_their_images_would(scenario: Scenario) -> None:
    """The same draws at depths 0, 1 and 2, carried on through the same frozen blocks."""
    test = make_task(0).train.gather(torch.arange(10)).x
    known = 0 if scenario is Scenario.TASK_INCREMENTAL else None
    images, between, behind = (
        learnt(method, scenario=scenario, depth=depth).predict(test, known)
        for method, depth in ((Replay, 0), (LatentReplay, 1), (LatentReplay, 2))
    )
    torch.testing.assert_close(images, between)
    torch.testing.assert_close(images, behind)


def test_what_is_stored_is_what_the_network_computes_to_the_end() -> None:
    learner = learnt(LatentReplay, depth=1, memory={"name": "buffer", "policy": "reservoir"})
    stored = learner.memory
    assert stored.x.shape == (12, *learner.network.backbone.shapes[1])
    everything = [make_task(i).train.gather(torch.arange(30)) for i in range(3)]
    with torch.no_grad():
        passed = torch.cat([learner.network.backbone.run(b.x, 0, 1) for b in everything])
    for item in stored.x:
        assert (passed - item).abs().flatten(1).max(1).values.min() < 1e-5


def test_activations_are_of_clean_images_in_eval_mode() -> None:
    network = {"name": "alexnet", "image_size": 63, "pool": 1, "hidden": [4]}
    learner = make(LatentReplay, network=network, freeze_depth=7, buffer_size=4)
    learner.learn(make_task(0, 8))
    before = learner.memory.x.clone()
    learner.learn(make_task(1, 8))
    kept = learner.memory.x[learner.memory.task == 0]
    assert all((before - item).abs().sum(1).min() == 0 for item in kept)
    again = learner.network.backbone.run(make_task(0, 8).train.gather(torch.arange(8)).x, 0, 7)
    assert all((again - item).abs().sum(1).min() < 1e-5 for item in kept)


def test_generated_activations_are_of_the_classes_of_the_past() -> None:
    learner = learnt(GenerativeLatentReplay, tasks=2)
    drawn = learner.memory.sample(50, torch.Generator().manual_seed(0))
    assert set(drawn.y.tolist()) == {0, 1, 2, 3}
    assert drawn.x.shape == (50, *learner.network.backbone.shapes[2])
    assert drawn.x.min() >= 0
    assert learner.sample(5) is None


def test_a_generator_of_images_gives_images() -> None:
    learner = learnt(Rehearsal, tasks=2, depth=0, memory={"name": "gaussian"})
    images = learner.sample(20, task=1)
    assert images.x.dtype == torch.uint8
    assert images.x.shape == (20, *SHAPE)
    assert set(images.y.tolist()) == {2, 3}


def test_the_last_blocks_and_the_head_learn_on() -> None:
    learner = make(LatentReplay)
    learner.learn(make_task(0))
    frozen = [p.clone() for p in learner.network.backbone.blocks[:2].parameters()]
    learning = [p.clone() for p in learner.network.backbone.blocks[2:].parameters()]
    learner.learn(make_task(1))
    assert all(map(torch.equal, frozen, learner.network.backbone.blocks[:2].parameters()))
    assert not any(map(torch.equal, learning, learner.network.backbone.blocks[2:].parameters()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 3}, "give at most freeze_depth, which is 2"),
        ({"freeze_depth": 4}, "deeper than the network"),
        ({"memory": {"name": "gmm", "policy": "reservoir"}}, "policy"),
        ({"memory": {"name": "gmm", "components": 0}}, "greater than 0"),
        ({"variant": "as-released", "memory": "kmeans"}, "leave memory out"),
        ({"variant": "as-released", "buffer_size": None, "per_class": 2}, "give buffer_size"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(GenerativeLatentReplay, **options)
