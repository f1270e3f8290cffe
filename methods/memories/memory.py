"""The contract of a memory: it absorbs a task and gives samples of the past back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from methods.core.log import SILENT, Log
from methods.core.rng import Rng
from methods.core.task import Batch, Examples
from methods.core.training import Budget

#: When a memory may renew what it holds: at the start of a task, or of an epoch.
Moment = Literal["task", "epoch"]


@dataclass(frozen=True)
class Setting:
    """What a method tells the memory that it has built.

    Parameters
    ----------
    size, per_class : int, optional
        Stored items over all past tasks together, or for each class; without meaning where the
        memory's configuration does not store any.
    device : torch.device
    classes : int
        Size of the label space.
    budget : Budget
        How long the classifier learns each task.
    as_released : bool
        Whether to do as the published code does.
    """

    size: int | None = None
    per_class: int | None = None
    device: torch.device | str = "cpu"
    classes: int = 10
    budget: Budget = field(default_factory=lambda: Budget(iterations=500))
    as_released: bool = False


class Memory(ABC):
    """Stored examples or a generator; either way, something to rehearse from.

    Attributes
    ----------
    labelled : bool
        Whether samples come with their classes; if not, the previous solver labels them.
    wants_features : bool
        Whether :meth:`absorb` has to be given the network's last activations.
    """

    labelled: bool = True
    wants_features: bool = False

    @abstractmethod
    def absorb(
        self,
        new: Examples,
        task: int,
        rng: Rng,
        log: Log = SILENT,
        *,
        features: Tensor | None = None,
    ) -> None:
        """Take in a task that has just been learnt.

        Parameters
        ----------
        new : Examples
            The task's training data, or their activations at the memory's depth.
        task : int
            The task's index.
        rng : Rng
            Source of this task's draws.
        features : Tensor, optional
            float ``[N, F]``, the network's last activations of each item of ``new``; given only
            where the memory :attr:`wants_features`.
        """

    def refresh(self, moment: Moment, rng: Rng) -> None:  # noqa: B027 - a hook
        """Renew what is held, at the start of each task but the first, and of each epoch.

        Parameters
        ----------
        moment : str
            ``task`` or ``epoch``.
        rng : Rng
            Source of the draws, specific to the task, or to the task and the epoch.
        """

    @abstractmethod
    def sample(
        self,
        n: int,
        generator: torch.Generator,
        *,
        classes: tuple[int, ...] | None = None,
        task: int | None = None,
    ) -> Batch:
        """Draw ``n`` items of the past in random order, of given classes or one task if asked.

        ``y`` is None where the previous solver has to label them.

        Raises
        ------
        LookupError
            If nothing that fits is remembered.
        """

    @abstractmethod
    def __len__(self) -> int:
        """Return how many items it stands for; 0 means that there is nothing to replay yet."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values that restore the memory."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
