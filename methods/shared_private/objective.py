"""What shared and private autoencoders and heads are trained to minimise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from methods.core.task import Batch
from methods.core.training import ReplayLoss, masked_cross_entropy, weight_of_new
from methods.memories.generator_network import normal
from methods.shared_private.autoencoder import Autoencoder, Bound
from methods.shared_private.network import SharedPrivateNetwork
from methods.shared_private.past import Rehearsed

#: Whose autoencoder and head classify what is replayed: its own task's, or the one's at hand.
Through = Literal["own", "current"]


@dataclass(frozen=True)
class Objective:
    """The loss of a step; see :class:`~methods.dvae.SharedPrivateVae`.

    Parameters
    ----------
    network : SharedPrivateNetwork
    scale : float
        Weight of each bound beside the classification loss.
    beta : float
        Weight of the divergence within a bound.
    through : {"own", "current"}
    replay_loss : {"mean", "1/t"} or float
    """

    network: SharedPrivateNetwork
    scale: float
    beta: float
    through: Through
    replay_loss: ReplayLoss

    def terms(
        self, batch: Batch, task: int, noise: torch.Generator, old: Rehearsed | None = None
    ) -> dict[str, Tensor]:
        """Return named scalars, of which training minimises the sum.

        Parameters
        ----------
        batch : Batch
            Images of the task at hand.
        task : int
            Its index.
        noise : torch.Generator
            Gives the noise of the codes, afresh.
        old : Rehearsed, optional
            Images that earlier tasks drew.
        """
        network, new = self.network, len(batch.x)
        assert batch.y is not None
        x, y = batch.x, batch.y
        if old is not None:
            x, y = torch.cat([x, old.x]), torch.cat([y, old.y])
        x, condition = network.enter(x), network.condition(y)
        shared, of_shared = self._reconstruct(network.shared, x, condition, noise)
        own = len(x) if self.through == "current" else new
        private, of_private = self._reconstruct(
            network.private_of(task), x[:own], condition[:own], noise
        )
        logits = network.classify(shared[:own], private, task)
        if old is None:
            eligible = self._eligible(task)
            terms = {"new": masked_cross_entropy(logits, y, eligible)}
            return terms | self._bound(of_shared, "shared") | self._bound(of_private, "private")

        weight = weight_of_new(self.replay_loss, new, len(old.x), task + 1)
        fresh, past = slice(new), slice(new, None)
        terms = {"new": masked_cross_entropy(logits[fresh], y[fresh], self._eligible(task))}
        terms |= self._bound(of_shared, "shared", fresh) | self._bound(of_private, "private", fresh)
        terms = {name: weight * term for name, term in terms.items()}
        if self.through == "current":
            replayed = {"replay": masked_cross_entropy(logits[past], old.y, self._eligible(task))}
            replayed |= self._bound(of_private, "replay_private", past)
        else:
            replayed = {"replay": self._through_own(shared[past], old)}
        replayed |= self._bound(of_shared, "replay_shared", past)
        return terms | {name: (1 - weight) * term for name, term in replayed.items()}

    def _reconstruct(
        self, part: Autoencoder, x: Tensor, condition: Tensor, noise: torch.Generator
    ) -> tuple[Tensor, Bound]:
        """Reconstruct images without their labels, and bound their likelihood with them."""
        n = len(x)
        code = part.encode(x, normal(n, part.dim, noise=noise, device=x.device))
        told = torch.cat([self.network.null(n), condition])
        unaware, aware = part.decode(torch.cat([code.z, code.z]), told).chunk(2)
        return unaware, part.bound(x, aware, code)

    def _through_own(self, shared: Tensor, old: Rehearsed) -> Tensor:
        """Return the classification loss of draws in the heads of the tasks that drew them."""
        network = self.network
        logits = [
            network.classify(shared[rows], old.private[rows], task)
            for task, rows in old.rows.items()
        ]
        eligible = [
            network.classes_of[task].expand(len(part), -1)
            for task, part in zip(old.rows, logits, strict=True)
        ]
        return masked_cross_entropy(torch.cat(logits), old.y, torch.cat(eligible))

    def _eligible(self, task: int) -> Tensor:
        """Return the classes that compete in the head of the task at hand: bool ``[classes]``."""
        classes_of = self.network.classes_of
        return classes_of[: task + 1].any(0) if self.through == "current" else classes_of[task]

    def _bound(self, bound: Bound, name: str, rows: slice = slice(None)) -> dict[str, Tensor]:
        reconstruction, divergence = (part[rows].mean() for part in bound)
        return {
            f"{name}_reconstruction": self.scale * reconstruction,
            f"{name}_divergence": self.scale * self.beta * divergence,
        }
