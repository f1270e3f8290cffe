"""Generative feature replay: what holds features in place, and what is drawn of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from digits import digits
from pydantic import ValidationError
from torch import Tensor, nn

from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, StreamInfo, Task, TensorExamples
from methods.gfr import GenerativeFeatureReplay, distance
from methods.glr import GenerativeLatentReplay
from methods.memories.feature_gan import FeatureGanConfig

SHAPE = (1, 8, 8)
CLASSES_OF = ((0, 1), (2, 3), (4, 5))
GAN = {"name": "wgan-gp", "hidden": (16,), "latents": 4, "iterations": 2, "critic_steps": 1}


def make_task(index: int, classes: tuple[int, ...] | None = None) -> Task:
    classes = CLASSES_OF[index] if classes is None else classes
    return Task(index, classes, digits(*classes))


def make(
    scenario: Any = "class-incremental", classes_of: Any = CLASSES_OF, **options: Any
) -> GenerativeFeatureReplay:
    small = {
        "network": {"name": "mlp", "widths": [24, 12]},
        "budget": {"iterations": 4, "batch_size": 16},
        "memory": GAN,
    }
    stream = StreamInfo(Scenario(scenario), len(classes_of), SHAPE, 10, classes_of)
    config = GenerativeFeatureReplay.Config.model_validate(small | options)
    return GenerativeFeatureReplay(config, stream, Rng(0))


def learnt(tasks: int = 1, **options: Any) -> GenerativeFeatureReplay:
    method = make(**options)
    for index in range(tasks):
        method.learn(make_task(index))
    return method


def begun(tasks: int = 1, **options: Any) -> tuple[GenerativeFeatureReplay, Batch]:
    """Return a method at the first step of the task after so many, and the batch of that step."""
    method, task = learnt(tasks, **options), make_task(tasks)
    method.tasks_seen = tasks + 1
    method.before_task(task)
    method.network.train()
    method.before_epoch(task, 0)
    return method, task.train.gather(torch.arange(16))


# Losses ------------------------------------------------------------------------------------------


def test_distance_is_a_mean_of_squared_norms() -> None:
    features = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    before = torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    assert distance(features, before) == (4 + 25) / 2


def test_an_unchanged_extractor_is_at_no_distance_and_a_moved_one_is_pulled_back() -> None:
    method, batch = begun(distillation=2.0)
    backbone = method.network.backbone
    assert method.losses(batch)["distillation"] == 0
    home = [p.detach().clone() for p in backbone.parameters()]
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in backbone.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=noise))
    descent = torch.optim.SGD(backbone.parameters(), 0.01)
    distances = []
    for _ in range(50):
        term = method.losses(batch)["distillation"]
        descent.zero_grad()
        term.backward()  # type: ignore[no-untyped-call]
        towards = sum(
            float((p.grad * (p.detach() - at)).sum())
            for p, at in zip(backbone.parameters(), home, strict=True)
            if p.grad is not None
        )
        assert towards > 0  # a step against it leads home
        descent.step()
        distances.append(float(term.detach()))
    assert distances[-1] < 0.1 * distances[0]


@pytest.mark.parametrize("scenario", ["class-incremental", "task-incremental"])
@pytest.mark.parametrize(("replay_loss", "share"), [("1/t", 1 / 3), (0.2, 0.2), ("mean", 16 / 24)])
def test_the_loss_is_the_published_sum(
    scenario: str, replay_loss: str | float, share: float
) -> None:
    """In the third task, with half as many replayed features as new ones."""
    method, batch = begun(
        2, scenario=scenario, distillation=0.7, replay_loss=replay_loss, replay_batch=8
    )
    with torch.no_grad():
        for p in method.network.backbone.parameters():
            p.mul_(1.1)
    state = method.draws.get_state()
    old = method.memory.sample(8, method.draws)
    method.draws.set_state(state)
    assert method.past is not None
    assert old.y is not None
    assert batch.y is not None
    network = method.network
    now = network.backbone.run(batch.x).flatten(1).detach().double().numpy()
    before = method.past.run(batch.x).flatten(1).double().numpy()
    weight, bias = (p.detach().double().numpy() for p in (network.head.weight, network.head.bias))

    def entropy(z: Any, y: Tensor, seen: Any) -> float:
        logits = z @ weight.T + bias
        known = [logits[i, list(seen(int(label)))] for i, label in enumerate(y)]
        own = [logits[i, int(label)] for i, label in enumerate(y)]
        said = [v - np.log(np.exp(k).sum()) for v, k in zip(own, known, strict=True)]
        return -float(np.mean(said))

    def seen(label: int) -> Any:
        return range(6) if scenario == "class-incremental" else CLASSES_OF[label // 2]

    expected = {
        "new": share * entropy(now, batch.y, seen),
        "replay": (1 - share) * entropy(old.x.double().numpy(), old.y, seen),
        "distillation": 0.7 * ((now - before) ** 2).sum(1).mean(),
    }
    terms = method.losses(batch)
    assert {name: float(term.detach()) for name, term in terms.items()} == pytest.approx(
        expected, rel=1e-4
    )


def test_replayed_features_teach_the_head_alone() -> None:
    method, batch = begun()
    method.losses(batch)["replay"].backward()  # type: ignore[no-untyped-call]
    assert method.network.head.weight.grad is not None
    assert method.network.head.weight.grad.any()
    assert all(p.grad is None for p in method.network.backbone.parameters())


def test_the_copy_is_of_the_extractor_before_the_task_and_does_not_outlive_it() -> None:
    method, _ = begun()
    assert method.past is not None
    before = [p.clone() for p in method.network.backbone.parameters()]
    method = learnt()
    assert all(map(torch.equal, before, method.network.backbone.parameters()))
    method.learn(make_task(1))
    assert method.past is None
    assert not any(map(torch.equal, before, method.network.backbone.parameters()))


# What is drawn -----------------------------------------------------------------------------------


def share_right(method: GenerativeFeatureReplay, means: Tensor) -> list[float]:
    """Return of each class the share of its draws that are nearest to its mean."""
    found = method.replayed(400)
    assert found is not None
    x, y = found.batch.x, found.batch.y
    assert y is not None
    nearest = torch.cdist(x, means).argmin(1)
    return [float((nearest == c)[y == c].float().mean()) for c in range(len(means))]


def test_features_are_of_the_classes_they_are_drawn_of_and_stay_where_they_were() -> None:
    """By the nearest mean of real features; the second task is learnt without rehearsal."""
    gan = {"name": "wgan-gp", "hidden": (64,), "latents": 8, "iterations": 300, "critic_steps": 3}
    gan |= {"optimizer": {"name": "adam", "lr": 3e-3, "betas": (0.5, 0.9), "reset": "task"}}
    tasks = (make_task(0, (0, 1, 2)), make_task(1, (4, 5)))
    options = {"network": {"name": "mlp", "widths": [32, 16]}, "distillation": 10.0}
    options |= {"budget": {"iterations": 80, "batch_size": 32}}
    held = make(memory=gan | {"alignment": 1.0}, classes_of=((0, 1, 2), (4, 5)), **options)
    held.learn(tasks[0])
    items = [digits(c).gather(torch.arange(len(digits(c)))).x for c in range(3)]
    means = torch.stack([held.encode(x, 2).mean(0) for x in items])
    assert min(share_right(held, means)) > 0.9
    held.learn(tasks[1])
    assert min(share_right(held, means)) > 0.8


def test_classes_that_come_again_are_drawn_of_both_domains() -> None:
    """The second domain has the first one's images inverted; by the nearest mean of the class."""
    gan = {"name": "wgan-gp", "hidden": (64,), "latents": 8, "iterations": 200, "critic_steps": 3}
    gan |= {"optimizer": {"name": "adam", "lr": 3e-3, "betas": (0.5, 0.9), "reset": "task"}}
    method = make(
        "domain-incremental",
        ((0, 1, 2), (0, 1, 2)),
        network={"name": "mlp", "widths": [32, 16]},
        budget={"iterations": 80, "batch_size": 32},
        distillation=10.0,
        memory=gan,
    )
    first = digits(0, 1, 2).gather(torch.arange(len(digits(0, 1, 2))))
    assert first.y is not None
    domains = first.x, 255 - first.x
    for index, x in enumerate(domains):
        method.learn(Task(index, (0, 1, 2), TensorExamples(x, first.y)))
    features = [method.encode(x, 2) for x in domains]
    means = torch.stack(
        [torch.stack([f[first.y == c].mean(0) for c in range(3)]) for f in features]
    )
    drawn = method.replayed(600)
    assert drawn is not None
    x, y = drawn.batch.x, drawn.batch.y
    assert y is not None
    of_first = (x - means[0, y]).norm(dim=1) < (x - means[1, y]).norm(dim=1)
    assert of_first.float().mean().item() == pytest.approx(0.5, abs=0.15)


