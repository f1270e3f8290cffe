"""Dark experience replay: its loss, what competes in it, what is stored, and how fairly."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from scipy.stats import chi2
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from methods.core.log import SILENT
from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, StreamInfo, Task, TensorExamples
from methods.der import DarkExperienceReplay, DarkExperienceReplayPlusPlus
from methods.memories import Buffer
from methods.networks import Backbone, Mlp

CLASSES_OF = ((0, 1), (2, 3), (4, 5))
#: Classes that were eligible when items of each task came in.
THEN = {
    Scenario.CLASS_INCREMENTAL: ([0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]),
    Scenario.TASK_INCREMENTAL: ([0, 1], [2, 3], [4, 5]),
    Scenario.DOMAIN_INCREMENTAL: ([0, 1],) * 3,
}


def info(scenario: Scenario) -> StreamInfo:
    if scenario is Scenario.DOMAIN_INCREMENTAL:
        return StreamInfo(scenario, 3, (1, 3, 3), 2, ((0, 1),) * 3)
    return StreamInfo(scenario, 3, (1, 3, 3), 6, CLASSES_OF)


def make_task(index: int, scenario: Scenario = Scenario.CLASS_INCREMENTAL, n: int = 30) -> Task:
    """No two images of a stream are alike: the first two pixels number them."""
    generator = torch.Generator().manual_seed(index)
    x = torch.randint(256, (n, 1, 3, 3), generator=generator, dtype=torch.uint8)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = index, torch.arange(n)
    classes = info(scenario).classes_of[index]
    return Task(index, classes, TensorExamples(x, torch.tensor(classes)[torch.arange(n) % 2]))


class Listening(DarkExperienceReplayPlusPlus):
    """Writes down what its loss is made of, and the network before each step."""

    def before_task(self, task: Task) -> None:
        super().before_task(task)
        self.terms: list[dict[str, Tensor]] = []
        self.new: list[tuple[Batch, Tensor]] = []
        self.compared: list[tuple[Batch, Tensor]] = []
        self.labelled: list[tuple[Batch, Tensor]] = []
        self.stored: list[tuple[nn.Module, Batch, Buffer, Buffer]] = []

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        self.network_before = copy.deepcopy(self.network)
        self.terms.append(super().losses(batch))
        return self.terms[-1]

    def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        self.new.append((batch, logits.detach()))
        return super().loss_terms(batch, logits)

    def distance(self, old: Batch, logits: Tensor) -> Tensor:
        self.compared.append((old, logits.detach()))
        return super().distance(old, logits)

    def replay_loss(self, old: Batch, logits: Tensor) -> Tensor:
        self.labelled.append((old, logits.detach()))
        return super().replay_loss(old, logits)

    def after_step(self, batch: Batch) -> None:
        before = copy.deepcopy(self.memory)
        super().after_step(batch)
        self.stored.append((self.network_before, batch, before, copy.deepcopy(self.memory)))


class Normalised(Mlp):
    """Batch norm: outputs depend on the batch in training mode, and on the mode."""

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        first = nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.BatchNorm1d(8), nn.ReLU())
        return Backbone([first, nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8))], shape)


def make(
    method: Any = Listening, scenario: Scenario = Scenario.CLASS_INCREMENTAL, **options: Any
) -> Any:
    small = {
        "network": {"name": "mlp", "widths": [8, 8]},
        "budget": {"iterations": 5, "batch_size": 6},
        "buffer_size": 40,
    }
    return method(method.Config.model_validate(small | options), info(scenario), Rng(0))


def learnt(
    tasks: int = 3,
    method: Any = Listening,
    scenario: Scenario = Scenario.CLASS_INCREMENTAL,
    **options: Any,
) -> Any:
    learner = make(method, scenario, **options)
    for index in range(tasks):
        learner.learn(make_task(index, scenario))
    return learner


# The loss


@pytest.mark.parametrize("scenario", list(Scenario))
def test_loss_by_hand(scenario: Scenario) -> None:
    """In the third task, item by item and class by class."""
    learner = learnt(scenario=scenario, replay_batch=50, alpha=0.3, beta=0.7)
    steps = zip(learner.terms, learner.new, learner.compared, learner.labelled, strict=True)
    for terms, (new, new_logits), (compared, outputs), (labelled, logits) in steps:
        assert terms.keys() == {"new", "logits", "replay"}
        assert [len(b.x) for b in (new, compared, labelled)] == [6, 50, 50]
        by_label = []
        for rows, batch in ((new_logits, new), (logits, labelled)):
            tasks = [2] * 6 if batch.task is None else batch.task.tolist()
            known = scenario is Scenario.TASK_INCREMENTAL
            classes = [THEN[scenario][task if known else 2] for task in tasks]
            losses = [
                cross_entropy(row[among], torch.tensor(among.index(int(label))))
                for row, label, among in zip(rows, batch.y, classes, strict=True)
            ]
            by_label.append(torch.stack(losses).mean())
        distances = []
        for row, target, task in zip(outputs, compared.logits, compared.task, strict=True):
            squares = [float(row[c] - target[c]) ** 2 for c in THEN[scenario][int(task)]]
            distances.append(sum(squares) / len(squares))
        torch.testing.assert_close(terms["new"].detach(), by_label[0])
        torch.testing.assert_close(terms["replay"].detach(), 0.7 * by_label[1])
        mean = torch.tensor(distances).mean()
        torch.testing.assert_close(terms["logits"].detach(), 0.3 * mean, rtol=1e-4, atol=1e-6)
    assert set(compared.task.tolist()) == {0, 1, 2}


def test_logits_that_nobody_trained_pull_at_nothing() -> None:
    """The stored logits of the first task say nothing of the classes of the second."""
    learner = learnt(1)
    learner.tasks_seen = 2
    old = learner.memory.sample(20, torch.Generator())
    learner.network.zero_grad()
    learner.distance(old, learner.network(old.x)).backward()
    rows = learner.network.head.weight.grad.abs().sum(1)
    assert (rows[:2] > 0).all()
    assert not rows[2:].any()


def test_without_labels_all_outputs_are_held_where_classes_are_added() -> None:
    """Else nothing would keep later classes from winning the items of earlier tasks."""
    for options, expected in (
        ({"beta": 0.0}, "all"),
        ({"beta": 1.0}, "seen"),
        ({"beta": 0.0, "compared": "seen"}, "seen"),
        ({"beta": 1.0, "compared": "all"}, "all"),
    ):
        learner = learnt(1, **options)
        assert learner.config.compared == expected
        assert ("compared" in learner.config.implied) == ("compared" not in options)
        logits = torch.zeros(2, 6)
        old = Batch(logits, None, torch.zeros(2, dtype=torch.int64), torch.arange(12.0).view(2, 6))
        classes = 2 if expected == "seen" else 6
        squares = [i**2 for i in range(12) if i % 6 < classes]
        assert float(learner.distance(old, logits)) == pytest.approx(sum(squares) / 2 / classes)
    assert DarkExperienceReplay.Config().compared == "all"
    own = make(scenario=Scenario.TASK_INCREMENTAL, beta=0.0).outputs_compared(torch.tensor([1]))
    assert own.tolist() == [[False, False, True, True, False, False]]


def test_replayed_outputs_are_those_of_the_drawn_images() -> None:
    learner = learnt(1)
    for step in (1, 4):
        before = learner.stored[step][0]
        draws = learner.compared[step - 1], learner.labelled[step - 1]
        for old, outputs in draws:
            torch.testing.assert_close(outputs, before(old.x).detach())
        assert not torch.equal(draws[0][0].x, draws[1][0].x)  # two draws, not one


def test_the_first_task_replays_from_its_second_step_on() -> None:
    learner = learnt(1)
    assert [set(terms) for terms in learner.terms] == [{"new"}] + [{"new", "logits", "replay"}] * 4
    assert [len(old.x) for old, _ in learner.compared] == [6] * 4


def test_without_labels_it_is_der() -> None:
    config = DarkExperienceReplayPlusPlus.Config
    for method in (DarkExperienceReplay, DarkExperienceReplayPlusPlus):
        assert method.named_point(config(beta=0.0)) is DarkExperienceReplay
        assert method.named_point(config(beta=0.1)) is DarkExperienceReplayPlusPlus
    assert DarkExperienceReplay.Config().beta == 0
    plus = learnt(2)
    der = learnt(2, beta=0.0)
    assert [set(terms) for terms in der.terms] == [{"new", "logits"}] * 5
    assert not der.labelled
    for (one, _), (other, _) in zip(plus.compared, der.compared, strict=True):
        assert torch.equal(one.x, other.x)  # the two are paired


def test_without_logits_it_is_experience_replay() -> None:
    learner = learnt(2, alpha=0.0)
    assert [set(terms) for terms in learner.terms] == [{"new", "replay"}] * 5
    assert learnt(1, alpha=0.0, beta=0.0).terms[-1].keys() == {"new"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 1}, "give at most freeze_depth, which is 0"),
        ({"alpha": -1.0}, "greater than or equal to 0"),
        ({"buffer_size": 0}, "greater than 0"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**options)


# What is stored


@pytest.mark.parametrize("network", [Mlp(widths=(8,)), Normalised()])
def test_stored_logits_are_outputs_of_the_moment(network: Mlp) -> None:
    """Those of the batch's own pass in training mode, before the step; and they never change."""
    learner, found = make(network=network, buffer_size=20), 0
    for index in range(3):
        learner.learn(make_task(index))
        for before, batch, was, now in learner.stored:
            before.train()
            outputs = before(batch.x).detach()
            for x, y, task, logits in zip(now.x, now.y, now.task, now.logits, strict=True):
                rows = [i for i, one in enumerate(batch.x) if torch.equal(one, x)]
                if len(was) and (was.logits == logits).all(1).any():
                    continue  # it had been there before
                (row,) = rows
                torch.testing.assert_close(logits, outputs[row])
                assert (int(y), int(task)) == (int(batch.y[row]), index)
                found += 1
    assert found > 30


