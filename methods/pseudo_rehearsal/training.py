"""Training a part of the generator on a mixture of the task and of synthetic images of the past."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from methods.core.log import Log
from methods.core.rng import Rng
from methods.core.task import Batch, Examples
from methods.core.training import Budget, Diverged
from methods.pseudo_rehearsal.config import TrainingConfig

#: Steps between two looks at the loss: a look waits for the device.
_LOOK_EVERY = 10


class Mixture:
    """Items of a task, each of which is replaced by one of the past with a fixed probability.

    Parameters
    ----------
    new : Examples
        Of the task; passes are counted in these.
    old : Examples, optional
        Of the past; None where there is none.
    share : float
        Probability that an item of the task stays.
    draws : torch.Generator
        On the CPU.
    """

    def __init__(
        self, new: Examples, old: Examples | None, share: float, draws: torch.Generator
    ) -> None:
        self.new, self.old, self.share, self.draws = new, old, share, draws

    def __len__(self) -> int:
        return len(self.new)

    def gather(self, index: Tensor) -> Batch:
        """Return rows of the task, int64 ``[B]``, or random ones of the past in their place."""
        batch = self.new.gather(index)
        assert batch.y is not None
        if self.old is None:
            return Batch(batch.x, batch.y)
        stays = torch.rand(len(index), generator=self.draws) < self.share
        rows = torch.randint(len(self.old), (int((~stays).sum()),), generator=self.draws)
        past = self.old.gather(rows.to(index.device))
        assert past.y is not None
        replaced = (~stays).nonzero().squeeze(1).to(index.device)
        return Batch(
            batch.x.index_copy(0, replaced, past.x), batch.y.index_copy(0, replaced, past.y)
        )


def train(
    name: str,
    part: nn.Module,
    loss: Callable[[Batch], Tensor],
    items: Mixture,
    config: TrainingConfig,
    budget: Budget,
    rng: Rng,
    device: torch.device,
    log: Log,
) -> None:
    """Minimise a loss for the budget, or until it has no longer fallen for so many passes.

    Parameters
    ----------
    name : str
        Of the loss, in the log.
    part : nn.Module
        What learns.
    loss : callable
        A scalar for a batch.
    items : Mixture
    config : TrainingConfig
    budget : Budget
        Of the classifier, which holds where the configuration has none of its own.
    rng : Rng
    device : torch.device
    log : Log

    Raises
    ------
    Diverged
        If the loss is not finite.
    """
    budget = config.budget(budget)
    optimizer = config.optimizer().build(part.parameters())
    steps, epoch = budget.steps(len(items)), budget.steps_per_epoch(len(items))
    best, waited, total = math.inf, 0, torch.zeros((), device=device)
    part.train()
    for step, index in enumerate(budget.batches(len(items), rng.generator("order")), start=1):
        value = loss(items.gather(index.to(device, non_blocking=True)))
        optimizer.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += value.detach()
        if step % _LOOK_EVERY == 0 or step == steps:
            seen = float(value.detach())
            if not math.isfinite(seen):
                raise Diverged(f"the generator's {name!r} is {seen} at step {step}")
            log.scalar(f"generator/{name}", seen, step)
        if config.tolerance is not None and step % epoch == 0:
            mean = float(total) / epoch
            total.zero_()
            waited = 0 if mean < best else waited + 1
            best = min(best, mean)
            if waited == config.tolerance:
                break
    optimizer.zero_grad()
    part.eval()
