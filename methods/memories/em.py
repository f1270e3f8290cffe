"""Fitting mixtures of Gaussians by expectation maximisation."""

from __future__ import annotations

import math
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from methods.memories.kmeans import lloyd, seeds
from methods.memories.mixture import Mixture, joint_log_density, moments

Covariance = Literal["diagonal", "full", "low-rank"]

#: Iterations of k-means before those of EM.
_LLOYD = 10
#: EM ends when the mean log-likelihood gains less than this, or after so many iterations.
_TOLERANCE, _ITERATIONS = 1e-3, 100
#: Components that stand for fewer items than this are dropped.
_FEWEST = 1e-2
#: Smallest variance, relative to that of the same dimension of all items, and to the mean of these.
_FLOOR, _FLOOR_OF_CONSTANTS = 1e-3, 1e-6
#: Directions that are followed beyond those asked for, so that the latter converge quickly.
_SPARE = 8
#: A full covariance of more dimensions would hold over 16 MB a component.
_WIDEST = 2048


def fit_mixture(
    x: Tensor,
    components: int,
    covariance: Covariance,
    rank: int,
    generator: torch.Generator,
) -> Mixture:
    """Fit a mixture of Gaussians to items.

    Starts from a few iterations of k-means with k-means++ seeds. EM ends when the mean
    log-likelihood gains less than 0.001, or after 100 iterations. Where a variance falls below
    0.001 of that of all items in the same dimension it is kept there.

    Parameters
    ----------
    x : Tensor
        float ``[N, D]``; the fit has the same type.
    components : int
        Gaussians; there are fewer where fewer items differ, or where one loses its items.
    covariance : str
        ``diagonal``, ``full``, or ``low-rank``: mixtures of factor analysers.
    rank : int
        Directions of covariances of low rank.
    generator : torch.Generator
        On the CPU.

    Raises
    ------
    ValueError
        If full covariances are asked for of more than 2,048 dimensions.
    """
    centre = x.mean(0)
    both = moments(x, centre)
    x = both[:, : x.shape[1]]
    clusters = lloyd(x, seeds(x, components, generator), _LLOYD)
    step = _step(covariance, rank, variance_floor(x), generator)
    start = step(both, one_hot(clusters.labels, len(clusters.centroids)).to(x.dtype))
    if len(start.means) == 1 and covariance != "low-rank":
        return start.moved(centre)  # it is the likeliest already
    return expectation_maximisation(both, start, step).moved(centre)


def variance_floor(x: Tensor) -> Tensor:
    """Smallest variance that a component may have: float ``[D]``, of centred items ``[N, D]``."""
    variance = x.square().mean(0)
    return (_FLOOR * variance + _FLOOR_OF_CONSTANTS * variance.mean()).clamp_min(1e-12)


class Maximisation(Protocol):
    """The M step: the mixture that fits items best, given which part of each is a component's."""

    def __call__(self, moments: Tensor, parts: Tensor) -> Mixture:
        """Return the mixture; components that have lost their items are left out.

        Parameters
        ----------
        moments : Tensor
            float ``[N, 2 D]``, of :func:`~methods.memories.mixture.moments`.
        parts : Tensor
            float ``[N, K]``, rows adding up to 1: the responsibilities.
        """
        ...


def expectation_maximisation(moments: Tensor, start: Mixture, step: Maximisation) -> Mixture:
    """Improve a mixture until an iteration raises the mean log-likelihood by less than 0.001.

    Returns
    -------
    Mixture
        The likeliest one met.
    """
    mixture = best = start
    highest = -math.inf
    for _ in range(_ITERATIONS):
        joint = joint_log_density(mixture, moments)
        total = joint.logsumexp(1, keepdim=True)
        mean = float(total.mean())
        gain = mean - highest
        if gain > 0:
            best, highest = mixture, mean
        if not gain >= _TOLERANCE:
            break
        mixture = step(moments, (joint - total).exp_())
    return best


class Diagonal:
    """Mixtures with diagonal covariances: means and variances in closed form.

    Parameters
    ----------
    floor : Tensor
        float ``[D]``, the smallest variance.
    """

    def __init__(self, floor: Tensor) -> None:
        self.floor = floor

    def __call__(self, moments: Tensor, parts: Tensor) -> Mixture:
        """Return the mixture."""
        alive = _alive(parts)
        parts = parts if alive is None else parts[:, alive]
        weights, means, variances = _averages(moments, parts)
        return Mixture(weights, means, torch.maximum(variances, self.floor).sqrt_())


class Full:
    """Mixtures with full covariances, to whose diagonals the floor is added."""

    def __init__(self, floor: Tensor) -> None:
        self.floor = floor

    def __call__(self, moments: Tensor, parts: Tensor) -> Mixture:
        """Return the mixture."""
        alive = _alive(parts)
        parts = parts if alive is None else parts[:, alive]
        weights, means, _ = _averages(moments, parts)
        k, d = means.shape
        roots = means.new_empty(k, d, d)
        for i in range(k):
            x = (moments[:, :d] - means[i]).mul_(parts[:, i : i + 1].sqrt())
            covariance = x.T @ x / parts[:, i].sum()
            roots[i] = _cholesky(covariance, self.floor)
        return Mixture(weights, means, factors=roots)


