"""Priors: divergences against torch.distributions, item by item, and what they draw."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from methods.feedback import ClassPrior, Code, StandardPrior


def make_code(n: int = 7, dim: int = 4, seed: int = 0) -> Code:
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, n, dim, generator=generator)
    return Code.drawn(mean, log_variance, generator)


def make_prior(modes: int, classes: int = 3, dim: int = 4) -> ClassPrior:
    prior, generator = ClassPrior(classes, modes, dim), torch.Generator().manual_seed(1)
    with torch.no_grad():
        prior.means.copy_(torch.randn(prior.means.shape, generator=generator))
        prior.log_variances.copy_(torch.randn(prior.means.shape, generator=generator))
    return prior


def normal(mean: Tensor, log_variance: Tensor) -> Independent:
    return Independent(Normal(mean, log_variance.mul(0.5).exp()), 1)


def mixture(prior: ClassPrior, label: int) -> MixtureSameFamily:
    modes = prior.means.shape[1]
    parts = normal(prior.means[label], prior.log_variances[label])
    return MixtureSameFamily(Categorical(torch.ones(modes)), parts)


def test_divergence_from_a_class_is_in_closed_form_item_by_item() -> None:
    prior, code = make_prior(1), make_code()
    y = torch.tensor([0, 2, 1, 1, 0, 2, 2])
    of_class = normal(prior.means[y, 0], prior.log_variances[y, 0])
    expected = kl_divergence(normal(code.mean, code.log_variance), of_class)
    torch.testing.assert_close(prior.divergence(code, y), expected)
    torch.testing.assert_close(prior.divergence(code._replace(z=code.z + 1), y), expected)


def test_divergence_from_a_standard_normal() -> None:
    code = make_code()
    zero = torch.zeros(7, 4)
    expected = kl_divergence(normal(code.mean, code.log_variance), normal(zero, zero))
    torch.testing.assert_close(StandardPrior(4).divergence(code, torch.zeros(7)), expected)


@pytest.mark.parametrize("modes", [1, 3])
def test_log_density_of_a_class_is_that_of_its_mixture(modes: int) -> None:
    prior, code, y = make_prior(modes), make_code(), torch.tensor([0, 2, 1, 1, 0, 2, 2])
    expected = [mixture(prior, int(label)).log_prob(z) for z, label in zip(code.z, y, strict=True)]
    torch.testing.assert_close(prior.log_density(code.z, y), torch.stack(expected))


@pytest.mark.parametrize("modes", [1, 3])
def test_log_density_under_soft_labels_is_that_of_the_mixture_of_classes(modes: int) -> None:
    prior, code = make_prior(modes), make_code()
    weights = torch.rand(7, 3, generator=torch.Generator().manual_seed(2))
    weights[:, 1] = 0
    weights /= weights.sum(1, keepdim=True)
    each = torch.stack([mixture(prior, label).log_prob(code.z).exp() for label in range(3)], 1)
    expected = (weights * each).sum(1).log()
    torch.testing.assert_close(prior.log_density(code.z, weights), expected, rtol=1e-4, atol=1e-5)
    divergence = prior.divergence(code, weights)
    posterior = normal(code.mean, code.log_variance).log_prob(code.z)
    torch.testing.assert_close(divergence, posterior - expected, rtol=1e-4, atol=1e-5)
    divergence.sum().backward()  # type: ignore[no-untyped-call]
    assert prior.means.grad is not None
    assert prior.means.grad.isfinite().all()
    assert (prior.means.grad[1] == 0).all()  # of no item


def test_the_estimate_comes_to_the_closed_form() -> None:
    prior, one = make_prior(1), make_code(1)
    many = Code.drawn(
        one.mean.expand(50_000, -1),
        one.log_variance.expand(50_000, -1),
        torch.Generator().manual_seed(3),
    )
    certain = torch.tensor([[0.0, 1.0, 0.0]]).expand(50_000, -1)
    estimated = prior.divergence(many, certain).mean()
    closed = prior.divergence(one, torch.tensor([1]))[0]
    torch.testing.assert_close(estimated, closed, rtol=0.02, atol=0.02)


def test_draws_are_of_their_class() -> None:
    prior = make_prior(2)
    y = torch.tensor([0, 2]).repeat(20_000)
    drawn = prior.draw(y, torch.Generator().manual_seed(4)).detach()
    for label in (0, 2):
        means, variances = prior.means[label].detach(), prior.log_variances[label].detach().exp()
        mean = means.mean(0)
        variance = variances.mean(0) + means.var(0, correction=0)
        of_label = drawn[y == label]
        torch.testing.assert_close(of_label.mean(0), mean, rtol=0, atol=0.05)
        torch.testing.assert_close(of_label.var(0), variance, rtol=0.05, atol=0)


def test_gradients_reach_mean_and_variance_through_the_draw() -> None:
    mean = torch.zeros(3, 2, requires_grad=True)
    log_variance = torch.zeros(3, 2, requires_grad=True)
    code = Code.drawn(mean, log_variance, torch.Generator().manual_seed(0))
    code.z.sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(mean.grad, torch.ones(3, 2))
    torch.testing.assert_close(log_variance.grad, (code.z / 2).detach())
