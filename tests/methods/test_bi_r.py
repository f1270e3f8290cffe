"""Brain-inspired replay: what it draws, how it labels it, and what it minimises."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.distributions import Bernoulli, Categorical, Normal, kl_divergence

from methods.bi_r import BrainInspiredReplay
from methods.core.log import SilentLog
from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, StreamInfo, Task, TensorExamples
from methods.feedback import Past
from methods.naive import Naive
from methods.networks import Backbone, Mlp

CLASSES_OF = ((0, 1), (2, 3), (4, 5))
DOMAINS = ((0, 1),) * 3


def info(scenario: Scenario = Scenario.CLASS_INCREMENTAL) -> StreamInfo:
    if scenario is Scenario.DOMAIN_INCREMENTAL:
        return StreamInfo(scenario, 3, (1, 4, 4), 2, DOMAINS)
    return StreamInfo(scenario, 3, (1, 4, 4), 6, CLASSES_OF)


def make_task(index: int, stream: StreamInfo | None = None, n: int = 60) -> Task:
    """Each class is a bright pixel of its own on noise."""
    classes = (stream or info()).classes_of[index]
    generator = torch.Generator().manual_seed(index)
    y = torch.tensor(classes)[torch.randint(2, (n,), generator=generator)]
    x = torch.randint(80, (n, 1, 4, 4), generator=generator, dtype=torch.uint8)
    x.flatten(1)[torch.arange(n), 2 * index + y % 2] = 255
    return Task(index, classes, TensorExamples(x, y))


def make(
    scenario: Scenario = Scenario.CLASS_INCREMENTAL, method: Any = None, **options: Any
) -> Any:
    small = {
        "network": {"name": "mlp", "widths": [12, 10]},
        "budget": {"iterations": 6, "batch_size": 10},
        "latent_dim": 5,
    }
    return Noting(Noting.Config.model_validate(small | options), info(scenario), Rng(0))


class Noting(BrainInspiredReplay):
    """Writes down its batches and loss terms."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.noted: list[tuple[Batch, dict[str, Tensor], Past | None]] = []

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        terms = super().losses(batch)
        self.noted.append((batch, {k: t.detach() for k, t in terms.items()}, self.past))
        return terms


class Pictures(SilentLog):
    def __init__(self) -> None:
        self.shown: dict[str, tuple[Tensor, int]] = {}

    def image(self, name: str, x: Tensor, columns: int = 10) -> None:
        self.shown[name] = x, columns


def learnt(tasks: int = 2, scenario: Scenario = Scenario.CLASS_INCREMENTAL, **options: Any) -> Any:
    method = make(scenario, **options)
    for index in range(tasks):
        method.learn(make_task(index, method.stream))
    return method


def begun(task: int, scenario: Scenario = Scenario.CLASS_INCREMENTAL, **options: Any) -> Any:
    """A method at the first step of a task, moved away from where the last one ended."""
    method = learnt(task, scenario, **options)
    method.tasks_seen = task + 1
    method.before_task(make_task(task, method.stream))
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in method.network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return method


def test_one_step_is_the_published_loss() -> None:
    """(1/3) L_new + (2/3) L_replay, each written out with torch.distributions."""
    method = begun(2, gates=0.5, replay_batch=7)
    batch = make_task(2).train.gather(torch.arange(10))
    old = method.past.rehearse(7, Rng(0).at(2).of("feedback").generator("draws"))
    noise = Rng(0).at(2).of("feedback").generator("noise")
    with torch.no_grad():
        terms = method.losses(batch)
        network, feedback = method.network, method.network.feedback
        x = torch.cat([batch.x / 255, old.x])
        hidden = network.backbone.run(x)
        mean, log_variance = feedback.code(hidden).chunk(2, 1)
        posterior = Normal(mean, (log_variance / 2).exp())
        z = mean + posterior.scale * torch.randn(17, 5, generator=noise)
        context = torch.cat([torch.eye(6)[batch.y], old.targets])
        pixel = Bernoulli(logits=feedback.decoder(z, context))
        one, zero = (pixel.log_prob(torch.full((17, 16), value)) for value in (1.0, 0.0))
        errors = -(x.flatten(1) * one + (1 - x.flatten(1)) * zero)
        prior = feedback.prior
        scale = (prior.log_variances[:, 0] / 2).exp()
        of_class = Normal(prior.means[batch.y, 0], scale[batch.y])
        closed = kl_divergence(Normal(mean[:10], posterior.scale[:10]), of_class).sum(1)
        each = Normal(prior.means[:, 0], scale).log_prob(z[10:, None]).sum(2)
        mixture = (old.targets.log() + each).logsumexp(1)
        estimated = posterior.log_prob(z).sum(1)[10:] - mixture
        q, p = old.targets, (network.head(hidden[10:]) / 2).log_softmax(1)
    expected = {
        "new": torch.nn.functional.cross_entropy(network.head(hidden[:10]), batch.y) / 3,
        "reconstruction": errors[:10].sum(1).mean() / 16 / 3,
        "divergence": closed.mean() / 16 / 3,
        "replay": -(q * p).sum(1).mean() * 4 * 2 / 3,
        "replay_reconstruction": errors[10:].sum(1).mean() / 16 * 2 / 3,
        "replay_divergence": estimated.mean() / 16 * 2 / 3,
    }
    torch.testing.assert_close(terms, expected, rtol=1e-4, atol=1e-6)