def test_logits_are_recorded_in_training_mode() -> None:
    learner = learnt(1, network=Normalised())
    before, batch, *_ = learner.stored[0]
    before.eval()
    assert not torch.allclose(before(batch.x), learner.new[0][1], atol=1e-3)


def test_nothing_but_the_buffer_outlives_the_task() -> None:
    learner = learnt(method=DarkExperienceReplayPlusPlus)
    assert len(learner.memory) == 40
    each = 9 + 2 + 2 + 4 + 4 * 6  # image, label, task, priority, logits
    assert learner.bytes_kept()["memory"] == 40 * each
    assert set(learner.state_dict()["memory"]) == {"x", "y", "task", "priority", "logits"}


# Depth


def test_images_are_carried_behind_the_blocks_that_are_frozen() -> None:
    learner = make(freeze_depth=1)
    task = make_task(0)
    learner.fit(task, SILENT)
    images, logits = learner.memory.x.clone(), learner.memory.logits.clone()
    assert images.dtype == torch.uint8
    learner.remember(task, SILENT)
    torch.testing.assert_close(learner.memory.x, learner.encode(images, 1))
    assert torch.equal(learner.memory.logits, logits)
    assert learner.sample(3) is None


@pytest.mark.parametrize("scenario", list(Scenario))
def test_activations_teach_what_their_images_would(scenario: Scenario) -> None:
    test = make_task(0).train.gather(torch.arange(10)).x
    known = 0 if scenario is Scenario.TASK_INCREMENTAL else None
    method = DarkExperienceReplayPlusPlus
    images, behind = (
        learnt(method=method, scenario=scenario, freeze_depth=1, depth=depth) for depth in (0, None)
    )
    assert (images.memory.x.dtype, behind.memory.x.dtype) == (torch.uint8, torch.float32)
    assert images.sample(3).x.shape == (3, 1, 3, 3)
    torch.testing.assert_close(images.predict(test, known), behind.predict(test, known))


