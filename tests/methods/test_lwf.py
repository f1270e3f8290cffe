"""Learning without forgetting: its loss, its teacher, and which outputs are kept."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from scipy.special import log_softmax, softmax
from torch import Tensor, nn

from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, StreamInfo, Task, TensorExamples
from methods.lwf import LearningWithoutForgetting
from methods.naive import Naive
from methods.networks import Backbone, Mlp

TASK, DOMAIN, CLASS = Scenario
CLASSES_OF = ((0, 1), (2, 3), (4, 5))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_task(index: int, n: int = 30, scenario: Scenario = CLASS) -> Task:
    source = generator(index)
    x = torch.randint(256, (n, 1, 3, 3), generator=source, dtype=torch.uint8)
    classes = (0, 1) if scenario is DOMAIN else CLASSES_OF[index]
    y = torch.tensor(classes)[torch.randint(2, (n,), generator=source)]
    return Task(index, classes, TensorExamples(x, y))


def make(
    method: Any = LearningWithoutForgetting, scenario: Scenario = CLASS, **options: Any
) -> Any:
    small = {
        "network": {"name": "mlp", "widths": [8]},
        "budget": {"iterations": 5, "batch_size": 10},
        "optimizer": {"name": "adam", "lr": 0.02},
    }
    stream = StreamInfo(scenario, 3, (1, 3, 3), 6, CLASSES_OF)
    if scenario is DOMAIN:
        stream = StreamInfo(scenario, 3, (1, 3, 3), 2, ((0, 1),) * 3)
    return method(method.Config.model_validate(small | options), stream, Rng(0))


class Noting(LearningWithoutForgetting):
    """Writes down the batches, its outputs before and during each task, and its loss terms."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.steps: list[tuple[Batch, Tensor, Tensor, dict[str, Tensor]]] = []

    def before_task(self, task: Task) -> None:
        super().before_task(task)
        batch = task.train.gather(torch.arange(len(task.train)))
        images = {x.numpy().tobytes(): i for i, x in enumerate(batch.x)}
        assert len(images) == len(batch.x)
        # Recorded for all examples before training, as the published code does.
        self.images, self.recorded = images, self.network(batch.x).detach()

    def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        terms = super().loss_terms(batch, logits)
        rows = [self.images[x.numpy().tobytes()] for x in batch.x]
        self.steps.append((batch, self.recorded[rows], logits.detach(), terms))
        return terms


def learnt(tasks: int, method: Any = Noting, scenario: Scenario = CLASS, **options: Any) -> Any:
    lwf = make(method, scenario, **options)
    for index in range(tasks):
        lwf.learn(make_task(index, scenario=scenario))
    return lwf


def divergence(said: Tensor, logits: Tensor, classes: list[int], temperature: float) -> float:
    """T² KL(before || now) over some classes, by scipy."""
    before, now = (z.double().numpy()[:, classes] / temperature for z in (said, logits))
    p = softmax(before, 1)
    return float((p * (log_softmax(before, 1) - log_softmax(now, 1))).sum(1).mean()) * (
        temperature**2
    )


def entropy(said: Tensor, classes: list[int], temperature: float) -> float:
    """T² times the part of the distillation loss that no student can change."""
    before = said.double().numpy()[:, classes] / temperature
    return -float((softmax(before, 1) * log_softmax(before, 1)).sum(1).mean()) * temperature**2


def old_outputs(scenario: Scenario, tasks: int) -> list[list[int]]:
    """Classes of each softmax that is held to what it was."""
    if scenario is TASK:
        return [list(classes) for classes in CLASSES_OF[:tasks]]
    return [[0, 1] if scenario is DOMAIN else list(range(2 * tasks))]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
