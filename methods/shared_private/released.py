"""What the published code does otherwise in training, to show what comes of it."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from methods.core.task import Batch, Examples
from methods.core.training import Budget
from methods.shared_private.network import SharedPrivateNetwork


class Prepended:
    """Drawn images, and behind them the examples of a task."""

    def __init__(self, past: Batch, present: Examples) -> None:
        self.past, self.present = past, present

    def __len__(self) -> int:
        return len(self.past.x) + len(self.present)

    def gather(self, index: Tensor) -> Batch:
        """Return rows of both; drawn ones come first."""
        drawn = index < len(self.past.x)
        present = self.present.gather(index[~drawn] - len(self.past.x))
        assert self.past.y is not None
        assert present.y is not None
        x = torch.cat([self.past.x[index[drawn]], present.x])
        return Batch(x, torch.cat([self.past.y[index[drawn]], present.y]))


def released_batches(budget: Budget, examples: int, steps: int) -> Iterator[Tensor]:
    """Yield the rows of each step, int64 ``[B]``: in stored order, without the last partial batch.

    Fewer examples than a batch are one batch.
    """
    size = min(budget.batch_size, examples)
    rows = torch.split(torch.arange(examples - examples % size), size)
    for step in range(steps):
        yield rows[step % len(rows)]


def released_terms(network: SharedPrivateNetwork, batch: Batch, task: int) -> dict[str, Tensor]:
    """Return the published loss: each decoder is told the label, and the head reads what it gives.

    The squared error is a mean over pixels and images, the divergence a sum over both.

    Parameters
    ----------
    network : SharedPrivateNetwork
        With noise that is drawn once.
    batch : Batch
    task : int
    """
    assert batch.y is not None
    x, condition = network.enter(batch.x), network.condition(batch.y)
    decoded, terms = {}, {}
    for name, part in (("shared", network.shared), ("private", network.private_of(task))):
        code = part.encode(x, network.noise(len(x)))
        decoded[name] = part.decode(code.z, condition)
        terms[f"{name}_reconstruction"] = functional.mse_loss(decoded[name], x)
        terms[f"{name}_divergence"] = part.bound(x, decoded[name], code).divergence.sum()
    logits = network.classify(decoded["shared"], decoded["private"], task)
    return {"new": functional.cross_entropy(logits, batch.y)} | terms
