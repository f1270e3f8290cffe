"""Mixtures of Gaussians: their density and draws from them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Mixture:
    """Gaussians of which each has a weight, a mean and a covariance ``F Fᵀ + diag(s²)``.

    Parameters
    ----------
    weights : Tensor
        float ``[K]``, adding up to 1.
    means : Tensor
        float ``[K, D]``.
    deviations : Tensor, optional
        float ``[K, D]``, the standard deviations ``s``; ``[1, D]`` where all components share them.
        None where the covariances are full.
    factors : Tensor, optional
        float ``[K, D, r]``, the matrices ``F``: the directions of a covariance of low rank, or the
        Cholesky factor, r = D, of a full one. None where the covariances are diagonal.
    """

    weights: Tensor
    means: Tensor
    deviations: Tensor | None = None
    factors: Tensor | None = None

    def covariances(self) -> Tensor:
        """Return the covariances in full: float ``[K, D, D]``."""
        k, d = self.means.shape
        total = self.means.new_zeros(k, d, d)
        if self.factors is not None:
            total += self.factors @ self.factors.mT
        if self.deviations is not None:
            total += self.deviations.square().diag_embed()
        return total

    def moved(self, by: Tensor) -> Mixture:
        """Return the mixture with all means moved: float ``[D]``."""
        return Mixture(self.weights, self.means + by, self.deviations, self.factors)


# Density -----------------------------------------------------------------------------------------


def log_density(mixture: Mixture, x: Tensor) -> Tensor:
    """Natural logarithm of the density at each item.

    Parameters
    ----------
    mixture : Mixture
        With deviations above 0.
    x : Tensor
        float ``[N, D]``.

    Returns
    -------
    Tensor
        float ``[N]``.
    """
    centre = mixture.weights @ mixture.means  # squares of small numbers lose fewer digits
    return joint_log_density(mixture.moved(-centre), moments(x, centre)).logsumexp(1)


def moments(x: Tensor, centre: Tensor) -> Tensor:
    """Return ``x − centre`` beside its squares: what densities and moments are linear in.

    Parameters
    ----------
    x : Tensor
        float ``[N, D]``.
    centre : Tensor
        float ``[D]``; its type is that of the result.

    Returns
    -------
    Tensor
        float ``[N, 2 D]``.
    """
    n, d = x.shape
    both = centre.new_empty(n, 2 * d)
    torch.sub(x, centre, out=both[:, :d])
    torch.square(both[:, :d], out=both[:, d:])
    return both


def joint_log_density(mixture: Mixture, moments: Tensor) -> Tensor:
    """Logarithm of weight times density of each component at each item.

    Covariances of low rank are inverted by Woodbury's identity and the determinant lemma: with
    ``Ψ = diag(s²)`` and ``L Lᵀ = I + Fᵀ Ψ⁻¹ F``,
    ``δᵀ Σ⁻¹ δ = δᵀ Ψ⁻¹ δ − ‖L⁻¹ Fᵀ Ψ⁻¹ δ‖²`` and ``|Σ| = |Ψ| |L|²``.

    Parameters
    ----------
    mixture : Mixture
        Its means near 0, for accuracy.
    moments : Tensor
        float ``[N, 2 D]``, of :func:`moments`.

    Returns
    -------
    Tensor
        float ``[N, K]``.
    """
    means = mixture.means
    k, d = means.shape
    x = moments[:, :d]
    if mixture.deviations is None:
        assert mixture.factors is not None
        quadratic, log_determinant = _full(mixture, x)
    else:
        precisions = mixture.deviations.pow(-2).expand(k, d)
        scaled = precisions * means
        linear = torch.cat([-2 * scaled, precisions], 1)
        quadratic = torch.addmm((scaled * means).sum(1), moments, linear.T)
        log_determinant = -precisions.log().sum(1)
        if mixture.factors is not None:
            weighted = mixture.factors * precisions.unsqueeze(2)
            inner = mixture.factors.mT @ weighted
            inner.diagonal(dim1=1, dim2=2).add_(1)
            root = torch.linalg.cholesky(inner)
            whitened = torch.linalg.solve_triangular(root, weighted.mT, upper=False)
            projected = (x @ whitened.flatten(0, 1).T).view(len(x), k, -1)
            projected -= (whitened @ means.unsqueeze(2)).squeeze(2)
            quadratic -= projected.square().sum(2)
            log_determinant += _log_determinant(root)
    constant = mixture.weights.log() - 0.5 * (log_determinant + d * math.log(2 * math.pi))
    return torch.add(constant, quadratic, alpha=-0.5)


def _full(mixture: Mixture, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``δᵀ Σ⁻¹ δ`` ``[N, K]`` and ``log |Σ|`` ``[K]`` of full covariances."""
    assert mixture.factors is not None
    k, d = mixture.means.shape
    quadratic = x.new_empty(len(x), k)
    unit = torch.eye(d, dtype=x.dtype, device=x.device)
    for i in range(k):
        inverse = torch.linalg.solve_triangular(mixture.factors[i], unit, upper=False)
        whitened = torch.addmm(-(inverse @ mixture.means[i]), x, inverse.T)
        quadratic[:, i] = whitened.square_().sum(1)
    return quadratic, _log_determinant(mixture.factors)


