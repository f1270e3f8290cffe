"""Where a method reports to while it learns."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from torch import Tensor


class Log(Protocol):
    """Receives what a method has to tell; a method never waits for it."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Report a number, such as a loss, at a step counted within the task.

        Directly within ``fit`` these are the optimiser's steps. What else is trained there counts
        steps of its own, inside a :meth:`phase`.
        """
        ...

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Time a part of the work: ``with log.phase("generator"): ...``."""
        ...

    def image(self, name: str, x: Tensor, columns: int = 10) -> None:
        """Report images of the task at hand, uint8 ``[N, C, H, W]``, to be shown in rows.

        A name says what they are and when they were made, such as ``generator, step 250``; one that
        is used again within the task replaces the earlier images.
        """
        ...

    def tick(self, done: int, total: int) -> None:
        """Report progress within the task, in examples trained on; after the step's numbers.

        Whoever watches may call ``predict`` meanwhile, which changes nothing.
        """
        ...


class SilentLog:
    """Listens to nothing."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Ignore a number."""

    def phase(self, name: str) -> AbstractContextManager[None]:
        """Time nothing."""
        return nullcontext()

    def image(self, name: str, x: Tensor, columns: int = 10) -> None:
        """Ignore images."""

    def tick(self, done: int, total: int) -> None:
        """Ignore progress."""


SILENT: Log = SilentLog()
