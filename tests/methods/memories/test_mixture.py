"""Mixtures: densities against SciPy, draws against their moments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from sklearn.covariance import empirical_covariance
from sklearn.decomposition import PCA
from torch import Tensor

from methods.memories.mixture import Mixture, draw, log_density, stratified

KINDS = ("diagonal", "tied", "low-rank", "full")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mixture_of(kind: str, k: int = 3, d: int = 6, far: float = 0.0) -> Mixture:
    weights, means = random(k, seed=1).softmax(0), 2 * random(k, d, seed=2) + far
    deviations = random(1 if kind == "tied" else k, d, seed=3).exp()
    match kind:
        case "low-rank":
            return Mixture(weights, means, deviations, random(k, d, 2, seed=4))
        case "full":
            square = random(k, d, d, seed=5)
            roots = torch.linalg.cholesky(square @ square.mT + 0.1 * torch.eye(d))
            return Mixture(weights, means, factors=roots)
    return Mixture(weights, means, deviations)


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_densities_are_those_of_scipy(kind: str, k: int) -> None:
    mixture, x = mixture_of(kind, k), 3 * random(40, 6, seed=6)
    parts = [
        float(weight) * multivariate_normal(mean.numpy(), covariance.numpy()).pdf(x.numpy())
        for weight, mean, covariance in zip(
            mixture.weights, mixture.means, mixture.covariances(), strict=True
        )
    ]
    assert np.allclose(log_density(mixture, x).exp(), sum(parts), rtol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_densities_far_from_zero_keep_their_digits(kind: str) -> None:
    near, far = mixture_of(kind), mixture_of(kind, far=1000.0)
    x = 3 * random(40, 6, seed=6)
    low = Mixture(*(None if v is None else v.float() for v in vars(far).values()))  # type: ignore[arg-type]
    expected = log_density(near, x)
    assert torch.allclose(log_density(low, (x + 1000).float()).double(), expected, atol=0.02)


def test_density_of_principal_components_is_that_of_sklearn() -> None:
    x = random(300, 3, seed=7) @ random(3, 8, seed=8) + 0.3 * random(300, 8, seed=9)
    pca = PCA(n_components=3).fit(x.numpy())
    noise = float(pca.noise_variance_)
    loadings = pca.components_.T * np.sqrt(pca.explained_variance_ - noise)
    mixture = Mixture(
        torch.ones(1, dtype=torch.float64),
        torch.from_numpy(pca.mean_)[None],
        torch.full((1, 8), noise**0.5, dtype=torch.float64),
        torch.from_numpy(loadings)[None],
    )
    assert np.allclose(log_density(mixture, x), pca.score_samples(x.numpy()))


@pytest.mark.parametrize("kind", KINDS)
def test_draws_have_the_moments_of_the_mixture(kind: str) -> None:
    mixture = mixture_of(kind)
    g = torch.Generator().manual_seed(0)
    x = draw(mixture, stratified(mixture.weights, 40_000, g), g)
    mean = mixture.weights @ mixture.means
    spread = mixture.means - mean
    between = torch.einsum("k,ki,kj->ij", mixture.weights, spread, spread)
    within = torch.einsum("k,kij->ij", mixture.weights, mixture.covariances())
    covariance = between + within
    scale = covariance.diagonal().sqrt()
    assert ((x.mean(0) - mean) / scale).abs().max() < 0.02
    found = torch.from_numpy(empirical_covariance(x.numpy()))
    assert ((found - covariance) / scale.outer(scale)).abs().max() < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_a_component_is_drawn_from_where_it_was_asked_for(kind: str) -> None:
    mixture = mixture_of(kind, k=4)
    component = torch.tensor([3, 0, 0, 2, 3] * 4000)
    x = draw(mixture, component, torch.Generator().manual_seed(0))
    for k in (0, 2, 3):
        rows = x[component == k]
        deviations = mixture.covariances()[k].diagonal().sqrt()
        scores = (rows.mean(0) - mixture.means[k]) / (deviations / len(rows) ** 0.5)
        assert scores.abs().max() < 4
        assert torch.allclose(rows.std(0), deviations, rtol=0.05)


def test_draws_depend_on_the_generator_alone() -> None:
    mixture, state = mixture_of("low-rank"), torch.get_rng_state()
    one, same, other = (
        draw(mixture, torch.arange(50) % 2, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_stratified_draws_are_nearly_in_proportion() -> None:
    weights = torch.tensor([0.0, 3.0, 0.001, 0.0, 1.0, 6.0, 0.0])
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(7)
    for _ in range(300):
        index = stratified(weights, 37, generator)
        counts = index.bincount(minlength=7)
        assert int(counts.sum()) == 37
        assert ((counts - 37 * weights / weights.sum()).abs() < 2).all()
        total += counts
    assert not total[[0, 3, 6]].any()
    assert torch.allclose(total / total.sum(), weights / weights.sum(), atol=0.003)


def test_stratified_draws_come_in_random_order() -> None:
    generator = torch.Generator().manual_seed(0)
    index = stratified(torch.ones(2), 1000, generator)
    assert 450 < int((index[1:] != index[:-1]).sum()) < 550
    assert len(stratified(torch.ones(2), 0, generator)) == 0