@pytest.mark.parametrize("scenario", list(Scenario))
def test_loss_is_that_of_the_recorded_outputs(scenario: Scenario, temperature: float) -> None:
    lwf = learnt(3, scenario=scenario, temperature=temperature)
    for step, (batch, said, logits, terms) in enumerate(lwf.steps):
        task = step // 5
        competing = old_outputs(scenario, task + 1)[-1]
        labels = [competing.index(int(y)) for y in batch.y]
        right = log_softmax(logits.double().numpy()[:, competing], 1)[range(10), labels]
        weight = 1 / (task + 1)
        assert float(terms["new"].detach()) == pytest.approx(-weight * right.mean(), rel=1e-5)
        assert set(terms) == ({"new", "distillation"} if task else {"new"})
        if task:
            heads = old_outputs(scenario, task)
            parts = [
                divergence(said, logits, c, temperature) + entropy(said, c, temperature)
                for c in heads
            ]
            expected = (1 - weight) * sum(parts) / len(parts)
            assert float(terms["distillation"].detach()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("old", "temperature", "weight"), [(1.0, 2.0, 0.8), (3.0, 1.5, 3 / 7)])
def test_the_papers_sum_is_ours_at_another_rate(
    old: float, temperature: float, weight: float
) -> None:
    """CE + λ_o KD of eq. 3, which has no T², is 1 / w times the loss: 1.25 at λ_o = 1 and T = 2."""
    lwf = learnt(2, temperature=temperature, replay_loss=weight)
    batch, said, logits, terms = lwf.steps[-1]
    right = log_softmax(logits.double().numpy()[:, :4], 1)[range(10), batch.y.tolist()]
    before, now = (z.double().numpy()[:, :2] / temperature for z in (said, logits))
    kept = -(softmax(before, 1) * log_softmax(now, 1)).sum(1).mean()
    loss = float(torch.stack(list(terms.values())).sum().detach())
    assert loss / weight == pytest.approx(-right.mean() + old * kept, rel=1e-5)


@pytest.mark.parametrize("scenario", list(Scenario))
def test_gradient_is_the_difference_of_probabilities(scenario: Scenario) -> None:
    """T (now - before) of each old softmax, 0 for all other outputs."""
    lwf = learnt(2, scenario=scenario, temperature=3.0)
    task = make_task(2, scenario=scenario)
    lwf.before_task(task)
    batch = task.train.gather(torch.arange(30))
    noise = torch.randn(30, 2 if scenario is DOMAIN else 6, generator=generator(5))
    logits = lwf.recorded + noise
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(lwf.distance(batch, logits), logits)
    expected, heads = torch.zeros_like(logits), old_outputs(scenario, 2)
    for classes in heads:
        now, before = ((z[:, classes] / 3).softmax(1) for z in (logits.detach(), lwf.recorded))
        expected[:, classes] = 3 * (now - before) / 30 / len(heads)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("scenario", list(Scenario))
def test_nothing_pulls_where_the_outputs_are_what_they_were(scenario: Scenario) -> None:
    lwf = learnt(2, scenario=scenario)
    task = make_task(2, scenario=scenario)
    lwf.before_task(task)
    batch = task.train.gather(torch.arange(30))
    parameters = list(lwf.network.parameters())
    loss = lwf.distance(batch, lwf.network(batch.x))
    assert all(float(g.abs().max()) < 1e-6 for g in torch.autograd.grad(loss, parameters))
    with torch.no_grad():
        for p in parameters:
            p.add_(0.3 * torch.randn(p.shape, generator=generator(1)))
    farther = lwf.distance(batch, lwf.network(batch.x))
    assert float(farther.detach()) > float(loss.detach()) + 1e-3


class Noisy(Mlp):
    """A network with dropout and batch norm."""

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        blocks: list[nn.Module] = [
            nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.BatchNorm1d(8), nn.ReLU()),
            nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 8), nn.ReLU()),
        ]
        return Backbone(blocks, shape)


class Keeping(LearningWithoutForgetting):
    """Does not let the teacher go."""

    def after_step(self, batch: Batch) -> None:
        self.kept = self.teacher


