"""Pseudo-rehearsal: what pulls, what stays as it was, and what is kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from digits import digits
from pydantic import ValidationError
from torch import Tensor

from methods.core.log import SILENT
from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, StreamInfo, Task
from methods.core.training import masked_cross_entropy
from methods.naive import Naive
from methods.networks.heads import TaskHeads
from methods.prer import PseudoRehearsal

CLASSES_OF = ((0, 1), (2, 3), (4, 5))
STREAM = StreamInfo(Scenario.TASK_INCREMENTAL, 3, (1, 8, 8), 6, CLASSES_OF)
HEADS: dict[str, Any] = {"name": "prer-cnn-mnist", "embedding": 8}
SMALL: dict[str, Any] = {
    "network": {"name": "mlp", "widths": [16, 8]},
    "budget": {"iterations": 4, "batch_size": 16},
}
OWN: dict[str, Any] = {
    "autoencoder": {"iterations": 2},
    "flow": {"iterations": 2, "blocks": 1, "levels": 1},
    "pool": 40,
    "replay_batch": 8,
}


def make(method: Any = PseudoRehearsal, stream: StreamInfo = STREAM, **options: Any) -> Any:
    given = SMALL | (OWN if method is not Naive else {}) | options
    return method(method.Config.model_validate(given), stream, Rng(0))


def of_classes(*classes_of: tuple[int, ...]) -> StreamInfo:
    """Return a stream whose tasks have these classes, of ten."""
    return StreamInfo(Scenario.TASK_INCREMENTAL, len(classes_of), (1, 8, 8), 10, classes_of)


def task(index: int, stream: StreamInfo = STREAM) -> Task:
    return Task(index, stream.classes_of[index], digits(*stream.classes_of[index]))


def learnt(
    tasks: int, method: Any = PseudoRehearsal, stream: StreamInfo = STREAM, **options: Any
) -> Any:
    one = make(method, stream, **options)
    for index in range(tasks):
        one.learn(task(index, stream))
    return one


class Noting(PseudoRehearsal):
    """Writes down the terms of each step."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.terms: list[dict[str, float]] = []
        self.held: list[int] = []

    def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        terms = super().loss_terms(batch, logits)
        self.terms.append({name: float(term.detach()) for name, term in terms.items()})
        self.held.append(0 if self.anchors is None else len(self.anchors.images))
        return terms


def weights(method: Any, *parts: str) -> dict[str, Tensor]:
    state = method.network.state_dict()
    return {name: value.clone() for name, value in state.items() if name.startswith(parts or "")}


# What pulls --------------------------------------------------------------------------------------


def test_loss_is_that_of_the_task_and_the_drift_times_its_weight() -> None:
    prer = learnt(2, Noting, weight=3.0)
    assert [set(terms) for terms in prer.terms] == [{"new"}] * 4 + [{"new", "drift"}] * 4
    first, *others = [terms["drift"] for terms in prer.terms[4:]]
    assert abs(first) < 1e-6
    assert all(term > 1e-6 for term in others)
    prer.before_task(task(2))
    with torch.no_grad():
        for parameter in prer.network.backbone.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    batch = task(2).train.gather(torch.arange(10))
    prer.draws = torch.Generator().manual_seed(4)
    terms = prer.loss_terms(batch, prer.network(batch.x))
    rows = torch.randint(40, (16,), generator=torch.Generator().manual_seed(4))
    now = prer.network.backbone.run(prer.memory.draws.x[rows])
    cosine = torch.nn.functional.cosine_similarity(now, prer.anchors.before[rows])
    torch.testing.assert_close(terms["drift"], 3 * (1 - cosine).mean())


