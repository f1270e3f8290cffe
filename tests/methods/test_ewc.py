"""Elastic weight consolidation: its Fisher information, its penalty, and what it carries on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, StreamInfo, Task, TensorExamples
from methods.ewc import Ewc
from methods.naive import Naive

CLASSES_OF = ((0, 1), (2, 3), (4, 5))


def make_task(index: int, n: int = 30) -> Task:
    generator = torch.Generator().manual_seed(index)
    x = torch.randint(256, (n, 1, 3, 3), generator=generator, dtype=torch.uint8)
    y = torch.tensor(CLASSES_OF[index])[torch.randint(2, (n,), generator=generator)]
    return Task(index, CLASSES_OF[index], TensorExamples(x, y))


def make(method: Any = Ewc, scenario: Scenario = Scenario.CLASS_INCREMENTAL, **options: Any) -> Any:
    small = {
        "network": {"name": "mlp", "widths": [8]},
        "budget": {"iterations": 5, "batch_size": 10},
    }
    stream = StreamInfo(scenario, 3, (1, 3, 3), 6, CLASSES_OF)
    return method(method.Config.model_validate(small | options), stream, Rng(0))


class Noting(Ewc):
    """Writes down what it had after each task."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.tasks: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []
        self.terms: list[dict[str, Tensor]] = []

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        self.terms.append(super().losses(batch))
        return self.terms[-1]

    def fisher_information(self, task: Task) -> dict[str, Tensor]:
        fisher = super().fisher_information(task)
        weights = {name: p.detach().clone() for name, p in self.learning().items()}
        self.tasks.append(({name: f.clone() for name, f in fisher.items()}, weights))
        return fisher


def learnt(tasks: int = 3, method: Any = Noting, **options: Any) -> Any:
    ewc = make(method, **options)
    for index in range(tasks):
        ewc.learn(make_task(index))
    return ewc