def test_frozen_from_the_start_it_stores_activations_from_the_start() -> None:
    learner = learnt(2, freeze_depth=2, freeze_from="start")
    assert learner.memory.x.shape == (40, 8)
    first = make_task(0).train.gather(torch.arange(30)).x
    known = {tuple(row.tolist()) for row in learner.encode(first, 2)}
    stored = learner.memory.x[learner.memory.task == 0]
    assert {tuple(row.tolist()) for row in stored} <= known


# Fairness

RUNS = 120


def p_value(method: Any) -> float:
    """Test that each example of three tasks, seen once, is as likely to be in the buffer.

    As in the tests of buffers: a fixed number k of n is kept without replacement, so that the sum
    of squared standard scores, times (n - 1) / n, is chi-square with n - 1 degrees.
    """
    times = torch.zeros(3, 20, dtype=torch.float64)
    config = method.Config.model_validate(
        {
            "network": {"name": "mlp", "widths": [1]},
            "budget": {"epochs": 1, "batch_size": 10},
            "optimizer": {"name": "sgd"},
            "buffer_size": 12,
            "alpha": 0.0,
            "beta": 0.0,
        }
    )
    for seed in range(RUNS):
        learner = method(config, info(Scenario.CLASS_INCREMENTAL), Rng(seed))
        for index in range(3):
            learner.learn(make_task(index, n=20))
        x = learner.memory.x
        times[x[:, 0, 0, 0].long(), x[:, 0, 0, 1].long()] += 1
    n, p = 60, 12 / 60
    score = ((times - RUNS * p) ** 2).sum() / (RUNS * p * (1 - p)) * (n - 1) / n
    assert int(times.sum()) == RUNS * 12
    return float(chi2.sf(float(score), n - 1))


class LastTaskFirst(DarkExperienceReplayPlusPlus):
    """Starts each task with a reservoir that has seen nothing: a mistake of online buffers."""

    def before_task(self, task: Task) -> None:
        super().before_task(task)
        if len(self.memory):
            self.memory.priority = torch.rand(len(self.memory), generator=self.priorities)


def test_the_reservoir_is_uniform_over_all_that_was_seen() -> None:
    assert p_value(DarkExperienceReplayPlusPlus) > 1e-3


def test_unfairness_would_show() -> None:
    assert p_value(LastTaskFirst) < 1e-9