def test_what_is_drawn_can_be_audited_where_the_head_reads() -> None:
    assert make().replayed(4) is None
    method = learnt()
    batch, depth = method.replayed(8)  # type: ignore[misc]
    assert (depth, batch.x.shape) == (2, (8, 12))
    x = make_task(0).train.gather(torch.arange(5)).x
    with torch.no_grad():
        read = method.network.head(method.encode(x, depth))
    torch.testing.assert_close(read[:, :2], method.predict(x)[:, :2])
    assert method.sample(3) is None
    assert method.replay_drifts
    assert not learnt(freeze_depth=2).replay_drifts


def test_batch_norm_keeps_the_statistics_of_the_first_task() -> None:
    method, batch = begun(network={"name": "dgr-cnn", "channels": 8})
    before = {name: b.clone() for name, b in method.network.backbone.named_buffers()}
    assert before
    assert method.losses(batch)["distillation"] == 0
    method = learnt(2, network={"name": "dgr-cnn", "channels": 8})
    after = dict(method.network.backbone.named_buffers())
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert any(isinstance(module, nn.BatchNorm2d) for module in method.network.modules())


# Options -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 1}, "leave depth out"),
        ({"memory": "vae"}, "give the memory vae conditional: true"),
        ({"memory": {"name": "wgan-gp", "conditional": False, "alignment": 0.0}}, "conditional"),
        ({"memory": {"name": "wgan-gp", "conditional": False}}, "leave out alignment"),
        ({"memory": {"name": "wgan-gp", "channels": 8}}, "leave out channels"),
        ({"replay_labels": "soft"}, "leave replay_labels out"),
        ({"distillation": -1.0}, "greater than or equal to 0"),
        ({"freeze_depth": 3}, "deeper than the network"),
    ],
)
def test_mistakes(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GenerativeFeatureReplay.Config.model_validate(options)


def test_options_without_meaning_are_the_same_configuration() -> None:
    config = GenerativeFeatureReplay.Config
    assert config(depth=2) == config()
    assert config(freeze_depth=2, distillation=9.0) == config(freeze_depth=2)
    assert config(freeze_depth=1, distillation=9.0) != config(freeze_depth=1)
    assert config().memory == FeatureGanConfig()


@pytest.mark.parametrize("memory", ["gaussian", "cvae", "buffer"])
def test_it_is_itself_whatever_its_memory(memory: str) -> None:
    config = GenerativeFeatureReplay.Config.model_validate({"memory": memory})
    assert GenerativeFeatureReplay.named_point(config) is GenerativeFeatureReplay
    named = GenerativeLatentReplay.named_point(GenerativeLatentReplay.Config(freeze_depth=2))
    assert named is GenerativeLatentReplay
