"""A classifier with a memory."""

from __future__ import annotations

from typing import Any

from methods.core.classifier import Classifier
from methods.memories.memory import Memory


class Remembering(Classifier):
    """Own a memory: its bytes are counted, and its state is saved with the weights.

    Whoever extends this sets :attr:`memory` when it is made.

    Attributes
    ----------
    memory : Memory
        What outlives a task beside the weights.
    """

    memory: Memory

    def owners(self) -> dict[str, object]:
        """Add the memory."""
        return super().owners() | {"memory": self.memory}

    def state_dict(self) -> dict[str, Any]:
        """Add the memory."""
        return super().state_dict() | {"memory": self.memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the memory too."""
        super().load_state_dict(state)
        self.memory.load_state_dict(state["memory"])