def test_the_first_task_is_not_replayed() -> None:
    method = learnt(1)
    assert {tuple(terms) for _, terms, _ in method.noted} == {
        ("new", "reconstruction", "divergence")
    }
    assert all(past is None for _, _, past in method.noted)


def test_weights_of_the_losses() -> None:
    batch = make_task(2).train.gather(torch.arange(10))
    base, method = begun(2).losses(batch), begun(2)
    update = {"reconstruction": 3.0, "divergence": 0.5, "replay_loss": 0.25}
    method.config = method.config.model_copy(update=update)
    other = method.losses(batch)
    for prefix, name, share in (("", "new", 0.25 * 3), ("replay_", "replay", 0.75 * 3 / 2)):
        torch.testing.assert_close(other[name], base[name] * share)
        for term, weight in (("reconstruction", 3), ("divergence", 0.5)):
            torch.testing.assert_close(other[prefix + term], base[prefix + term] * share * weight)


def test_labels_are_soft_and_of_classes_known_before() -> None:
    method = begun(2)
    old = method.past.rehearse(12, torch.Generator().manual_seed(0))
    logits = method.past.network(old.x)[:, :4]
    torch.testing.assert_close(old.targets[:, :4], Categorical(logits=logits / 2).probs)
    assert (old.targets[:, 4:] == 0).all()
    assert old.wanted.y.bincount().tolist() == [3, 3, 3, 3]


def test_hard_labels_are_the_most_probable_class() -> None:
    method = begun(2, replay_labels="hard")
    old = method.past.rehearse(12, torch.Generator().manual_seed(0))
    expected = method.past.network(old.x)[:, :4].argmax(1)
    assert torch.equal(old.targets, torch.eye(6)[expected])
    loss = method.replay_loss(torch.randn(12, 6, generator=torch.Generator().manual_seed(1)), old)
    logits = torch.randn(12, 6, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(logits, expected))


