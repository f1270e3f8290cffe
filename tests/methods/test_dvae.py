"""Shared and private autoencoders: they learn, keep, and cannot be told the answer."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch
from digits import digits
from pydantic import ValidationError
from torch import Tensor

from methods.core.learnt import Wanted
from methods.core.log import SilentLog
from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, StreamInfo, Task, TensorExamples
from methods.dvae import SharedPrivateVae
from methods.shared_private import Past

CLASSES_OF = ((0, 1), (2, 3), (4, 5))


def info(shape: tuple[int, int, int] = (1, 8, 8), tasks: int = 3) -> StreamInfo:
    return StreamInfo(Scenario.TASK_INCREMENTAL, tasks, shape, 2 * tasks, CLASSES_OF[:tasks])


class Noting(SharedPrivateVae):
    """Writes down what each step rehearses."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.noted: list[list[int]] = []
        self.drawn: list[Tensor] = []
        self.drew: list[Past | None] = []

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        if self.old is not None:
            self.noted.append(self.old.y.tolist())
            self.drawn.append(self.old.x)
            self.drew.append(self.past)
        return super().losses(batch)


class Pictures(SilentLog):
    def __init__(self) -> None:
        self.shown: dict[str, Tensor] = {}

    def image(self, name: str, x: Tensor, columns: int = 10) -> None:
        self.shown[name] = x


def make(stream: StreamInfo | None = None, steps: int = 5, **options: Any) -> Noting:
    small = {"budget": {"iterations": steps, "batch_size": 16}, **options}
    return Noting(Noting.Config.model_validate(small), stream or info(), Rng(0))


def task(index: int) -> Task:
    return Task(index, CLASSES_OF[index], digits(*CLASSES_OF[index]))


def learnt(tasks: int, **options: Any) -> Noting:
    method = make(**options)
    for index in range(tasks):
        method.learn(task(index))
    return method


@pytest.fixture(scope="module")
def trained() -> Noting:
    return learnt(3, steps=100, optimizer={"name": "adam", "lr": 0.005, "reset": "task"})


@pytest.mark.parametrize("index", [0, 1, 2])
def test_it_keeps_what_it_learnt(index: int, trained: Noting) -> None:
    examples = digits(*CLASSES_OF[index])
    said = trained.predict(examples.x, index).argmax(1)
    assert said.eq(examples.y).float().mean() > 0.95


def test_the_posterior_does_not_collapse(trained: Noting) -> None:
    """Codes tell images apart: by nats, and better than the mean image of the class does."""
    network = trained.network
    examples = digits(4)
    assert examples.y.eq(4).sum() == len(examples)
    x, y = network.enter(examples.x), examples.y
    for part in (network.shared, network.private_of(2)):
        with torch.no_grad():
            code = part.encode(x)
            bound = part.bound(x, part.decode(code.z, network.condition(y)), code)
        assert bound.divergence.mean() > 5
        assert bound.reconstruction.mean() < 0.8 * (x - x.mean(0)).square().sum((1, 2, 3)).mean()


@pytest.mark.parametrize("classes", CLASSES_OF)
def test_draws_lie_around_the_mean_image_of_their_class(
    classes: tuple[int, ...], trained: Noting
) -> None:
    """On average they are nearer to it than to that of the task's other class."""
    real = torch.stack([digits(label).x.float().mean(0) for label in classes]).flatten(1)
    draws = [trained.sample(200, classes=(label,)).x.float().mean(0) for label in classes]
    nearest = torch.cdist(torch.stack(draws).flatten(1), real).argmin(1)
    assert nearest.tolist() == [0, 1]


def test_only_what_is_shared_can_forget() -> None:
    """What is a past task's own stays, bit for bit; the shared autoencoder moves."""
    method = learnt(1)
    before = method.state_dict()["network"]
    method.learn(task(1))
    after = method.state_dict()["network"]
    for name, value in before.items():
        moves = name.startswith("shared") or name.split(".")[1] == "1"
        assert torch.equal(value, after[name]) != moves, name


@pytest.mark.parametrize(("refresh", "times"), [("task", 1), ("epoch", 2), ("step", 5)])
def test_draws_are_renewed(refresh: str, times: int) -> None:
    """Each step rehearses as many of each past class; four steps are a pass over 60 images."""
    method = make(refresh=refresh, samples_per_class=3)
    for index in range(2):
        examples = digits(*CLASSES_OF[index])
        few = TensorExamples(examples.x[:60], examples.y[:60])
        method.learn(Task(index, CLASSES_OF[index], few))
    assert method.noted == [[0, 0, 0, 1, 1, 1]] * 5
    drawn = torch.stack(method.drawn).flatten(1)
    assert len(drawn.unique(dim=0)) == times


def test_who_draws_is_made_once_for_a_task_and_does_not_outlive_it() -> None:
    method = learnt(3)
    assert [past.tasks for past in method.drew if past is not None] == [1] * 5 + [2] * 5
    assert len({id(past) for past in method.drew}) == 2
    assert method.past is None


def test_nothing_is_replayed_where_nothing_is_asked_for() -> None:
    method = learnt(2, samples_per_class=0)
    assert method.noted == []
    assert method.replayed(4) is None
    assert learnt(0).replayed(4) is None


