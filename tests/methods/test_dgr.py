"""Deep generative replay: who learns what of whom, in which order, and what outlives a task."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from methods.core.log import SilentLog
from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, StreamInfo, Task, TensorExamples
from methods.dgr import DeepGenerativeReplay
from methods.glr import GenerativeLatentReplay
from methods.rehearsal import Rehearsal
from methods.replay import Replay

SHAPE = (1, 6, 6)
CLASSES_OF = ((0, 1), (2, 3), (4, 5))
VAE = {
    "name": "vae",
    "hidden": [32],
    "latents": 4,
    "iterations": 400,
    "optimizer": {"name": "adam", "lr": 3e-3, "reset": "task"},
}


def make_task(index: int, n: int = 60) -> Task:
    """Return images of which each class lights a row of its own."""
    generator = torch.Generator().manual_seed(index)
    y = torch.tensor(CLASSES_OF[index])[torch.arange(n) % 2]
    x = torch.randint(40, (n, *SHAPE), generator=generator, dtype=torch.uint8)
    x[torch.arange(n), :, y] += 200
    return Task(index, CLASSES_OF[index], TensorExamples(x, y))


def make(method: Any = DeepGenerativeReplay, scenario: Any = "class-incremental", **options: Any):  # type: ignore[no-untyped-def]
    small = {
        "network": {"name": "mlp", "widths": [32, 32]},
        "budget": {"iterations": 60, "batch_size": 16},
        "memory": VAE,
    }
    stream = StreamInfo(Scenario(scenario), 3, SHAPE, 6, CLASSES_OF)
    return method(method.Config.model_validate(small | options), stream, Rng(0))


def learnt(tasks: int = 3, **options: Any) -> Any:
    method = make(**options)
    for index in range(tasks):
        method.learn(make_task(index))
    return method


def accuracy(method: Any, task: int) -> float:
    test = make_task(task).train.gather(torch.arange(60))
    known = task if method.stream.scenario is Scenario.TASK_INCREMENTAL else None
    assert test.y is not None
    return float((method.predict(test.x, known).argmax(1) == test.y).float().mean())


@pytest.mark.parametrize(
    "scenario", [s.value for s in Scenario if s is not Scenario.DOMAIN_INCREMENTAL]
)
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_what_was_learnt_first_survives_by_replay_alone(scenario: str, labels: str) -> None:
    method = learnt(scenario=scenario, replay_labels=labels)
    forgetful = learnt(scenario=scenario, replay_labels=labels, replay_batch=0)
    assert accuracy(method, 0) > 0.9
    assert accuracy(method, 2) > 0.9
    if scenario == "class-incremental":
        assert accuracy(forgetful, 0) < 0.5


def test_a_generator_without_rehearsal_forgets() -> None:
    kept = learnt(replay_batch=0)
    lost = learnt(memory=VAE | {"replay_batch": 0}, replay_batch=0)

    def rows(method: Any) -> Tensor:
        drawn = method.memory.sample(200, torch.Generator().manual_seed(0)).x
        return drawn.float().mean((1, 3))  # how bright each row is

    assert rows(kept).argmax(1).unique().tolist() == [0, 1, 2, 3, 4, 5]
    assert set(rows(lost).argmax(1).unique().tolist()) <= {4, 5}


def test_labels_are_those_of_the_solver_before_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    method = learnt(1)
    before = {key: value.clone() for key, value in method.network.state_dict().items()}
    seen: list[bool] = []

    def watch(*args: Any, **kwargs: Any) -> Tensor:
        now = method.teacher.network.state_dict()
        seen.append(all(torch.equal(now[key], value) for key, value in before.items()))
        return loss(*args, **kwargs)

    loss = method.replay_loss
    monkeypatch.setattr(method, "replay_loss", watch)
    method.learn(make_task(1))
    assert len(seen) == 60
    assert all(seen)
    assert method.teacher is None


def test_the_classifier_of_a_task_does_not_depend_on_how_its_generator_is_trained() -> None:
    """The generator of a task learns after the classifier, and serves the next one."""
    first, other = learnt(1), learnt(1, memory={"name": "vae", "hidden": [8], "iterations": 3})
    x = make_task(0).train.gather(torch.arange(9)).x
    assert torch.equal(first.predict(x), other.predict(x))


def test_samples_of_a_class_are_found_by_the_solver() -> None:
    method = learnt()
    batch = method.sample(12, classes=(3,))
    assert batch.x.shape == (12, *SHAPE)
    assert batch.x.dtype == torch.uint8
    assert batch.y.tolist() == [3] * 12
    assert (method.predict(batch.x).argmax(1) == 3).all()
    assert set(method.sample(20, task=1).y.tolist()) <= {2, 3}
    with pytest.raises(LookupError):
        learnt(1).sample(2, classes=(5,))


def test_what_is_replayed_can_be_audited() -> None:
    assert make().replayed(4) is None
    method = learnt(2)
    batch, depth = method.replayed(50)
    assert depth == 0
    assert set(batch.y.tolist()) <= {0, 1, 2, 3}
    assert torch.equal(method.replayed(50).batch.x, batch.x)
    latent = learnt(2, method=GenerativeLatentReplay, freeze_depth=1)
    batch, depth = latent.replayed(5)
    assert (depth, batch.x.shape) == (1, (5, 32))
    assert latent.encode(make_task(0).train.gather(torch.arange(5)).x, 1).shape == (5, 32)
    assert learnt(1, method=Replay, memory={"name": "buffer"}).replayed(4) is None


def test_each_past_head_labels_what_is_of_no_known_task() -> None:
    method = learnt(2, scenario="task-incremental")
    batch = method.replayed(30).batch
    assert batch.y is None
    assert batch.logits.shape == (30, 6)
    asked = learnt(2, scenario="task-incremental", memory=VAE | {"name": "cvae"})
    batch = asked.replayed(30).batch
    assert (batch.task == batch.y // 2).all()


def test_a_conditional_generator_labels_its_draws() -> None:
    memory = VAE | {"name": "cvae"}
    method = learnt(2, memory=memory)
    assert method.config.replay_labels == "memory"
    batch = method.memory.sample(40, torch.Generator().manual_seed(0))
    assert batch.y is not None
    assert (batch.task == batch.y // 2).all()
    right = (batch.x.float().mean((1, 3)).argmax(1) == batch.y).float().mean()
    assert right > 0.9
    soft = learnt(2, memory=memory, replay_labels="soft")
    assert accuracy(soft, 0) > 0.9


def test_images_are_shown_while_the_generator_learns_and_after() -> None:
    shown: list[tuple[str, tuple[int, ...]]] = []

    class Log(SilentLog):
        def image(self, name: str, x: Tensor, columns: int = 10) -> None:
            assert x.dtype == torch.uint8
            shown.append((name, tuple(x.shape)))

    method = make()
    method.learn(make_task(0), Log())
    names = [name for name, _ in shown]
    assert names == [*(f"generator, step {step}" for step in (100, 200, 300)), "generator"]
    assert all(shape == (50, *SHAPE) for _, shape in shown)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"replay_labels": "memory"}, "does not know the classes"),
        ({"replay_labels": "gold"}, "replay_labels"),
        ({"memory": {"name": "vae", "refresh": "once"}}, "refresh"),
        ({"memory": {"name": "vae", "iterations": 0}}, "iterations"),
        ({"memory": {"name": "wgan-gp", "channels": 8}, "freeze_depth": 1, "depth": 1}, "images"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DeepGenerativeReplay.Config.model_validate(options)


def test_options_without_meaning_are_the_same_configuration() -> None:
    plain = DeepGenerativeReplay.Config()
    assert DeepGenerativeReplay.Config(temperature=3.0) == plain
    assert DeepGenerativeReplay.Config(buffer_size=7) == plain
    assert plain.buffer_size is None
    assert {"depth", "replay_labels"} <= plain.implied
    assert Rehearsal.Config(replay_labels="soft", temperature=3.0).temperature == 3.0


def test_a_buffer_can_be_labelled_by_the_solver_too() -> None:
    method = learnt(2, method=Replay, memory={"name": "buffer"}, replay_labels="soft")
    assert accuracy(method, 0) > 0.9
    assert isinstance(method.sample(3), Batch)
