"""The diagonal Fisher information of a network: how much its predictions hang on each weight."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from methods.core.classifier import Network
from methods.core.rng import Rng
from methods.core.squared_gradients import squared_gradients
from methods.core.task import Batch, Examples

#: Labels whose gradients are squared.
FisherLabels = Literal["exact", "sampled", "empirical"]

#: Examples that go through the network at once.
_AT_ONCE = 128


def fisher_information(
    network: Network,
    entry: int,
    examples: Examples,
    count: int,
    labels: FisherLabels,
    eligible: Callable[[Tensor | None], Tensor],
    rng: Rng,
) -> dict[str, Tensor]:
    """Estimate the diagonal Fisher information of the parameters that learn.

    The mean over examples x of (∂ log p(y|x) / ∂θ)², each squared before any is summed. The
    label y is the network's own by definition: ``exact`` takes the expectation over it, at the
    price of a gradient for each class; ``sampled`` draws one y for each example, which has the
    same mean and, where the network is sure of itself, a large spread. ``empirical`` takes the
    label of the data and estimates another matrix (Martens 2020, arXiv:1412.1193, section 11).
    The three are compared in van de Ven 2025, arXiv:2502.11756.

    Parameters
    ----------
    network : Network
        In eval mode, so that no example depends on another.
    entry : int
        Depth at which the examples enter the network.
    examples : Examples
    count : int
        Random ones of them that the mean is taken over, at most all.
    labels : str
        ``exact``, ``sampled`` or ``empirical``.
    eligible : callable
        Returns the classes that the softmax runs over, bool ``[classes]`` or ``[B, classes]``,
        given the tasks of a batch's examples where these are known.
    rng : Rng
        Of the choice of examples, and of sampled labels.

    Returns
    -------
    dict of str to Tensor
        By name of the parameter, each of its shape; at least 0.
    """
    learning = {name: p for name, p in network.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p.detach()) for name, p in learning.items()}
    device = network.classes_of.device
    draws = rng.generator("labels", device)
    chosen = torch.randperm(len(examples), generator=rng.generator("examples"))[:count]
    for some in torch.split(chosen.to(device), _AT_ONCE):
        batch = examples.gather(some)
        among = eligible(batch.task).expand(len(batch.x), -1)
        rows, y, weight = _labels(network, entry, batch, among, labels, draws)
        for first in range(0, len(rows), _AT_ONCE):  # each example may have many labels
            of = slice(first, first + _AT_ONCE)
            x, classes = batch.x[rows[of]], among[rows[of]]
            squares = squared_gradients(network, entry, x, y[of], classes, weight[of])
            for name, of_these in squares.items():
                total[name] += of_these
    return {name: squares.div_(count) for name, squares in total.items()}


@torch.no_grad()
def _labels(
    network: Network,
    entry: int,
    batch: Batch,
    eligible: Tensor,
    labels: FisherLabels,
    draws: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows of a batch, a label for each and its weight: three of one length."""
    every = torch.arange(len(batch.x), device=batch.x.device)
    alike = torch.ones(len(batch.x), device=batch.x.device)
    if labels == "empirical":
        assert batch.y is not None
        return every, batch.y, alike
    logits = network(batch.x, entry).masked_fill(~eligible, -torch.inf)
    probabilities = logits.softmax(1)
    if labels == "sampled":
        y = torch.multinomial(probabilities, 1, generator=draws).squeeze(1)
        return every, y, alike
    rows, y = eligible.nonzero(as_tuple=True)
    return rows, y, probabilities[rows, y]
