"""What frozen blocks make of an image is computed once a task, and is as if they made it anew."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from methods.core import activations
from methods.core.activations import Activations
from methods.core.rng import Rng
from methods.core.task import Scenario, StreamInfo, Task, TensorExamples
from methods.glr import GenerativeLatentReplay
from methods.joint import Joint
from methods.naive import Naive
from methods.networks import Cnn
from methods.replay import LatentReplay, Replay

SHAPE = (1, 8, 8)
IMAGES, TASKS = 40, 3
CPU = torch.device("cpu")


def make_task(index: int) -> Task:
    generator = torch.Generator().manual_seed(index)
    x = torch.randint(256, (IMAGES, *SHAPE), generator=generator, dtype=torch.uint8)
    return Task(index, (0, 1), TensorExamples(x, torch.arange(IMAGES) % 2))


def make(method: Any, **options: Any) -> Any:
    small = {
        "network": {"name": "cnn", "widths": [3, 4], "hidden": [6]},
        "budget": {"epochs": 3, "batch_size": 16},
    }
    stream = StreamInfo(Scenario.DOMAIN_INCREMENTAL, TASKS, SHAPE, 2, ((0, 1),) * TASKS)
    return method(method.Config.model_validate(small | options), stream, Rng(0))


class Counter:
    """Counts the images that go through a block."""

    def __init__(self, block: nn.Module) -> None:
        self.images = 0
        block.register_forward_hook(self._count)

    def _count(self, block: nn.Module, given: tuple[Tensor], result: Tensor) -> None:
        self.images += len(given[0])


@pytest.mark.parametrize(
    ("method", "options", "passes"),
    [
        (Naive, {}, 1),
        (LatentReplay, {"buffer_size": 10}, 1),
        (LatentReplay, {"buffer_size": 10, "memory": {"name": "buffer", "policy": "herding"}}, 1),
        (GenerativeLatentReplay, {"buffer_size": 10}, 1),
        (LatentReplay, {"buffer_size": 10, "depth": 1}, 2),  # depths 1, for the memory, and 2
    ],
)
def test_one_pass_of_the_frozen_blocks_per_image_task_and_depth(
    method: Any, options: dict[str, Any], passes: int
) -> None:
    learner = make(method, freeze_depth=2, **options)
    learner.learn(make_task(0))
    first = Counter(learner.network.backbone.blocks[0])
    for index in range(1, TASKS):
        learner.learn(make_task(index))
        assert first.images == index * passes * IMAGES


def test_the_first_task_trains_what_freezes_after_it() -> None:
    learner = make(LatentReplay, freeze_depth=2, buffer_size=10)
    first = Counter(learner.network.backbone.blocks[0])
    learner.learn(make_task(0))
    epochs, once_for_the_memory = 3, 1
    assert first.images == (epochs + once_for_the_memory) * IMAGES


def test_frozen_from_the_start_all_tasks_take_one_pass() -> None:
    learner = make(LatentReplay, freeze_depth=2, freeze_from="start", buffer_size=10)
    first = Counter(learner.network.backbone.blocks[0])
    for index in range(TASKS):
        learner.learn(make_task(index))
    assert first.images == TASKS * IMAGES


def test_replayed_images_go_through_the_frozen_blocks_when_they_are_replayed() -> None:
    learner = make(Replay, freeze_depth=2, buffer_size=10, replay_batch=5)
    learner.learn(make_task(0))
    first = Counter(learner.network.backbone.blocks[0])
    learner.learn(make_task(1))
    steps = 3 * 3
    assert first.images == IMAGES + steps * 5


@pytest.mark.parametrize("kept", [True, False])
def test_activations_are_those_of_the_network(kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activations, "_CHUNK", 7)
    if not kept:
        monkeypatch.setattr(activations, "_MOST_KEPT", 0)
    backbone = Cnn(widths=(3, 4), hidden=(6,)).build(SHAPE)
    backbone.freeze(2)
    task = make_task(0)
    carried = Activations(task.train, backbone, 2, CPU)
    rows = torch.tensor([3, 39, 3])
    batch, images = carried.gather(rows), task.train.gather(rows)
    assert len(carried) == IMAGES
    assert not batch.x.requires_grad
    assert batch.x.shape[1:] == backbone.shapes[2]
    torch.testing.assert_close(batch.x, backbone.run(images.x, 0, 2))
    assert torch.equal(batch.y, images.y)  # type: ignore[arg-type]


def test_joint_mixes_tasks_behind_the_frozen_blocks_too() -> None:
    frozen = make(Joint, freeze_depth=2)
    before = None
    for index in range(TASKS):
        frozen.learn(make_task(index))
        weights = [p.clone() for p in frozen.network.backbone.blocks[:2].parameters()]
        assert before is None or all(map(torch.equal, weights, before))
        before = weights


def test_blocks_that_learn_have_no_activations_to_keep() -> None:
    backbone = Cnn(widths=(3, 4), hidden=(6,)).build(SHAPE)
    backbone.freeze(1)
    with pytest.raises(ValueError, match="depth 2 change while the network learns"):
        Activations(make_task(0).train, backbone, 2, CPU)


def test_nothing_of_a_task_is_kept_once_it_is_learnt() -> None:
    learner = make(Naive, freeze_depth=2)
    for index in range(2):
        learner.learn(make_task(index))
        assert not learner._activations
