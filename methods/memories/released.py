"""Generative latent replay as its code was released, for audits."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from methods.core.log import SILENT, Log
from methods.core.rng import Rng
from methods.core.task import Batch, Examples, TensorExamples
from methods.memories.buffer import Buffer
from methods.memories.em import expectation_maximisation
from methods.memories.memory import Memory
from methods.memories.mixture import Mixture, draw, moments
from methods.memories.reading import read

_RIDGE = 1e-6


class ReleasedMixtures(Memory):
    """Store draws of one mixture a task, made once, **with the component for a label**.

    After the t-th task a mixture with diagonal covariances is fitted to all its N items, without
    their labels. It has a component for each class, which starts at the class mean with unit
    variance and an equal weight. Then min(⌊size / t⌋, N) draws overwrite as many random stored
    ones, once the store is full; the k-th component gives the label of the task's k-th class, in
    ascending order. EM moves components off their classes, so that labels are wrong. Draws are not
    cut at 0. Nothing is kept of the mixture: the published code keeps it and never uses it again.

    Parameters
    ----------
    size : int
        Stored draws over all past tasks together.
    device : torch.device
    """

    def __init__(self, size: int, device: torch.device | str = "cpu") -> None:
        self.draws = Buffer(size, policy="random", device=device)

    def __len__(self) -> int:
        return len(self.draws)

    def absorb(
        self,
        new: Examples,
        task: int,
        rng: Rng,
        log: Log = SILENT,
        *,
        features: Tensor | None = None,
    ) -> None:
        """Fit a mixture to a task and store draws of it."""
        x, y = read(new, torch.arange(len(new), device=self.draws.device))
        classes = torch.unique(y)
        mixture = self.fitted(x.flatten(1).float(), y, classes)
        assert self.draws.size is not None
        n = min(self.draws.size // (task + 1), len(x))
        if not n:
            return
        generator = rng.generator("pool")
        component = torch.multinomial(
            mixture.weights.cpu(), n, replacement=True, generator=generator
        )
        items = draw(mixture, component, generator).view(n, *x.shape[1:])
        if x.dtype == torch.uint8:
            items = items.round_().clamp_(0, 255)
        drawn = TensorExamples(items.to(x.dtype), classes[component.to(classes.device)])
        self.draws.absorb(drawn, task, rng)

    @staticmethod
    def fitted(x: Tensor, y: Tensor, classes: Tensor) -> Mixture:
        """Fit the mixture: float items ``[N, D]``, labels ``[N]``, classes ``[K]`` ascending.

        In double precision: variances may become as small as the ridge, 1e-6.
        """
        centre = x.mean(0, dtype=torch.float64)
        both = moments(x, centre)
        means = torch.stack([both[y == label, : len(centre)].mean(0) for label in classes])
        weights = means.new_full((len(classes),), 1 / len(classes))
        start = Mixture(weights, means, torch.ones_like(means))
        return expectation_maximisation(both, start, _maximised).moved(centre)

    def sample(
        self,
        n: int,
        generator: torch.Generator,
        *,
        classes: tuple[int, ...] | None = None,
        task: int | None = None,
    ) -> Batch:
        """Draw ``n`` stored draws uniformly, with replacement."""
        return self.draws.sample(n, generator, classes=classes, task=task)

    def state_dict(self) -> dict[str, Any]:
        """Return copies of all stored draws."""
        return self.draws.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore all stored draws."""
        self.draws.load_state_dict(state)


def _maximised(moments: Tensor, parts: Tensor) -> Mixture:
    """M step of the published code: 1e-6 is added to counts and variances; no component goes."""
    counts = parts.sum(0) + _RIDGE
    means, squares = ((parts / counts).T @ moments).chunk(2, 1)
    return Mixture(counts / len(parts), means, (squares - means.square() + _RIDGE).sqrt())