def test_task_incremental_labels_are_of_the_items_own_task() -> None:
    method = begun(2, Scenario.TASK_INCREMENTAL)
    old = method.past.rehearse(12, torch.Generator().manual_seed(0))
    assert torch.equal(old.wanted.task, old.wanted.y // 2)
    logits = method.past.network(old.x).unflatten(1, (3, 2))[torch.arange(12), old.wanted.task]
    own = old.targets.unflatten(1, (3, 2))[torch.arange(12), old.wanted.task]
    torch.testing.assert_close(own, (logits / 2).softmax(1))
    torch.testing.assert_close(old.targets.sum(1), torch.ones(12))


def test_task_incremental_without_conditions_is_the_mean_over_past_tasks() -> None:
    method = begun(2, Scenario.TASK_INCREMENTAL, prior="standard", gates=0.0)
    old = method.past.rehearse(9, torch.Generator().manual_seed(0))
    assert old.targets.shape == (2, 9, 6)
    logits = torch.randn(9, 6, generator=torch.Generator().manual_seed(1))
    teacher = method.past.network(old.x)
    parts = []
    for columns in (slice(0, 2), slice(2, 4)):
        q, p = (teacher[:, columns] / 2).softmax(1), (logits[:, columns] / 2).log_softmax(1)
        parts.append(-4 * (q * p).sum(1).mean())
    torch.testing.assert_close(method.replay_loss(logits, old), (parts[0] + parts[1]) / 2)


@pytest.mark.parametrize(
    ("scenario", "gate_by", "contexts"),
    [
        (Scenario.CLASS_INCREMENTAL, None, 6),
        (Scenario.CLASS_INCREMENTAL, "task", 3),
        (Scenario.TASK_INCREMENTAL, None, 6),
        (Scenario.DOMAIN_INCREMENTAL, None, 3),
        (Scenario.DOMAIN_INCREMENTAL, "class", 2),
    ],
)
def test_what_gates_go_by(scenario: Scenario, gate_by: str | None, contexts: int) -> None:
    network = make(scenario, gate_by=gate_by, gates=0.5).network
    assert [network.feedback.decoder.gates(i).shape for i in (0, 1)] == [
        (contexts, 10),
        (contexts, 12),
    ]
    context = network.context(torch.tensor([1]), torch.tensor([2]))
    assert context.argmax(1).item() == (2 if contexts == 3 else 1)


def test_gates_stay_as_they_are() -> None:
    before = make(gates=0.5).network.feedback.decoder.state_dict()
    after = learnt(3, gates=0.5).network.feedback.decoder.state_dict()
    gates = [name for name in before if name.startswith("gates")]
    assert len(gates) == 2
    assert all(torch.equal(before[name], after[name]) for name in gates)


def test_nothing_outlives_a_task_but_the_network() -> None:
    method = learnt(2)
    assert method.past is None
    assert all(past is not None for _, _, past in method.noted[6:])
    assert set(method.bytes_kept()) == {"network", "optimizer"}


def test_the_copy_does_not_learn() -> None:
    method = learnt(1)
    before = {name: p.clone() for name, p in method.network.state_dict().items()}
    method.learn(make_task(1))
    _, _, past = method.noted[-1]
    torch.testing.assert_close(past.network.state_dict(), before, rtol=0, atol=0)
    assert not torch.equal(method.network.state_dict()["head.weight"], before["head.weight"])


def test_new_rows_are_a_classifier_s_own() -> None:
    """Without its bound and replay it is fine-tuning, with the same first weights and batches."""
    mine = learnt(1, reconstruction=0.0, divergence=0.0)
    naive = Naive(
        Naive.Config(network=mine.config.network, budget=mine.config.budget), info(), Rng(0)
    )
    naive.learn(make_task(0))
    torch.testing.assert_close(mine.network.head.state_dict(), naive.network.head.state_dict())
    mine_blocks, naive_blocks = mine.network.backbone, naive.network.backbone
    torch.testing.assert_close(mine_blocks.state_dict(), naive_blocks.state_dict())


@pytest.mark.parametrize("freeze_from", ["start", "first-task"])
def test_internal_replay(freeze_from: str) -> None:
    method = learnt(2, freeze_depth=1, freeze_from=freeze_from)
    assert method.network.feedback.item == (12,)
    assert [layer.out_features for layer in method.network.feedback.decoder.hidden] == [10]
    replayed = method.replayed(40)
    assert replayed.depth == 1
    assert replayed.batch.x.shape == (40, 12)
    assert (replayed.batch.x >= 0).all()  # as the activations are
    assert replayed.batch.y.max() < 4
    assert method.sample(5) is None
    blocks = method.network.backbone.blocks
    _, _, past = method.noted[-1]
    assert past.network.backbone.blocks[0][1].weight is blocks[0][1].weight  # frozen: shared
    assert past.network.backbone.blocks[1][0].weight is not blocks[1][0].weight


def test_activations_have_a_normal_likelihood() -> None:
    """Of the variance that is most likely."""
    method = begun(1, freeze_depth=1)
    feedback, batch = method.network.feedback, make_task(1).train.gather(torch.arange(10))
    items = method.network.backbone.run(batch.x, 0, 1)
    code = feedback.encode(method.network.backbone.run(items, 1), torch.Generator().manual_seed(0))
    context = method.network.context(batch.y, batch.y)
    decoded = feedback.decoder(code.z, context)
    scale = (decoded - items).square().mean().sqrt()
    likelihood = [Normal(decoded, scale * k).log_prob(items).sum(1) for k in (0.9, 1.0, 1.1)]
    assert likelihood[1].sum() > max(likelihood[0].sum(), likelihood[2].sum())
    expected = -likelihood[1] - 12 * math.log(2 * math.pi) / 2
    torch.testing.assert_close(feedback.reconstruction(items, code, context), expected)


def test_samples() -> None:
    method = learnt(2)
    batch = method.sample(8)
    assert (batch.x.dtype, batch.x.shape) == (torch.uint8, (8, 1, 4, 4))
    assert batch.y.bincount().tolist() == [2, 2, 2, 2]
    assert torch.equal(batch.task, batch.y // 2)
    assert set(method.sample(8, task=1).y.tolist()) == {2, 3}
    assert set(method.sample(8, classes=(0, 3)).y.tolist()) == {0, 3}
    with pytest.raises(LookupError):
        method.sample(1, classes=(4,))
    with pytest.raises(LookupError):
        make().sample(1)


def test_without_conditions_nothing_can_be_asked_for() -> None:
    method = learnt(2, prior="standard", gates=0.0)
    batch = method.sample(8)
    assert method.predict(batch.x).argmax(1).eq(batch.y).float().mean() > 0.8  # but for rounding
    with pytest.raises(LookupError, match="asked for"):
        method.sample(1, classes=(0,))


def test_replayed() -> None:
    assert make().replayed(3) is None
    method = learnt(2)
    batch, depth = method.replayed(20)
    assert (depth, batch.x.dtype, batch.y.dtype) == (0, torch.uint8, torch.int64)
    close = method.predict(batch.x).argmax(1).eq(batch.y).float().mean()
    assert close > 0.9  # rounding to bytes aside
    torch.testing.assert_close(method.replayed(20), method.replayed(20))


class Dropping(Mlp):
    """A network that draws while it learns."""

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        layers = [nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 12), nn.BatchNorm1d(12), nn.ReLU()]
        return Backbone([nn.Sequential(*layers)], shape)


def test_a_method_that_was_saved_draws_and_labels_alike() -> None:
    method, other = learnt(2, network=Dropping()), make(network=Dropping())
    other.load_state_dict(method.state_dict())
    before = other.state_dict()
    torch.testing.assert_close(method.replayed(20), other.replayed(20), rtol=0, atol=0)
    torch.testing.assert_close(before, other.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("scenario", list(Scenario))
def test_pictures_are_shown_and_change_nothing(scenario: Scenario) -> None:
    method, silent = make(scenario), make(scenario)
    for index in range(2):
        log = Pictures()
        method.learn(make_task(index, method.stream), log)
        silent.learn(make_task(index, method.stream))
        seen = len({label for some in method.stream.classes_of[: index + 1] for label in some})
        assert list(log.shown) == [f"generator, step {k}" for k in (1, 3, 4)] + ["generator"]
        for x, columns in log.shown.values():
            assert (x.dtype, x.shape) == (torch.uint8, (10 * seen, 1, 4, 4))
            assert columns == 10
    torch.testing.assert_close(method.state_dict(), silent.state_dict(), rtol=0, atol=0)


def test_no_pictures_of_activations() -> None:
    log = Pictures()
    make(freeze_depth=1).learn(make_task(0), log)
    assert not log.shown


@pytest.mark.parametrize(
    "options",
    [
        {"gates": 1.0},
        {"gates": -0.1},
        {"gate_by": "domain"},
        {"prior": "mixture"},
        {"temperature": 0.0},
        {"modes": 0},
        {"latent_dim": 0},
        {"replay_labels": "memory"},
        {"reconstruction": -1.0},
    ],
)
def test_impossible_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=next(iter(options))):
        BrainInspiredReplay.Config.model_validate(options)


def test_options_of_what_is_left_out_make_no_other_trial() -> None:
    config = BrainInspiredReplay.Config
    assert config(replay_labels="hard", temperature=3.0) == config(replay_labels="hard")
    assert config(prior="standard", modes=2) == config(prior="standard")
    assert config(gates=0.0, gate_by="task") == config(gates=0.0)
    assert config().implied == {"temperature", "modes"}
    assert config(temperature=3.0, modes=2).implied == set()
    assert (config().temperature, config().modes) == (2.0, 1)
