"""The variational autoencoder: its bound, what it learns of real digits, and its draws."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from digits import digits, recognised
from pydantic import ValidationError
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    LowRankMultivariateNormal,
    Normal,
    kl_divergence,
)

from methods.core.rng import Rng
from methods.core.task import TensorExamples
from methods.core.training import Budget
from methods.memories.generator_network import GeneratorNetwork, Labelled
from methods.memories.neural import NeuralMemory
from methods.memories.vae import Vae, VaeConfig

IMAGE, ROW = (2, 3, 4), (7,)
SMALL: dict[str, Any] = {"hidden": (12, 9), "latents": 16}
shapes = pytest.mark.parametrize("shape", [IMAGE, ROW])
conditions = pytest.mark.parametrize("classes", [0, 4])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(shape: tuple[int, ...], classes: int = 0, **options: Any) -> Vae:
    with Rng(0).scoped("initialisation"):
        return Vae(shape, classes, **(SMALL | options))


def items(shape: tuple[int, ...], classes: int = 0, n: int = 10) -> Labelled:
    x = torch.rand(n, *shape, generator=seeded(1))
    return Labelled(x, torch.arange(n) % classes if classes else None)


def each(network: Vae, batch: Labelled, noise: torch.Generator) -> list[Tensor]:
    """Losses of one item after the other."""
    losses = []
    for i in range(len(batch.x)):
        y = None if batch.y is None else batch.y[i : i + 1]
        terms = network.losses(batch.x[i : i + 1], y, noise)
        losses.append(torch.stack(list(terms.values())).sum())
    return losses


# The bound


@shapes
@conditions
def test_terms_are_those_of_torch_distributions(shape: tuple[int, ...], classes: int) -> None:
    network, (x, y, _) = make(shape, classes), items(shape, classes)
    if not network.images:
        with torch.no_grad():
            network.slow_log_deviation.copy_(torch.linspace(-0.4, 0.1, *shape))
    terms = network.losses(x, y, seeded())
    assert {name: term.shape for name, term in terms.items()} == {
        "reconstruction": (10,),
        "kl": (10,),
    }
    mean, log_variance = network.encode(x, y)
    posterior = Normal(mean, log_variance.exp().sqrt())
    torch.testing.assert_close(terms["kl"], kl_divergence(posterior, Normal(0.0, 1.0)).sum(1))
    z = mean + posterior.stddev * torch.randn(10, 16, generator=seeded())
    decoded = network.decode(z, y)
    law: Any = Bernoulli(logits=decoded, validate_args=False)
    if not network.images:
        law = Normal(decoded, network.log_deviation.exp())
    torch.testing.assert_close(terms["reconstruction"], -law.log_prob(x.flatten(1)).sum(1))


def test_on_a_linear_model_the_bound_is_the_likelihood() -> None:
    """With one latent and the exact posterior nothing is lost: log p(x) in closed form."""
    network = Vae((5,), hidden=(), latents=1)
    weight, bias = torch.linspace(-1, 2, 5), torch.linspace(0.5, -0.5, 5)
    precision = (-2 * network.log_deviation.detach()).exp()
    variance = 1 / (1 + (weight.square() * precision).sum())
    with torch.no_grad():
        network.decoder[0].weight.copy_(weight.unsqueeze(1))  # type: ignore[operator]
        network.decoder[0].bias.copy_(bias)  # type: ignore[operator]
        rows = torch.stack([variance * weight * precision, torch.zeros(5)])
        network.encoder[0].weight.copy_(rows)  # type: ignore[operator]
        network.encoder[0].bias.copy_(torch.stack([-(rows[0] @ bias), variance.log()]))  # type: ignore[operator]
        x = torch.randn(3, 5, generator=seeded())
        terms = network.losses(x.repeat(40_000, 1), None, seeded(1))
    bound = -(terms["reconstruction"] + terms["kl"]).view(-1, 3).mean(0)
    exact = LowRankMultivariateNormal(bias, weight.unsqueeze(1), 1 / precision).log_prob(x)
    torch.testing.assert_close(bound, exact, atol=0.02, rtol=0)


@shapes
@conditions
def test_a_batch_loses_the_mean_of_its_items(shape: tuple[int, ...], classes: int) -> None:
    """And a step follows the gradient of it, whatever the number of new and old items."""
    network, batch = make(shape, classes), items(shape, classes, 12)
    (x, y, _), n = batch, 3
    new = Labelled(x[:n], None if y is None else y[:n])
    old = Labelled(x[n:], None if y is None else y[n:])
    one_by_one = torch.stack(each(network, batch, seeded()))
    expected = 0.25 * one_by_one[:3].mean() + 0.75 * one_by_one[3:].mean()
    expected.backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in network.parameters()]
    before = [parameter.detach().clone() for parameter in network.parameters()]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    terms = network.step(new, old, 0.25, {"generator": optimizer}, seeded())
    torch.testing.assert_close(terms["reconstruction"] + terms["kl"], expected.detach())
    assert not any(term.requires_grad for term in terms.values())
    for was, gradient, parameter in zip(before, gradients, network.parameters(), strict=True):
        assert gradient is not None
        torch.testing.assert_close(parameter.detach(), was - 0.5 * gradient, atol=1e-5, rtol=1e-4)


def test_the_weight_of_the_divergence() -> None:
    x, y, _ = items(IMAGE)
    once, thrice = (make(IMAGE, beta=beta).losses(x, y, seeded()) for beta in (1.0, 3.0))
    torch.testing.assert_close(3 * once["kl"], thrice["kl"])
    assert torch.equal(once["reconstruction"], thrice["reconstruction"])


def test_parameters_of_the_comparison_network() -> None:
    """784-400-400-z100-400-400-784: van de Ven & Tolias (2019, arXiv:1904.07734)."""
    network = VaeConfig().network((1, 28, 28), 0)
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_069_784
    conditional = VaeConfig().network((1, 28, 28), 10)
    assert sum(p.numel() for p in conditional.parameters()) == (
        1_069_784 + 2 * 10 * 400 + 10 * 2 * 100
    )
    latents = VaeConfig().network((64,), 0)
    assert sum(p.numel() for p in latents.parameters()) == 1_069_784 - 2 * 720 * 400 - 720 + 64


def trained(network: Vae, x: Tensor, steps: int) -> Vae:
    optimizer, noise = torch.optim.Adam(network.parameters(), 2e-3), seeded(1)
    for _ in range(steps):
        network.step(Labelled(x, None), None, 1.0, {"generator": optimizer}, noise)
    return network


def test_gradients_stay_finite() -> None:
    """At certain pixels, far outliers, and activations that never vary, after many steps."""
    extremes = torch.tensor([0.0, 1.0]).repeat(64, 12).view(-1, *IMAGE)
    rows = torch.randn(128, *ROW, generator=seeded())
    rows[0], rows[:, 0] = 40.0, 0.0
    for x in (extremes, rows):
        network = trained(make(tuple(x.shape[1:])), x, 500)
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        assert network.draw(50, None, seeded()).isfinite().all()
        if not network.images:
            least, *others = network.log_deviation.exp().tolist()
            assert 0.05 <= least < 0.1
            assert min(others) > 0.3


def test_a_deviation_at_its_bound_can_grow_again() -> None:
    network = make(ROW)
    with torch.no_grad():
        network.slow_log_deviation.fill_(-0.6)
        network.decoder[-1].weight.zero_()  # type: ignore[operator]
    torch.testing.assert_close(network.log_deviation.exp(), torch.full(ROW, 0.05), rtol=0.1, atol=0)
    trained(network, torch.randn(64, *ROW, generator=seeded()), 300)
    assert network.log_deviation.exp().min() > 0.15


# What it learns of real digits


class BatchSum(Vae):
    """The planted defect of a published system: a sum over the batch beside a mean."""

    def losses(self, x: Tensor, y: Tensor | None, noise: torch.Generator) -> dict[str, Tensor]:
        terms = super().losses(x, y, noise)
        return {
            "reconstruction": terms["reconstruction"] / x[0].numel(),
            "kl": terms["kl"] * len(x),
        }


class BatchSumConfig(VaeConfig):
    def network(self, item: tuple[int, ...], classes: int) -> GeneratorNetwork:
        return BatchSum(item, classes, hidden=self.hidden, latents=self.latents)


def learnt(
    examples: TensorExamples, kind: type[VaeConfig] = VaeConfig, iterations: int = 300, **given: Any
) -> NeuralMemory:
    adam = {"name": "adam", "lr": 3e-3, "reset": "task"}
    options: dict[str, Any] = {"hidden": (128,), "latents": 16, "optimizer": adam} | given
    memory = NeuralMemory(kind(**options), 10, Budget(iterations=iterations))
    memory.absorb(examples, 0, Rng(0).at(0))
    return memory


def told(memory: NeuralMemory, x: Tensor) -> tuple[float, int, float]:
    """Return nats of KL, active units (Burda et al. 2016), and error against the mean image's."""
    network = memory.network
    assert isinstance(network, Vae)
    with torch.no_grad():
        mean, log_variance = network.encode(x, None)
        kl = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(1).mean()
        error = (network.decode(mean, None).sigmoid() - x.flatten(1)).square().mean()
    usual = (x - x.mean(0)).square().mean()
    return float(kl), int((mean.var(0) > 0.01).sum()), float(error / usual)