def _log_determinant(roots: Tensor) -> Tensor:
    return 2 * roots.diagonal(dim1=1, dim2=2).log().sum(1)


# Draws -------------------------------------------------------------------------------------------


def stratified(weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Draw indices in proportion to weights, in random order.

    One index is drawn in each of ``n`` equal parts of the cumulated weights. Each index comes as
    often as in independent draws on average, but never two times more or less often than that.

    Parameters
    ----------
    weights : Tensor
        float ``[K]`` on the CPU, at least 0, some above.
    n : int
    generator : torch.Generator
        On the CPU.

    Returns
    -------
    Tensor
        int64 ``[n]``.
    """
    choices = weights.nonzero().squeeze(1)
    cumulative = weights[choices].double().cumsum(0)
    places = torch.rand(n, dtype=torch.float64, generator=generator)
    places = places.add_(torch.arange(n)).mul_(cumulative[-1] / n)
    index = torch.searchsorted(cumulative, places, right=True).clamp_(max=len(choices) - 1)
    return choices[index[torch.randperm(n, generator=generator)]]


def draw(
    mixture: Mixture,
    component: Tensor,
    generator: torch.Generator,
    *,
    deviations_of: Tensor | None = None,
) -> Tensor:
    """Draw one item of each given component.

    Parameters
    ----------
    mixture : Mixture
    component : Tensor
        int64 ``[n]`` on the CPU.
    generator : torch.Generator
        On the CPU. Noise for another device comes from a generator there that it seeds.
    deviations_of : Tensor, optional
        int64 ``[n]`` on the CPU, the rows of ``mixture.deviations`` to take. By default those of
        the components, or the only one.

    Returns
    -------
    Tensor
        float ``[n, D]``.
    """
    device, dtype = mixture.means.device, mixture.means.dtype
    noise = _noise_on(device, generator)
    n, d = len(component), mixture.means.shape[1]
    rows = component.to(device)
    x = mixture.means[rows]
    if mixture.deviations is not None:
        if len(mixture.deviations) == 1:
            deviations = mixture.deviations
        else:
            deviations = mixture.deviations[
                rows if deviations_of is None else deviations_of.to(device)
            ]
        x.addcmul_(torch.randn(n, d, generator=noise, device=device, dtype=dtype), deviations)
    if mixture.factors is not None:
        rank = mixture.factors.shape[2]
        z = torch.randn(n, rank, generator=noise, device=device, dtype=dtype)
        rows = component.argsort(stable=True).to(device)
        start = 0
        for i, size in enumerate(component.bincount().tolist()):
            if size:
                group = rows[start : start + size]
                x.index_add_(0, group, z[group] @ mixture.factors[i].T)
                start += size
    return x


def _noise_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    if device.type == generator.device.type:
        return generator
    seed = int(torch.randint(2**62, (1,), generator=generator))
    return torch.Generator(device).manual_seed(seed)
