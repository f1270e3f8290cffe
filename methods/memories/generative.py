"""What all generators have in common: their contract as a memory, and their options."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from methods.core.config import Config
from methods.core.task import Batch
from methods.memories.memory import Memory
from methods.memories.shares import Share

#: When the stored draws of a generator are renewed; with ``step`` none are stored.
Refresh = Literal["once", "task", "epoch", "step"]
_DECAY = 0.5


class GenerativeMemory(Memory):
    """A memory that keeps models of the items that it absorbs, not the items."""

    @property
    @abstractmethod
    def tasks(self) -> dict[int, int]:
        """The tasks remembered, oldest first, with the number of items that each one had."""

    @property
    @abstractmethod
    def classes_of(self) -> dict[int, tuple[int, ...]]:
        """The classes of each task remembered, in ascending order."""

    @abstractmethod
    def sample(
        self,
        n: int,
        generator: torch.Generator,
        *,
        classes: tuple[int, ...] | None = None,
        task: int | None = None,
        weights: Mapping[int, float] | None = None,
    ) -> Batch:
        """Draw ``n`` new items in random order.

        Parameters
        ----------
        n : int
        generator : torch.Generator
        classes : tuple of int, optional
            Draw these alone.
        task : int, optional
            Draw items of this task alone.
        weights : mapping of int to float, optional
            How often each task is drawn, in proportion; by default as often as it had items.
            Within a task classes are drawn in proportion to their items.

        Raises
        ------
        LookupError
            If nothing that fits is remembered.
        """

    def __len__(self) -> int:
        """Return the number of items that the models were fitted to."""
        return sum(self.tasks.values())


class GenerativeConfig(Config):
    """What is drawn from a generator, and how often."""

    refresh: Refresh = "epoch"
    """When stored draws are renewed: ``once`` a task's items are drawn when it is over, and kept;
    ``task`` and ``epoch``: all are drawn anew; ``step``: none are stored, every batch is new."""
    share: Share = "even"
    """How past tasks divide the draws: ``even``; ``decaying``, the newest get most; ``unlimited``:
    each as many as it had training items."""
    decay: Annotated[float, Field(gt=0, lt=1)] = Field(default=_DECAY, validate_default=True)
    """With ``decaying``: a task ``k`` steps back gets a share in proportion to ``decay ** k``."""
    max_tasks: PositiveInt | None = None
    """Tasks remembered; the models of older ones are dropped. All by default."""
    clamp: bool = True
    """Cut draws at the smallest value that the items of their class and task had: 0 after a
    ReLU."""

    @field_validator("decay")
    @classmethod
    def _of_decaying(cls, decay: float, info: ValidationInfo) -> float:
        # Configurations that differ in nothing but an option without meaning are the same.
        return decay if info.data.get("share") == "decaying" else _DECAY

    @property
    def labelled(self) -> bool:
        """Whether draws come with their classes."""
        return True

    @property
    def stores(self) -> bool:
        """Whether a budget of stored items has a meaning."""
        return self.refresh != "step" and self.share != "unlimited"
