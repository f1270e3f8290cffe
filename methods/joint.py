"""Training on everything seen so far: the upper bound."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from methods.core.log import Log
from methods.core.registry import register
from methods.core.remembering import Remembering
from methods.core.rng import Rng
from methods.core.task import Batch, Examples, StreamInfo, Task
from methods.memories.buffer import Buffer


class PastAndPresent:
    """The examples of a buffer followed by those of the task at hand, read as one set."""

    def __init__(self, past: Buffer, present: Examples, task: int) -> None:
        self.past, self.present, self.task = past, present, task

    def __len__(self) -> int:
        return len(self.past) + len(self.present)

    def gather(self, index: Tensor) -> Batch:
        """Return rows of both; ``task`` tells which task each row belongs to."""
        old = index < len(self.past)
        past = self.past.gather(index[old])
        new = self.present.gather(index[~old] - len(self.past))
        assert past.y is not None
        assert past.task is not None
        assert new.y is not None
        tasks = torch.full_like(new.y, self.task)
        place = torch.cat([old.nonzero(), (~old).nonzero()]).squeeze(1).argsort()
        return Batch(
            torch.cat([past.x, new.x])[place],
            torch.cat([past.y, new.y])[place],
            torch.cat([past.task, tasks])[place],
        )


@register("joint")
class Joint(Remembering):
    """Keep all data and train on the union of all tasks so far.

    Not a continual learner: it shows what the network reaches in as many steps as the others take
    when nothing has to be forgotten.
    """

    memory: Buffer

    def __init__(
        self,
        config: Remembering.Config,
        stream: StreamInfo,
        rng: Rng,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__(config, stream, rng, device)
        self.memory = Buffer(device=self.device)
        #: Validation data of past tasks, where there are any.
        self.held_out = Buffer(device=self.device)

    def training_examples(self, task: Task) -> Examples:
        """Return the task's data together with those of all tasks before it."""
        return _with_past(self.memory, task.train, task.index)

    def validation_examples(self, task: Task) -> Examples | None:
        """Return the validation data of the task and of all tasks before it."""
        if task.validation is None:
            return None
        return _with_past(self.held_out, task.validation, task.index)

    def after_task(self, task: Task, log: Log) -> None:
        """Keep all data of the task."""
        rng = self.rng.at(task.index).of("memory")
        self.memory.absorb(task.train, task.index, rng, log)
        if task.validation is not None and self.config.needs_validation:
            self.held_out.absorb(task.validation, task.index, rng, log)

    def owners(self) -> dict[str, object]:
        """All data seen so far are memory."""
        return super().owners() | {"memory": (self.memory, self.held_out)}

    def state_dict(self) -> dict[str, Any]:
        """Add the validation data."""
        return super().state_dict() | {"held_out": self.held_out.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the validation data too."""
        super().load_state_dict(state)
        self.held_out.load_state_dict(state["held_out"])


def _with_past(past: Buffer, present: Examples, task: int) -> Examples:
    return PastAndPresent(past, present, task) if len(past) else present