def test_draws_of_the_audit_are_labelled() -> None:
    replayed = learnt(2).replayed(40)
    assert replayed is not None
    batch, depth = replayed
    assert depth == 0
    assert batch.x.shape == (40, 1, 8, 8)
    assert batch.x.dtype == torch.uint8
    assert batch.y is not None
    assert batch.task is not None
    assert batch.y.bincount().tolist() == [10] * 4
    assert torch.equal(batch.task, batch.y // 2)


def test_colours_stay_in_their_channels() -> None:
    """Images [C, H, W] of red and of blue: so are their draws."""
    noise = torch.Generator().manual_seed(0)
    x = torch.randint(60, (80, 3, 8, 8), generator=noise, dtype=torch.uint8)
    y = torch.arange(80) % 2
    x[torch.arange(80), 2 * y] += 180
    method = make(info((3, 8, 8)), 60, optimizer={"name": "adam", "lr": 0.01, "reset": "task"})
    method.learn(Task(0, (0, 1), TensorExamples(x, y)))
    for label in (0, 1):
        means = method.sample(20, classes=(label,)).x.float().mean((0, 2, 3))
        assert means.argmax() == 2 * label
        assert means[1] < 100


def test_pictures_show_each_class_seen_in_a_row() -> None:
    method, pictures = learnt(1, steps=8), Pictures()
    method.learn(task(1), pictures)
    names = [*(f"generator, step {step}" for step in (2, 4, 6)), "generator"]
    assert list(pictures.shown) == names
    assert all(x.shape == (40, 1, 8, 8) for x in pictures.shown.values())
    noise = Rng(0).at(2).of("dvae").generator("generator")
    labels = torch.arange(4).repeat_interleave(10)
    drawn = Past(method.network, method.stream, 2).draw(Wanted(labels, labels // 2), noise)
    assert torch.equal(pictures.shown["generator"], drawn.x)


def test_nothing_is_kept_but_weights() -> None:
    weights = sum(p.nbytes for p in make().network.parameters())
    masks = 3 * 6
    assert learnt(2).bytes_kept() == {"network": weights + masks, "optimizer": 0}


@pytest.mark.parametrize("task_id", [None, -1, 3])
def test_the_task_has_to_be_one_of_the_stream(task_id: int | None) -> None:
    with pytest.raises(ValueError, match="give one from 0 to 2"):
        make().predict(digits(0).x[:1], task_id)


# As released -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def leaky() -> tuple[SharedPrivateVae, Tensor, Tensor]:
    """The published training on images of noise, and others of noise with random labels."""
    noise = torch.Generator().manual_seed(0)
    x = torch.randint(256, (1024, 1, 8, 8), generator=noise, dtype=torch.uint8)
    y = torch.randint(2, (1024,), generator=noise)
    released = {
        "variant": "as-released",
        "budget": {"iterations": 250, "batch_size": 64},
        "optimizer": {"name": "adam", "lr": 0.005, "reset": "task"},
    }
    method = SharedPrivateVae(
        SharedPrivateVae.Config.model_validate(released), info(tasks=1), Rng(0)
    )
    method.learn(Task(0, (0, 1), TensorExamples(x[:512], y[:512])))
    return method, x[512:], y[512:]


def test_as_released_noise_is_classified_by_the_label_that_it_is_told(
    leaky: tuple[SharedPrivateVae, Tensor, Tensor],
) -> None:
    method, x, y = leaky
    told, wrong = (method.predict_given_labels(x, z, 0).argmax(1) for z in (y, 1 - y))
    assert told.eq(y).float().mean() > 0.99
    assert wrong.eq(y).float().mean() < 0.01


def test_as_released_noise_cannot_be_classified_without_it(
    leaky: tuple[SharedPrivateVae, Tensor, Tensor],
) -> None:
    method, x, y = leaky
    assert method.predict(x, 0).argmax(1).eq(y).float().mean() == pytest.approx(0.5, abs=0.1)


def test_only_what_was_released_can_be_told_a_label() -> None:
    x = digits(0).x[:2]
    with pytest.raises(ValueError, match="only variant as-released"):
        make().predict_given_labels(x, torch.zeros(2, dtype=torch.int64), 0)


def test_as_released_draws_join_the_task_once_and_first() -> None:
    class Seeing(Noting):
        def losses(self, batch: Batch) -> dict[str, Tensor]:
            assert batch.y is not None
            self.noted.append(batch.y.tolist())
            return super().losses(batch)

    options = {"variant": "as-released", "budget": {"iterations": 5, "batch_size": 16}}
    method = Seeing(Seeing.Config.model_validate(options), info(), Rng(0))
    for index in range(2):
        examples = digits(*CLASSES_OF[index])
        method.learn(Task(index, CLASSES_OF[index], TensorExamples(examples.x[:60], examples.y)))
    first, second = method.noted[:5], method.noted[5:]
    labels = digits(0, 1).y[:60].tolist(), digits(2, 3).y[:60].tolist()
    assert list(chain(*first[:3])) == labels[0][:48]
    assert first[3:] == first[:2]
    assert list(chain(*second[:4])) == ([0] * 4 + [1] * 4 + labels[1])[:64]
    assert second[4] == second[0]


# Options -----------------------------------------------------------------------------------------


def test_options_without_meaning_make_no_other_trial() -> None:
    config = SharedPrivateVae.Config.model_validate
    of_replay = {"refresh": "task", "replay_through": "current", "replay_loss": "mean"}
    assert config({"samples_per_class": 0, **of_replay}) == config({"samples_per_class": 0})
    released = {"variant": "as-released", "scale": 3.0, "beta": 2.0, "activation": "relu"}
    assert config(released | of_replay) == config({"variant": "as-released"})
    assert config(of_replay) != config({})


def test_early_stopping_is_refused() -> None:
    budget = {"epochs": 2, "early_stopping": {"patience": 1}}
    with pytest.raises(ValidationError, match="has no early_stopping: leave it out"):
        SharedPrivateVae.Config.model_validate({"budget": budget})