def move(ewc: Any) -> None:
    """Put the weights somewhere else."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in ewc.network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.3)


def published(ewc: Any, tasks: Any = slice(None)) -> Tensor:
    """Eq. 3: a quadratic for each task, in double precision."""
    now = ewc.learning()
    parts = [
        (fisher[name].double() * (now[name].double() - weights[name].double()).square()).sum()
        for fisher, weights in ewc.tasks[tasks]
        for name in now
    ]
    return ewc.config.strength / 2 * torch.stack(parts).sum()


def competing(scenario: Scenario, task: int) -> list[int]:
    if scenario is Scenario.TASK_INCREMENTAL:
        return list(CLASSES_OF[task])
    return list(range(2 * task + 2 if scenario is Scenario.CLASS_INCREMENTAL else 6))


@pytest.mark.parametrize("fisher", ["exact", "empirical"])
@pytest.mark.parametrize("scenario", list(Scenario))
def test_fisher_information_is_the_mean_of_squares_of_single_gradients(
    scenario: Scenario, fisher: str
) -> None:
    ewc = learnt(1, Ewc, scenario=scenario, fisher=fisher, fisher_samples="all")
    ewc.learn(make_task(1))
    task, classes = make_task(1), competing(scenario, 1)
    batch, expected = task.train.gather(torch.arange(30)), {}
    for i in range(30):
        logits = ewc.network(batch.x[i : i + 1])[0, classes].log_softmax(0)
        labels = [int(batch.y[i])] if fisher == "empirical" else classes
        for label in labels:
            log_p = logits[classes.index(label)]
            weight = 1.0 if fisher == "empirical" else log_p.exp().item()
            learning = list(ewc.network.parameters())
            gradients = torch.autograd.grad(log_p, learning, retain_graph=True)
            for name, gradient in zip(ewc.learning(), gradients, strict=True):
                expected[name] = expected.get(name, 0) + weight * gradient.square() / 30
    torch.testing.assert_close(ewc.fisher_information(task), expected, rtol=1e-4, atol=1e-9)


def test_sampled_fisher_information_comes_to_the_closed_form() -> None:
    """A softmax regression behind frozen units: F = mean of p (1 - p) a²."""
    options = {"freeze_depth": 1, "freeze_from": "start", "scenario": Scenario.DOMAIN_INCREMENTAL}
    ewc = make(fisher="sampled", fisher_samples="all", **options)
    ewc.network.eval()
    task = make_task(0, 20_000)
    sampled = ewc.fisher_information(task)
    with torch.no_grad():
        a = ewc.network.backbone.run(task.train.gather(torch.arange(20_000)).x)
        p = ewc.network.head(a).softmax(1)
    spread = p * (1 - p)
    assert sampled.keys() == {"head.weight", "head.bias"}
    torch.testing.assert_close(sampled["head.bias"], spread.mean(0), rtol=0.05, atol=0)
    weight = spread.T @ a.square() / len(a)
    torch.testing.assert_close(
        sampled["head.weight"], weight, rtol=0.1, atol=0.02 * float(weight.max())
    )
    exact = make(fisher="exact", fisher_samples="all", **options)
    exact.network.eval()
    torch.testing.assert_close(exact.fisher_information(task)["head.weight"], weight)


def test_labels_are_drawn_for_each_task_and_seed() -> None:
    ewc = learnt(1, Ewc, fisher="sampled")
    task = make_task(0)
    ewc.network.eval()
    one, same = ewc.fisher_information(task), ewc.fisher_information(task)
    torch.testing.assert_close(one, same, rtol=0, atol=0)
    ewc.rng = Rng(1)
    assert not torch.equal(one["head.bias"], ewc.fisher_information(task)["head.bias"])


def test_fisher_samples() -> None:
    ewc, task = make(fisher="empirical", fisher_samples=7), make_task(0)
    ewc.network.eval()
    ewc.tasks_seen = 1
    some = ewc.fisher_information(task)
    rows = torch.randperm(30, generator=Rng(0).at(0).of("fisher").generator("examples"))[:7]
    seven = TensorExamples(*task.train.gather(rows)[:2])
    ewc.config = ewc.config.model_copy(update={"fisher_samples": "all"})
    torch.testing.assert_close(some, ewc.fisher_information(Task(0, (0, 1), seven)))
    assert not torch.allclose(some["head.bias"], ewc.fisher_information(task)["head.bias"])


def test_fisher_information_is_taken_in_eval_mode_behind_what_is_frozen() -> None:
    ewc = learnt(2, network={"name": "mlp", "widths": [8, 7]}, freeze_depth=1)
    assert not ewc.network.training
    (first, _), (second, _) = ewc.tasks
    assert list(first) == list(second) == list(ewc.learning()) == list(ewc.center)
    assert not any("blocks.0." in name for name in first)
    assert any("blocks.1." in name for name in first)
    kept = 2 * sum(p.numel() for p in ewc.learning().values()) * 4
    assert ewc.bytes_kept()["snapshots"] == kept


def test_nothing_pulls_where_a_task_ended() -> None:
    ewc = learnt(1)
    assert float(ewc.penalty().detach()) == 0
    move(ewc)
    assert float(ewc.penalty().detach()) > 0


def test_pull_is_strength_times_fisher_times_distance() -> None:
    ewc = learnt(1, strength=7.0)
    move(ewc)
    ewc.penalty().backward()
    fisher, weights = ewc.tasks[0]
    for name, parameter in ewc.learning().items():
        pull = 7 * fisher[name] * (parameter.detach() - weights[name])
        torch.testing.assert_close(parameter.grad, pull)


def test_separate_is_the_sum_over_tasks() -> None:
    """Value and gradient; nothing more is kept than for one task."""
    ewc = learnt(3, strength=50.0, optimizer={"name": "adam", "lr": 0.05})
    torch.testing.assert_close(ewc.penalty().double(), published(ewc), rtol=1e-5, atol=0)
    move(ewc)
    torch.testing.assert_close(ewc.penalty().double(), published(ewc), rtol=1e-5, atol=0)
    learning = list(ewc.learning().values())
    pull = torch.autograd.grad(ewc.penalty(), learning)
    expected = torch.autograd.grad(published(ewc), learning)
    for one, other in zip(pull, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5 * float(other.abs().max()))
    assert ewc.bytes_kept()["snapshots"] == 2 * 4 * sum(p.numel() for p in learning)


@pytest.mark.parametrize("gamma", [1.0, 0.6, 0.0])
def test_online_fades_and_is_centred_at_the_last_weights(gamma: float) -> None:
    ewc = learnt(3, mode="online", gamma=gamma)
    assert float(ewc.penalty().detach()) == 0
    _, last = ewc.tasks[-1]
    for name, curvature in ewc.curvature.items():
        parts = [gamma ** (2 - t) * fisher[name] for t, (fisher, _) in enumerate(ewc.tasks)]
        torch.testing.assert_close(curvature, torch.stack(parts).sum(0))
        assert torch.equal(ewc.center[name], last[name])


def test_online_without_fading_differs_from_separate_in_its_centre_only() -> None:
    """Over two tasks: what is trained in the third is trained towards other weights."""
    online, separate = learnt(1, mode="online"), learnt(1)
    for ewc in (online, separate):
        ewc.learn(make_task(1))
    torch.testing.assert_close(online.curvature, separate.curvature)
    (first, start), (second, end) = separate.tasks
    for name, curvature in separate.curvature.items():
        pulled = first[name] > 0
        middle = (first[name] * start[name] + second[name] * end[name]) / curvature
        torch.testing.assert_close(separate.center[name][pulled], middle[pulled])
        assert torch.equal(online.center[name], end[name])
    assert not torch.allclose(online.center["head.weight"], separate.center["head.weight"])


def test_loss_is_the_penalty_and_that_of_fine_tuning() -> None:
    ewc = learnt(2, strength=1000.0)
    assert [set(terms) for terms in ewc.terms] == [{"new"}] * 5 + [{"new", "ewc"}] * 5
    first, *others = [float(terms["ewc"].detach()) for terms in ewc.terms[5:]]
    assert first == 0
    assert all(term > 0 for term in others)


def test_without_strength_it_is_fine_tuning() -> None:
    ewc, naive = learnt(3, Ewc, strength=0.0), learnt(3, Naive)
    for mine, theirs in zip(ewc.network.parameters(), naive.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_strength_holds_the_weights() -> None:
    def moved(strength: float) -> float:
        optimizer = {"name": "sgd", "lr": 0.01}
        ewc = learnt(1, strength=strength, optimizer=optimizer)
        _, before = ewc.tasks[0]
        ewc.learn(make_task(1))
        fisher, now = ewc.tasks[0][0], ewc.learning()
        parts = [(fisher[n] * (now[n].detach() - before[n]).square()).sum() for n in fisher]
        return float(torch.stack(parts).sum())

    assert moved(0.0) > 1.2 * moved(300.0) > 0


def test_going_on_from_a_saved_state() -> None:
    whole, other = learnt(2, Ewc), make()
    other.load_state_dict(whole.state_dict())
    assert whole.least == other.least > 0
    for ewc in (whole, other):
        ewc.learn(make_task(2))
    torch.testing.assert_close(whole.state_dict(), other.state_dict(), rtol=0, atol=0)


def test_gamma_is_of_online_only() -> None:
    assert Ewc.Config().gamma is None
    assert Ewc.Config(mode="online").gamma == 1.0
    assert Ewc.Config(gamma=0.5) == Ewc.Config()
    assert Ewc.Config().implied == {"gamma"}
    assert Ewc.Config(mode="online", gamma=0.5).implied == frozenset()


@pytest.mark.parametrize(
    "options",
    [
        {"strength": -1.0},
        {"mode": "both"},
        {"mode": "online", "gamma": 1.1},
        {"fisher": "true"},
        {"fisher_samples": 0},
        {"fisher_samples": "most"},
    ],
)
def test_impossible_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=list(options)[-1]):
        Ewc.Config.model_validate(options)