class LowRank:
    """Mixtures of factor analysers (Ghahramani & Hinton 1997): covariances ``F Fᵀ + Ψ``.

    Given the diagonal Ψ, the likeliest F follows from the eigenvectors V of ``Ψ^-½ S Ψ^-½`` with
    the largest eigenvalues Λ, where S is the component's covariance: ``F = Ψ^½ V (Λ − I)^½``; and
    then ``Ψ = diag(S − F Fᵀ)`` (Lawley 1940; Barber 2012, section 21.2.2). One such step is taken
    in each iteration of EM. The eigenvectors are followed from one to the next by an iteration of
    the subspace method, which neither forms S nor decomposes it.

    Parameters
    ----------
    floor : Tensor
        float ``[D]``, the smallest variance in Ψ.
    rank : int
        Columns of F.
    generator : torch.Generator
        On the CPU, for the first directions.
    """

    def __init__(self, floor: Tensor, rank: int, generator: torch.Generator) -> None:
        self.floor, self.generator = floor, generator
        self.rank = min(rank, len(floor))
        self.noise: Tensor | None = None  # [K, D], the diagonals of Ψ
        self.directions: Tensor | None = None  # W, [K, D, q] with q = rank + spare
        self.projections: Tensor | None = None  # of all items along them, [N, K, q]

    def __call__(self, moments: Tensor, parts: Tensor) -> Mixture:
        """Return the mixture."""
        alive = _alive(parts)
        parts = parts if alive is None else parts[:, alive]
        weights, means, variances = _averages(moments, parts)
        variances = torch.maximum(variances, self.floor)
        x = moments[:, : means.shape[1]]
        if self.noise is None or self.directions is None or self.projections is None:
            noise, directions = variances / 2, self._random(variances)
            projections = _project(x, directions)
        else:
            noise, directions, projections = self.noise, self.directions, self.projections
            if alive is not None:
                noise, directions = noise[alive], directions[alive]
                projections = projections[:, alive]
        scale, parts = noise.sqrt().unsqueeze(2), parts / parts.sum(0)

        # S W: deviations from a mean add up to 0, so that x need not be centred as well.
        deviations = (projections - _along(means, directions)).mul_(parts.unsqueeze(2))
        product = (x.T @ deviations.flatten(1)).view(-1, *deviations.shape[1:]).transpose(0, 1)
        basis = torch.linalg.qr(product / scale)[0]

        directions = basis / scale
        projections = _project(x, directions)
        deviations = (projections - _along(means, directions)).transpose(0, 1)
        inner = (deviations * parts.T.unsqueeze(2)).mT @ deviations
        eigenvalues, rotation = torch.linalg.eigh(inner)  # ascending
        kept, rotation = eigenvalues[:, None, -self.rank :], rotation[:, :, -self.rank :]
        factors = scale * (basis @ rotation) * (kept - 1).clamp_min(0).sqrt()

        noise = torch.maximum(variances - factors.square().sum(2), self.floor)
        self.noise, self.directions, self.projections = noise, directions, projections
        return Mixture(weights, means, noise.sqrt(), factors)

    def _random(self, variances: Tensor) -> Tensor:
        k, d = variances.shape
        columns = min(self.rank + _SPARE, d)
        noise = torch.randn(k, d, columns, generator=self.generator, dtype=variances.dtype)
        return noise.to(variances.device) / variances.sqrt().unsqueeze(2)


def _project(x: Tensor, directions: Tensor) -> Tensor:
    """Coordinates ``[N, K, q]`` of items ``[N, D]`` along directions ``[K, D, q]``."""
    k, d, q = directions.shape
    return (x @ directions.transpose(0, 1).reshape(d, k * q)).view(len(x), k, q)


def _along(means: Tensor, directions: Tensor) -> Tensor:
    """Coordinates ``[K, q]`` of each mean ``[K, D]`` along its own directions ``[K, D, q]``."""
    return (means.unsqueeze(1) @ directions).squeeze(1)


def _step(
    covariance: Covariance, rank: int, floor: Tensor, generator: torch.Generator
) -> Maximisation:
    match covariance:
        case "diagonal":
            return Diagonal(floor)
        case "low-rank":
            return LowRank(floor, rank, generator)
        case "full":
            if len(floor) > _WIDEST:
                raise ValueError(
                    f"a full covariance of {len(floor)} dimensions is too large (at most "
                    f"{_WIDEST}): use low-rank"
                )
            return Full(floor)


def _alive(parts: Tensor) -> Tensor | None:
    """Which components still have items: bool ``[K]``, or None if all of them."""
    alive = parts.sum(0) > _FEWEST
    return None if alive.all() else alive


def _averages(moments: Tensor, parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return weights ``[K]``, means and variances ``[K, D]`` of the components."""
    counts = parts.sum(0)
    means, squares = ((parts / counts).T @ moments).chunk(2, 1)
    return counts / counts.sum(), means, squares - means.square()


def _cholesky(covariance: Tensor, ridge: Tensor) -> Tensor:
    """Decompose ``covariance + diag(ridge)``, with more of a ridge where rounding asks for it."""
    wide = covariance.double()
    while True:
        wide.diagonal().add_(ridge)
        root, failed = torch.linalg.cholesky_ex(wide)
        if not failed:
            tight: Tensor = root.to(covariance.dtype)
            return tight
        ridge = 10 * ridge