def test_the_posterior_tells_digits_apart_and_collapses_under_a_batch_sum() -> None:
    x = digits().x / 255
    kl, active, error = told(learnt(digits()), x)
    assert kl > 1.5
    assert active >= 8
    assert error < 0.6
    kl, active, error = told(learnt(digits(), BatchSumConfig), x)
    assert kl < 0.05
    assert active == 0
    assert error > 0.99


def test_draws_on_demand_are_recognised() -> None:
    memory = learnt(digits(), conditional=True)
    for label in range(10):
        batch = memory.sample(200, seeded(label), classes=(label,))
        assert batch.x.dtype == torch.uint8
        assert batch.x.shape == (200, 1, 8, 8)
        assert batch.y is not None
        assert batch.y.tolist() == [label] * 200
        assert float((recognised(batch.x) == label).float().mean()) > 0.9
        assert len(batch.x.unique(dim=0)) == 200


def test_draws_at_will_are_like_the_digits() -> None:
    x = learnt(digits()).sample(2000, seeded()).x
    assert recognised(x).bincount(minlength=10).min() > 60  # of 200
    assert torch.allclose(x.float().mean(0), digits().x.float().mean(0), atol=25)
    # Each is a digit, not a mixture of all: it is sure about most of its pixels.
    blurred = learnt(digits(), BatchSumConfig).sample(2000, seeded()).x.float()
    assert x.float().std(0).mean() > 5 * blurred.std(0).mean()


