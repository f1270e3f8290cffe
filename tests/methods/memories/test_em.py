"""Fits of mixtures, against scikit-learn from the same start."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.decomposition import FactorAnalysis
from sklearn.mixture import GaussianMixture
from torch import Tensor

from methods.memories import em
from methods.memories.em import (
    Covariance,
    Diagonal,
    Full,
    LowRank,
    Maximisation,
    expectation_maximisation,
    fit_mixture,
    variance_floor,
)
from methods.memories.mixture import Mixture, joint_log_density, log_density, moments

COVARIANCES: tuple[Covariance, ...] = ("diagonal", "low-rank", "full")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents(n: int = 400, d: int = 12, seed: int = 0) -> Tensor:
    """Activations after a ReLU: correlated, in groups, with many exact zeros."""
    g = generator(seed)
    groups = 2 * torch.randn(4, 5, generator=g)[torch.randint(4, (n,), generator=g)]
    z = groups + torch.randn(n, 5, generator=g)
    return (z @ torch.randn(5, d, generator=g) + 0.3 * torch.randn(n, d, generator=g) + 1).relu()


def three_groups(n: int = 600, d: int = 4) -> Tensor:
    g = generator(3)
    means = 3 * torch.randn(3, d, generator=g, dtype=torch.float64)
    shapes = torch.randn(3, d, d, generator=g, dtype=torch.float64)
    label = torch.randint(3, (n,), generator=g)
    noise = torch.randn(n, 1, d, generator=g, dtype=torch.float64)
    x = means[label] + (noise @ shapes[label]).squeeze(1)
    return x - x.mean(0)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_em_is_that_of_sklearn(covariance: str) -> None:
    x, ridge = three_groups(), 1e-6
    means = x[[5, 50, 500]]
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    unit = torch.eye(4, dtype=torch.float64).expand(3, 4, 4)
    floor = torch.full((4,), ridge, dtype=torch.float64)
    step: Maximisation = Full(floor) if covariance == "full" else Diagonal(floor)
    if covariance == "full":
        start, precisions = Mixture(weights, means, factors=unit), unit.numpy()
    else:
        start, precisions = Mixture(weights, means, torch.ones_like(means)), np.ones((3, 4))
    ours = expectation_maximisation(moments(x, torch.zeros_like(x[0])), start, step)
    theirs = GaussianMixture(
        3,
        covariance_type="full" if covariance == "full" else "diag",
        tol=1e-3,
        reg_covar=ridge,
        weights_init=weights.numpy(),
        means_init=means.numpy(),
        precisions_init=precisions,
    ).fit(x.numpy())
    assert theirs.converged_
    assert theirs.n_iter_ > 5
    expected = theirs.covariances_
    expected = expected if covariance == "full" else np.stack([np.diag(v) for v in expected])
    # Theirs ends with one more M step than was weighed.
    assert np.allclose(ours.weights, theirs.weights_, atol=5e-3)
    assert np.allclose(ours.means, theirs.means_, atol=0.03)
    assert np.allclose(ours.covariances(), expected, atol=0.1)
    assert float(log_density(ours, x).mean()) == pytest.approx(theirs.score(x.numpy()), abs=1e-3)


def test_one_factor_analyser_is_that_of_sklearn() -> None:
    g = generator()
    x = torch.randn(800, 3, generator=g) @ torch.randn(3, 10, generator=g)
    x = (x + torch.randn(800, 10, generator=g) * (torch.rand(10, generator=g) + 0.5)).double()
    x -= x.mean(0)
    theirs = FactorAnalysis(3, tol=1e-10, max_iter=5000, svd_method="lapack").fit(x.numpy())
    step = LowRank(torch.full((10,), 1e-9, dtype=torch.float64), 3, generator())
    for _ in range(400):
        ours = step(moments(x, torch.zeros_like(x[0])), torch.ones(800, 1, dtype=torch.float64))
    assert float(log_density(ours, x).mean()) == pytest.approx(theirs.score(x.numpy()), abs=1e-6)
    assert np.allclose(ours.covariances()[0], theirs.get_covariance(), atol=1e-3)


@pytest.mark.parametrize("rank", [1, 3])
def test_a_fit_of_low_rank_is_near_the_likeliest(rank: int) -> None:
    x = latents(800, 30)
    theirs = FactorAnalysis(rank, tol=1e-3, svd_method="lapack").fit(x.numpy())
    ours = fit_mixture(x, 1, "low-rank", rank, generator())
    assert ours.factors is not None
    assert ours.factors.shape == (1, 30, rank)
    assert float(log_density(ours, x).mean()) > theirs.score(x.numpy()) - 0.05


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_likelihood_rises(covariance: Covariance, monkeypatch: pytest.MonkeyPatch) -> None:
    path: list[float] = []
    inner = joint_log_density

    def spied(mixture: Mixture, both: Tensor) -> Tensor:
        joint = inner(mixture, both)
        path.append(float(joint.logsumexp(1).mean()))
        return joint

    monkeypatch.setattr(em, "joint_log_density", spied)
    x = latents(600, 20).double()
    mixture = fit_mixture(x, 4, covariance, 3, generator())
    assert len(path) > 3
    assert all(new > old - 1e-3 for old, new in pairwise(path))
    assert float(log_density(mixture, x).mean()) == pytest.approx(max(path))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_fit_is_as_likely_as_that_of_sklearn(covariance: Covariance) -> None:
    x = latents(1200, 20)
    floor = float(variance_floor(x - x.mean(0)).mean())
    ours = fit_mixture(x, 5, covariance, 20, generator())
    theirs = GaussianMixture(
        5,
        covariance_type="diag" if covariance == "diagonal" else "full",
        reg_covar=floor,
        random_state=0,
    ).fit(x.numpy())
    assert float(log_density(ours, x).mean()) > theirs.score(x.numpy()) - 0.7


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_fit_repeats_itself_and_single_precision_is_enough(covariance: Covariance) -> None:
    x, state = latents(), torch.get_rng_state()
    one, same = (fit_mixture(x, 3, covariance, 3, generator()) for _ in range(2))
    assert all(
        v is None or torch.equal(v, w)
        for v, w in zip(vars(one).values(), vars(same).values(), strict=True)
    )
    assert torch.equal(torch.get_rng_state(), state)
    wide = fit_mixture(x.double(), 3, covariance, 3, generator())
    low, high = (float(log_density(m, x.double()).mean()) for m in (in_double(one), wide))
    assert low == pytest.approx(high, abs=0.05)


def in_double(mixture: Mixture) -> Mixture:
    return Mixture(*(None if v is None else v.double() for v in vars(mixture).values()))  # type: ignore[arg-type]


# Awkward items


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("n", [1, 2, 5])
def test_fewer_items_than_components(covariance: Covariance, n: int) -> None:
    x = latents(n)
    mixture = fit_mixture(x, 8, covariance, 16, generator())
    assert 1 <= len(mixture.means) <= n
    assert float(mixture.weights.sum()) == pytest.approx(1)
    assert all(v is None or v.isfinite().all() for v in vars(mixture).values())
    assert log_density(mixture, x).isfinite().all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_constant_dimensions_stay_constant(covariance: Covariance) -> None:
    x = latents()
    x[:, 3], x[:, 7] = 0, 2.5
    mixture = fit_mixture(x, 3, covariance, 4, generator())
    spread = mixture.covariances().diagonal(dim1=1, dim2=2).sqrt()[:, [3, 7]]
    assert torch.allclose(mixture.means[:, [3, 7]], torch.tensor([0, 2.5]), atol=1e-5)
    assert spread.max() < 0.01 * x.std()
    assert log_density(mixture, x).isfinite().all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_equal_items(covariance: Covariance) -> None:
    x = torch.full((50, 6), 0.1)
    mixture = fit_mixture(x, 3, covariance, 2, generator())
    assert len(mixture.means) == 1
    assert torch.allclose(mixture.means, x[:1])
    assert mixture.covariances().abs().max() < 1e-6


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_components_that_lose_their_items_are_dropped(covariance: Covariance) -> None:
    x = three_groups(300)
    floor = variance_floor(x)
    steps: dict[str, Maximisation] = {
        "diagonal": Diagonal(floor),
        "full": Full(floor),
        "low-rank": LowRank(floor, 2, generator()),
    }
    step = steps[covariance]
    parts = torch.full((300, 4), 0.5, dtype=torch.float64)
    both = moments(x, torch.zeros_like(x[0]))
    if covariance == "low-rank":
        assert len(step(both, parts / 2).means) == 4
    parts[:, [0, 2]] = 1e-9
    mixture = step(both, parts)
    assert mixture.means.shape == (2, 4)
    assert mixture.covariances().isfinite().all()


def test_variances_have_a_floor() -> None:
    x = latents(60, 12)
    mixture = fit_mixture(x, 20, "diagonal", 1, generator())
    assert mixture.deviations is not None
    floor = 1e-3 * x.var(0, correction=0)
    assert (mixture.deviations.square() >= 0.999 * floor).all()
    assert (mixture.deviations.square() < 1.1 * floor).any()


def test_singular_covariances_are_mended() -> None:
    base = latents(30, 2).double()
    x = torch.cat([base, base, -base, 1e6 * base], 1).float()
    mixture = fit_mixture(x, 2, "full", 1, generator())
    assert mixture.covariances().isfinite().all()


def test_rounding_does_not_break_full_covariances() -> None:
    x = torch.randn(50, 1, generator=generator()) * torch.rand(1, 200, generator=generator(1))
    step = Full(torch.full((200,), 1e-12))  # next to nothing beside the rounding of x
    mixture = step(moments(x, x.mean(0)), torch.ones(50, 1))
    assert torch.allclose(mixture.covariances()[0], torch.cov(x.T, correction=0), atol=1e-3)


def test_a_covariance_has_no_more_directions_than_items_show() -> None:
    mixture = fit_mixture(latents(5, 30), 1, "low-rank", 16, generator())
    assert mixture.factors is not None
    assert int((mixture.factors.square().sum(1) > 1e-6).sum()) <= 4


def test_a_full_covariance_can_be_too_large() -> None:
    with pytest.raises(ValueError, match=r"2049 dimensions is too large .* use low-rank"):
        fit_mixture(torch.zeros(3, 2049), 1, "full", 1, generator())


def test_rank_is_at_most_the_number_of_dimensions() -> None:
    mixture = fit_mixture(latents(200, 3), 1, "low-rank", 16, generator())
    assert mixture.factors is not None
    assert mixture.factors.shape == (1, 3, 3)