@pytest.mark.parametrize("freeze_depth", [0, 1])
def test_teacher_is_the_network_before_the_task_in_eval_mode(freeze_depth: int) -> None:
    """Training moves weights, statistics and dropout of the student alone."""
    lwf = learnt(1, Keeping, network=Noisy(), freeze_depth=freeze_depth)
    assert lwf.kept is None
    batch = make_task(1).train.gather(torch.arange(30))
    before = lwf.predict(batch.x)[:, :2]
    lwf.learn(make_task(1))
    network = lwf.kept.network
    torch.testing.assert_close(network(batch.x)[:, :2], before, rtol=0, atol=0)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert not torch.allclose(lwf.predict(batch.x)[:, :2], before, atol=1e-3)


def test_former_network_is_let_go() -> None:
    lwf, naive = learnt(2, LearningWithoutForgetting), learnt(2, Naive)
    assert lwf.teacher is None
    assert lwf.bytes_kept() == naive.bytes_kept()
    assert lwf.state_dict().keys() == naive.state_dict().keys()


def test_first_task_is_fine_tuning() -> None:
    lwf, naive = learnt(1, LearningWithoutForgetting), learnt(1, Naive)
    for mine, theirs in zip(lwf.network.parameters(), naive.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("scenario", list(Scenario))
def test_weight_goes_from_fine_tuning_to_standing_still(scenario: Scenario) -> None:
    """The less labels weigh, the less old outputs move; near the ends, hardly from either."""
    sgd = {"name": "sgd", "lr": 0.5}

    def ends(weight: float | None) -> Tensor:
        options: dict[str, Any] = {} if weight is None else {"replay_loss": weight}
        method = Naive if weight is None else LearningWithoutForgetting
        lwf = learnt(2, method, scenario, optimizer=sgd, **options)
        with torch.no_grad():
            logits: Tensor = lwf.network(make_task(1).train.gather(torch.arange(30)).x)
        return logits[:, :2].softmax(1)

    lwf = learnt(1, LearningWithoutForgetting, scenario, optimizer=sgd)
    with torch.no_grad():
        start = lwf.network(make_task(1).train.gather(torch.arange(30)).x)[:, :2].softmax(1)
    moved = [float((ends(w) - start).abs().mean()) for w in (1e-6, 0.5, 1 - 1e-6)]
    assert moved[0] < 1e-3
    assert moved[0] < moved[1] < moved[2]
    torch.testing.assert_close(ends(1 - 1e-6), ends(None), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("replay_loss", "weights"), [("1/t", (1.0, 1 / 2, 1 / 3)), (0.2, (1, 0.2, 0.2))]
)
def test_weight_of_labels(replay_loss: Any, weights: tuple[float, ...]) -> None:
    lwf = learnt(3, replay_loss=replay_loss)
    for step, (batch, _, logits, terms) in enumerate(lwf.steps):
        weight, eligible = weights[step // 5], list(range(2 * (step // 5) + 2))
        whole = nn.functional.cross_entropy(logits[:, eligible], batch.y)
        torch.testing.assert_close(terms["new"].detach(), weight * whole)


def test_heads_of_earlier_tasks_learn() -> None:
    """They follow the features; those of tasks to come stay as they are."""
    lwf = learnt(1, LearningWithoutForgetting, TASK, optimizer={"name": "sgd", "lr": 0.5})
    before = lwf.network.head.weight.detach().clone()
    lwf.learn(make_task(1))
    moved = (lwf.network.head.weight.detach() - before).abs().amax(1)
    assert (moved[:4] > 0).all()
    assert (moved[4:] == 0).all()


def test_the_mean_over_one_batch_is_a_half() -> None:
    config = LearningWithoutForgetting.Config
    assert config(replay_loss="mean") == config(replay_loss=0.5)


@pytest.mark.parametrize(
    "options",
    [{"replay_loss": 0.0}, {"replay_loss": 1.0}, {"replay_loss": "t"}, {"temperature": 0.0}],
)
def test_impossible_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=list(options)[-1]):
        LearningWithoutForgetting.Config.model_validate(options)