def test_without_weight_it_is_fine_tuning() -> None:
    optimizer = {"name": "adam", "reset": "task"}
    prer, naive = learnt(3, weight=0.0), learnt(3, Naive, optimizer=optimizer)
    for mine, theirs in zip(prer.network.parameters(), naive.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def moved(**options: Any) -> float:
    """How far a second task moves the embeddings of real images of the first: a mean cosine."""
    optimizer = {"name": "adam", "lr": 3e-3, "reset": "task"}
    budget = {"iterations": 25, "batch_size": 32}
    prer = learnt(1, network=HEADS, optimizer=optimizer, budget=budget, **options)
    x = digits(0, 1).gather(torch.arange(100)).x
    prer.network.eval()
    before = prer.network.backbone.run(x).flatten(1).detach()
    prer.learn(task(1))
    now = prer.network.backbone.run(x).flatten(1).detach()
    return float(torch.nn.functional.cosine_similarity(now, before).mean())


def test_embeddings_stay_and_are_pushed_apart_as_released() -> None:
    trained = {
        "autoencoder": {"iterations": 60},
        "flow": {"iterations": 40, "blocks": 2, "levels": 1},
    }
    free = moved(**trained, weight=0.0)
    assert moved(**trained, weight=10.0) > free + 0.02
    assert moved(**trained, weight=10.0, distance="euclidean") > free + 0.02
    assert moved(**trained, weight=10.0, variant="as-released") < free - 0.1


def test_as_released_adds_the_similarity() -> None:
    prer = learnt(2, Noting, variant="as-released", weight=2.0)
    drift = [terms["drift"] for terms in prer.terms[4:]]
    assert drift[0] == pytest.approx(2.0)
    assert drift[-1] < drift[0]
    assert prer.held[4:] == [len(digits(0, 1))] * 4
    prer.before_task(task(2))
    assert len(prer.anchors.groups) == 4  # class by class
    assert prer.anchors.drift(5, "cosine", prer.draws).ndim == 0


def test_as_released_there_are_as_many_images_of_each_class_in_every_task() -> None:
    prer = learnt(2, variant="as-released", weight=2.0)
    prer.before_task(task(2))
    with torch.no_grad():
        for parameter in prer.network.backbone.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    batch = task(2).train.gather(torch.arange(10))
    prer.draws, draws = (torch.Generator().manual_seed(4) for _ in range(2))
    term = prer.loss_terms(batch, prer.network(batch.x))["drift"]
    images, rows = prer.memory.draws, []
    for label in range(4):
        of_class = (images.y == label).nonzero().squeeze(1)
        rows.append(of_class[torch.randint(len(of_class), (8,), generator=draws)])
    now = prer.network.backbone.run(images.x[torch.cat(rows)])
    cosine = torch.nn.functional.cosine_similarity(now, prer.anchors.before[torch.cat(rows)])
    torch.testing.assert_close(term, 2 * cosine.mean())


def test_of_each_past_class_as_many_images_are_rehearsed() -> None:
    stream = of_classes((0, 1, 2, 3, 4, 5), (6,), (7,))
    prer = learnt(2, stream=stream, pool=700)
    prer.before_task(task(2, stream))
    counts = prer.memory.draws.y.bincount(minlength=10).tolist()
    assert all(95 <= count <= 105 for count in counts[:7])  # digits are not equally many
    assert counts[6] == 100
    assert counts[7:] == [0, 0, 0]


def test_l1_is_the_sum_of_absolute_weights_of_the_encoder() -> None:
    prer = make(l1=0.25)
    prer.tasks_seen = 1
    batch = task(0).train.gather(torch.arange(10))
    logits = prer.network(batch.x)
    terms = prer.loss_terms(batch, logits)
    expected = sum(p.abs().sum() for p in prer.network.backbone.parameters()) / 4
    torch.testing.assert_close(terms["l1"], expected)
    mask = torch.tensor([True, True, False, False, False, False])
    torch.testing.assert_close(terms["new"], masked_cross_entropy(logits, batch.y, mask))


# What stays --------------------------------------------------------------------------------------


MOVING = pytest.mark.parametrize(
    "optimizer",
    [
        {"name": "adam", "reset": "never", "weight_decay": 0.1},
        {"name": "sgd", "momentum": 0.9, "reset": "never"},
    ],
    ids=lambda optimizer: optimizer["name"],
)


@MOVING
def test_heads_of_other_tasks_never_move(optimizer: dict[str, Any]) -> None:
    prer = make(network=HEADS, optimizer=optimizer)
    assert isinstance(prer.network.head, TaskHeads)
    for index in range(3):
        before = weights(prer, "head.")
        prer.learn(task(index))
        after = weights(prer, "head.")
        changed = {name for name in after if not torch.equal(before[name], after[name])}
        assert changed == {name for name in after if name.startswith(f"head.heads.{index}.")}


@MOVING
def test_rows_of_classes_of_other_tasks_never_move(optimizer: dict[str, Any]) -> None:
    prer = make(optimizer=optimizer)
    for index in range(3):
        before = weights(prer, "head.")
        prer.learn(task(index))
        for name, value in weights(prer, "head.").items():
            changed = (value != before[name]).view(6, -1).any(1)
            assert changed.nonzero().flatten().tolist() == [*CLASSES_OF[index]]


def test_a_head_learns_in_each_task_that_it_serves() -> None:
    stream = of_classes((0, 1, 2), (3, 4), (2, 5), (0, 1, 2))
    served = (("0",), ("1",), ("0", "2"), ("0",))
    prer = make(stream=stream, network=HEADS)
    for index, names in enumerate(served):
        before = weights(prer, "head.")
        prer.learn(task(index, stream))
        after = weights(prer, "head.")
        changed = {name for name in after if not torch.equal(before[name], after[name])}
        expected = tuple(f"head.heads.{name}." for name in names)
        assert changed == {name for name in after if name.startswith(expected)}


def test_the_generator_learns_without_the_classifier() -> None:
    """Remembering moves no weight of the encoder, and training none of the generator."""
    prer = make()
    prer.fit(task(0), SILENT)
    before, generator = weights(prer), prer.generator.state_dict()
    prer.remember(task(0), SILENT)
    torch.testing.assert_close(weights(prer), before, rtol=0, atol=0)
    after = prer.generator.state_dict()
    assert not torch.equal(
        after["autoencoder"]["projector.weight"], generator["autoencoder"]["projector.weight"]
    )


# What is kept ------------------------------------------------------------------------------------


def test_resampled_images_are_dropped_and_memory_is_constant() -> None:
    prer, kept = make(Noting), []
    for index in range(3):
        prer.learn(task(index))
        kept.append(prer.bytes_kept()["memory"])
        assert len(prer.memory.draws) == 0
        assert prer.anchors is None
        assert prer.generator.past is None
    assert prer.held == [0] * 4 + [40] * 8
    parts = (prer.generator.autoencoder, prer.generator.flow)
    networks = sum(p.nbytes for part in parts for p in part.state_dict().values())
    counts = 2 * 3 * 8  # of two more classes: task, class and items
    assert [kept[1] - kept[0], kept[2] - kept[1]] == [counts, counts]
    assert networks < kept[0] < networks + 2000


def test_frozen_images_are_stored_for_ever() -> None:
    prer, kept = make(Noting, replay_pool="frozen"), []
    stored = torch.empty(0, 1, 8, 8, dtype=torch.uint8)
    for index in range(3):
        prer.learn(task(index))
        images = prer.memory.draws.x
        assert torch.equal(images[: len(stored)], stored)
        assert len(images) == len(stored) + len(digits(*CLASSES_OF[index]))
        assert set(prer.memory.draws.y[len(stored) :].tolist()) == set(CLASSES_OF[index])
        stored = images.clone()
        kept.append(prer.bytes_kept()["memory"])
    each = 64 + 2 + 2 + 4  # pixels, class, task and priority
    assert kept[1] - kept[0] == len(digits(2, 3)) * each + 2 * 3 * 8
    assert kept[2] - kept[1] == len(digits(4, 5)) * each + 2 * 3 * 8


def test_what_is_drawn_is_of_the_classes_asked_for() -> None:
    prer = learnt(2)
    for classes, chosen in (((1, 2), None), (None, 1)):
        batch = prer.sample(30, classes=classes, task=chosen)
        assert batch.x.dtype == torch.uint8
        assert set(batch.y.tolist()) == set(classes or CLASSES_OF[1])
    replayed = prer.replayed(400)
    assert replayed.depth == 0
    assert replayed.batch.y.bincount(minlength=6).tolist()[4:] == [0, 0]
    assert replayed.batch.y.bincount()[:4].min() > 80
    assert make().replayed(5) is None


def test_without_condition_each_past_head_gives_a_label() -> None:
    none = {"autoencoder": {"condition": "none"}, "flow": {"condition": "none", "blocks": 1}}
    prer = learnt(2, **none)
    batch = prer.replayed(7).batch
    assert batch.y is None
    expected = torch.cat([prer.predict(batch.x, t)[:, list(CLASSES_OF[t])] for t in range(2)], 1)
    assert torch.equal(batch.logits[:, :4], expected)
    assert prer.sample(5).y is None
    with pytest.raises(LookupError, match="cannot be asked"):
        prer.sample(5, classes=(1,))


# Options -----------------------------------------------------------------------------------------


def test_what_has_no_meaning_collapses() -> None:
    config = PseudoRehearsal.Config
    assert config().replay_pool == "resample"
    assert config().pool == 10_000
    assert config(replay_pool="frozen", pool=7) == config(replay_pool="frozen")
    assert config(variant="as-released").replay_pool == "frozen"
    assert config().implied == {"pool", "replay_pool"}
    assert config(variant="as-released").implied == {"pool", "replay_pool"}
    assert config(replay_pool="frozen").implied == {"pool"}
    assert config(pool=50).implied == {"replay_pool"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "as-released", "replay_pool": "resample"}, "leave replay_pool out"),
        ({"variant": "as-released", "distance": "euclidean"}, "leave distance out"),
        (
            {
                "variant": "as-released",
                "autoencoder": {"condition": "none"},
                "flow": {"condition": "none"},
            },
            "give a condition",
        ),
        ({"weight": -1.0}, "greater than or equal to 0"),
        ({"flow": {"epochs": 2, "iterations": 3}}, "iterations or epochs, not both"),
    ],
)
def test_impossible_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PseudoRehearsal.Config.model_validate(options)