# Activations


def activations() -> TensorExamples:
    """Twelve units behind a ReLU that follow three factors; one is silent."""
    factors = torch.randn(3000, 3, generator=seeded())
    loads = torch.randn(3, 12, generator=seeded(1)) * torch.linspace(0.2, 8, 12)
    noise = torch.randn(3000, 12, generator=seeded(2))
    x = (factors @ loads + 0.3 * noise + torch.linspace(0, 9, 12)).relu()
    x[:, 5] = 0
    return TensorExamples(x.view(-1, 3, 2, 2), torch.zeros(3000, dtype=torch.int64))


@pytest.mark.parametrize("clamp", [True, False])
def test_draws_of_activations(clamp: bool) -> None:
    examples = activations()
    memory = learnt(examples, iterations=800, clamp=clamp, latents=6)
    drawn = memory.sample(5000, seeded()).x
    assert drawn.shape == (5000, 3, 2, 2)
    assert drawn.dtype == torch.float32
    real, x = examples.x.flatten(1), drawn.flatten(1)
    spread = real.std(0)
    assert ((x.mean(0) - real.mean(0)).abs() <= 0.25 * spread + 0.05).all()
    alive = spread > 0
    assert (x.std(0)[alive] / spread[alive] - 1).abs().max() < 0.25
    gap = torch.corrcoef(x[:, alive].T) - torch.corrcoef(real[:, alive].T)
    assert gap.abs().max() < 0.2
    outside = ((x < real.amin(0)) | (x > real.amax(0))).float().mean()
    assert outside == 0 if clamp else outside > 0.05
    if clamp:
        assert x[:, 5].unique().tolist() == [0]


