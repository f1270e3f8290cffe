"""Priors of a latent code: a standard normal, or a learned mixture of normals for each class."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from methods.core.normal import normal_divergence, normal_log_density


class Code(NamedTuple):
    """What an encoder makes of some items: all float ``[B, D]``.

    ``mean`` and ``log_variance`` are those of the posterior q(z|x), ``z`` is a draw from it.
    """

    mean: Tensor
    log_variance: Tensor
    z: Tensor

    @classmethod
    def drawn(cls, mean: Tensor, log_variance: Tensor, noise: torch.Generator) -> Code:
        """Draw ``z`` so that gradients reach mean and variance (the reparametrisation trick)."""
        return cls(mean, log_variance, _normal(mean, log_variance, noise))

    def rows(self, some: slice) -> Code:
        """Return the code of some items."""
        return Code(self.mean[some], self.log_variance[some], self.z[some])


class StandardPrior(nn.Module):
    """A normal distribution of mean 0 and variance 1, whatever the class.

    Parameters
    ----------
    dim : int
        Number of latent variables D.
    """

    where: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("where", torch.empty(0), persistent=False)

    def draw(self, y: Tensor, noise: torch.Generator) -> Tensor:
        """Draw a code for each of ``y``, int64 ``[B]``, which makes no difference."""
        return torch.randn(len(y), self.dim, generator=noise, device=self.where.device)

    def divergence(self, code: Code, labels: Tensor) -> Tensor:
        """Return KL(q(z|x) ‖ N(0, 1)) of each item: float ``[B]``, in nats."""
        zero = torch.zeros_like(code.mean)
        return normal_divergence(code.mean, code.log_variance, zero, zero)


class ClassPrior(nn.Module):
    r"""A mixture of normals for each class, their means and variances learned with the rest.

    .. math:: p(z|c) = \frac{1}{K} \sum_k N(z; \mu_{ck}, \mathrm{diag}(\sigma^2_{ck}))

    (van de Ven et al. 2020, Methods, "Conditional replay": there K = 1.)

    Parameters
    ----------
    classes, modes, dim : int
        Number of classes C, of normals for each K, and of latent variables D.
    """

    def __init__(self, classes: int, modes: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.means = nn.Parameter(torch.randn(classes, modes, dim))
        self.log_variances = nn.Parameter(torch.randn(classes, modes, dim))

    def draw(self, y: Tensor, noise: torch.Generator) -> Tensor:
        """Draw a code, a row of float ``[B, D]``, for each class of ``y``, int64 ``[B]``."""
        _, modes, _ = self.means.shape
        mode = torch.randint(modes, (len(y),), generator=noise, device=y.device)
        return _normal(self.means[y, mode], self.log_variances[y, mode], noise)

    def divergence(self, code: Code, labels: Tensor) -> Tensor:
        """Return KL(q(z|x) ‖ p(z)) of each item: float ``[B]``, in nats.

        Parameters
        ----------
        code : Code
        labels : Tensor
            int64 ``[B]``: the prior is that of the class. Or float ``[B, C]``, the probabilities of
            the classes: it is the mixture of all, so weighted. In closed form where the prior is
            one normal, otherwise estimated with the one draw ``code.z``.
        """
        if labels.ndim == 1 and self.means.shape[1] == 1:
            prior = self.means[labels, 0], self.log_variances[labels, 0]
            return normal_divergence(code.mean, code.log_variance, *prior)
        posterior = normal_log_density(code.z, code.mean, code.log_variance)
        return posterior - self.log_density(code.z, labels)

    def log_density(self, z: Tensor, labels: Tensor) -> Tensor:
        """Return log p(z) of each row of ``z``, float ``[B, D]``, under its labels: ``[B]``."""
        classes, modes, _ = self.means.shape
        if labels.ndim == 1:
            parts = self.means[labels], self.log_variances[labels]
            return normal_log_density(z.unsqueeze(1), *parts).logsumexp(1) - math.log(modes)
        weights = labels.log() - math.log(modes)
        of_modes = self._log_densities(z).unflatten(1, (classes, modes))  # type: ignore[no-untyped-call]
        return torch.logsumexp(of_modes + weights.unsqueeze(2), (1, 2))

    def _log_densities(self, z: Tensor) -> Tensor:
        """Return that of each row under each normal: float ``[B, classes · modes]``.

        (z - μ)² is multiplied out, so that nothing of size B · C · K · D is made.
        """
        means, log_variances = self.means.flatten(0, 1), self.log_variances.flatten(0, 1)
        precisions = (-log_variances).exp()
        scaled = means * precisions
        constants = (scaled * means + log_variances).sum(1) + self.dim * math.log(2 * math.pi)
        return -0.5 * torch.addmm(constants, z.square(), precisions.T) + z @ scaled.T


def _normal(mean: Tensor, log_variance: Tensor, noise: torch.Generator) -> Tensor:
    drawn = torch.randn(mean.shape, generator=noise, device=mean.device)
    return mean + (0.5 * log_variance).exp() * drawn
