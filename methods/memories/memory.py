"""The contract of a memory: it absorbs a task and gives samples of the past back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from methods.core.log import SILENT, Log
from methods.core.rng import Rng
from methods.core.task import Batch, Examples


class Memory(ABC):
    """Stored examples or a generator; either way, something to rehearse from."""

    @abstractmethod
    def absorb(self, new: Examples, task: int, rng: Rng, log: Log = SILENT) -> None:
        """Take in a task that has just been learnt.

        Parameters
        ----------
        new : Examples
            The task's training data, or their activations at the memory's depth.
        task : int
            The task's index.
        rng : Rng
            Source of this task's draws.
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
        """Return the number of stored items; 0 means that there is nothing to replay yet."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain values that restore the memory."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