def test_draws_of_activations_are_of_their_class_soon() -> None:
    """With one standard normal for all classes they are of hardly any: the posterior leaves it."""
    means = 3 * torch.randn(4, 30, generator=seeded())
    y = torch.arange(4).repeat(500)
    x = means[y] + torch.randn(2000, 30, generator=seeded(1))
    memory = learnt(TensorExamples(x, y), iterations=150, conditional=True, hidden=(50,))
    batch = memory.sample(1000, seeded(2))
    assert torch.cdist(batch.x, means).argmin(1).eq(batch.y).float().mean() > 0.95
    for label in range(4):
        of_class = batch.x[batch.y == label]
        assert 0.8 < float((of_class - of_class.mean(0)).std() / (x - means[y]).std()) < 1.2


def test_a_class_has_a_prior_of_its_own() -> None:
    """Closed form: the divergence of normals, and where draws come from."""
    network = make((3,), 2, latents=4)
    with torch.no_grad():
        network.slow_prior.copy_(torch.randn(2, 8, generator=seeded()) / 10)
        x, y = torch.randn(5, 3, generator=seeded(1)), torch.tensor([0, 1, 1, 0, 1])
        mean, log_variance = network.encode(x, y)
        prior_mean, prior_log_variance = network.prior(y)
        kl = network.losses(x, y, seeded())["kl"]
    normals = [
        torch.distributions.Normal(m, (0.5 * v).exp())
        for m, v in ((mean, log_variance), (prior_mean, prior_log_variance))
    ]
    expected = torch.distributions.kl_divergence(*normals).sum(1)
    torch.testing.assert_close(kl, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(prior_mean[0], prior_mean[1])


def test_draws_have_the_noise_of_the_model() -> None:
    """Where latents tell nothing the spread is all noise: means alone would all be one."""
    network = make((2,))
    with torch.no_grad():
        network.decoder[-1].weight.zero_()  # type: ignore[operator]
        network.slow_log_deviation.copy_(torch.tensor([0.0, -0.1]))
    x = network.draw(20_000, None, seeded())
    torch.testing.assert_close(x.std(0), network.log_deviation.exp(), rtol=0.03, atol=0)
    torch.testing.assert_close(x.mean(0), network.decoder[-1].bias, rtol=0, atol=0.03)


@shapes
@conditions
def test_draws_repeat_themselves_and_change_nothing(shape: tuple[int, ...], classes: int) -> None:
    network, y = make(shape, classes).eval(), torch.arange(6) % 4 if classes else None
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        one, same, other = (network.draw(6, y, seeded(seed)) for seed in (0, 0, 1))
        assert torch.equal(one, same)
        assert not torch.equal(one, other)
        assert one.shape == (6, *shape)
        assert network.draw(0, None if y is None else y[:0], seeded()).shape == (0, *shape)
    if network.images:
        assert one.min() >= 0
        assert one.max() <= 1
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# Options


def test_options() -> None:
    config = VaeConfig.model_validate({"hidden": [30, 20], "latents": 5, "beta": 0.5})
    assert VaeConfig.model_validate(config.canonical()) == config
    network = config.network((1, 4, 4), 3)
    assert isinstance(network, Vae)
    assert (network.classes, network.latents, network.beta) == (3, 5, 0.5)
    layers = (*network.encoder, *network.decoder)
    widths = [layer.out_features for layer in layers if isinstance(layer, torch.nn.Linear)]
    assert widths == [30, 20, 10, 20, 30, 16]
    assert VaeConfig().name == "vae"


@pytest.mark.parametrize("wrong", [{"latents": 0}, {"beta": 0}, {"hidden": [0]}, {"z": 3}])
def test_mistakes(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        VaeConfig.model_validate(wrong)


def test_an_untrained_network_loses_what_noise_would() -> None:
    """About log 2 a pixel, and log √(2πe) a standardised activation: nats, not means of them."""
    pixels = make((1, 28, 28), latents=100).losses(torch.rand(50, 1, 28, 28), None, seeded())
    assert pixels["reconstruction"].mean().item() == pytest.approx(784 * math.log(2), rel=0.01)
    rows = make((200,)).losses(torch.randn(50, 200, generator=seeded(1)), None, seeded())
    entropy = 200 * 0.5 * math.log(2 * math.pi * math.e)
    assert rows["reconstruction"].mean().item() == pytest.approx(entropy, rel=0.05)
