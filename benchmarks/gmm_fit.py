"""Time to fit mixtures of Gaussians to latents, beside scikit-learn.

A task of 12,000 latents of 100 dimensions and 10 classes, made up to be like activations after a
ReLU: several groups in each class, correlated, about a third exact zeros. One mixture of 10
components is fitted to each class, on one thread; CPU time of all ten, the median of rounds. The
mean log-likelihood, of the latents and of as many held out, is measured with one yardstick: the
same code computes that of scikit-learn's parameters, with the variances that it found raised to
the floor that ours have. scikit-learn has no mixtures of low rank; these have to make the latents
likelier than diagonal ones do, and those held out likelier than full ones do, which overfit: a
component stands for about 120 latents of 100 dimensions.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
from _common import Verdict, arguments, progress, status_of
from sklearn.mixture import GaussianMixture
from threadpoolctl import threadpool_limits
from torch import Tensor

from methods.memories.em import Covariance, fit_mixture, variance_floor
from methods.memories.mixture import Mixture, log_density

CLASSES, COMPONENTS, RANK, DIMENSIONS = 10, 10, 16, 100


def latents(n: int, generator: torch.Generator) -> Tensor:
    """Activations of the images of a class, float ``[n, DIMENSIONS]``."""
    groups, width = 15, 32
    normal = partial(torch.randn, generator=generator)
    group = torch.randint(groups, (n,), generator=generator)
    hidden = 1.5 * normal(groups, width)[group] + normal(n, width)
    weights, bias = normal(width, DIMENSIONS) / width**0.5, 0.5 * normal(DIMENSIONS) + 0.8
    return (hidden @ weights + bias + 0.3 * normal(n, DIMENSIONS)).relu()


def ours(x: Tensor, covariance: Covariance) -> Mixture:
    return fit_mixture(x, COMPONENTS, covariance, RANK, torch.Generator().manual_seed(0))


def theirs(x: Tensor, covariance: Covariance) -> Mixture:
    """Fit scikit-learn's mixture, with as much of a floor as ours have on average."""
    floor = variance_floor(x - x.mean(0))
    found = GaussianMixture(
        COMPONENTS,
        covariance_type="diag" if covariance == "diagonal" else "full",
        reg_covar=float(floor.mean()),
        random_state=0,
    ).fit(x.numpy())
    weights, means = torch.from_numpy(found.weights_), torch.from_numpy(found.means_)
    covariances = torch.from_numpy(found.covariances_)
    if covariance == "diagonal":
        return Mixture(weights, means, torch.maximum(covariances, floor).sqrt())
    return Mixture(weights, means, factors=torch.linalg.cholesky(covariances))


Fit = Callable[[Tensor, Covariance], Mixture]


def measured(
    fit: Fit, covariance: Covariance, tasks: tuple[list[Tensor], list[Tensor]], rounds: int
) -> tuple[float, float, float]:
    """Return CPU seconds, and the mean log-likelihood of the latents and of those held out."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        mixtures = [fit(x, covariance) for x in tasks[0]]
        seconds.append(time.process_time() - start)
    likelihoods = [
        statistics.fmean(
            float(log_density(mixture, x.to(mixture.means.dtype)).mean())
            for mixture, x in zip(mixtures, classes, strict=True)
        )
        for classes in tasks
    ]
    values = statistics.median(seconds), likelihoods[0], likelihoods[1]
    name = f"{'scikit-learn' if fit is theirs else 'ours'}, {covariance}"
    progress(f"{name}: {values[0]:.2f} s; log-likelihood {values[1]:.2f}, {values[2]:.2f} held out")
    return values


def main() -> int:
    options = arguments(__doc__, rounds=3, latents=12_000)
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    n = options.latents // CLASSES
    both = [latents(2 * n, generator) for _ in range(CLASSES)]
    tasks = [x[:n] for x in both], [x[n:] for x in both]
    zeros = statistics.fmean(float((x == 0).float().mean()) for x in both)
    progress(f"{options.latents} latents, of whose values {zeros:.0%} are zero")

    verdict = Verdict(f"{COMPONENTS} components for each of {CLASSES} classes, one thread")
    found = {}
    with threadpool_limits(1):
        for covariance in ("diagonal", "low-rank", "full"):
            found[covariance] = measured(ours, covariance, tasks, options.rounds)
            verdict.check(f"{covariance}: CPU time", found[covariance][0], at_most=2, unit="s")
        for covariance in ("diagonal", "full"):
            peer = measured(theirs, covariance, tasks, options.rounds)
            speed = peer[0] / found[covariance][0]
            verdict.check(f"{covariance}: speed over scikit-learn's", speed, at_least=0.5, unit="×")
            name = f"{covariance}: log-likelihood over scikit-learn's"
            verdict.check(name, found[covariance][1] - peer[1], at_least=-0.5, unit="nats")
    gain = found["low-rank"][1] - found["diagonal"][1]
    verdict.check("low-rank: log-likelihood over diagonal", gain, at_least=0, unit="nats")
    gain = found["low-rank"][2] - found["full"][2]
    verdict.check("low-rank: the same, held out, over full", gain, at_least=0, unit="nats")
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
