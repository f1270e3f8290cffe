"""The training loop of networks that are no classifier with a backbone."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from methods.core.log import Log
from methods.core.method import Method
from methods.core.task import Batch, Examples, Task
from methods.core.training import Adam, Budget, Diverged, OptimizerConfig

#: Optimiser steps between two looks at the loss: a look waits for the device.
_LOOK_EVERY = 10
#: Times within a task at which something is shown, the last of them after it.
_LOOKS = 4


class Learner(Method):
    """One network with one optimiser, trained step by step on each task.

    A subclass makes ``network`` and gives :meth:`before_task`, :meth:`losses` and :meth:`show`.
    """

    protocol: ClassVar[frozenset[str]] = frozenset({"optimizer", "budget"})

    class Config(Method.Config):
        """Optimiser and budget."""

        optimizer: OptimizerConfig = Field(default_factory=lambda: Adam(reset="task"))
        """``{name: adam, lr: 0.001, …}`` or ``{name: sgd, …}``."""
        budget: Budget = Field(default_factory=lambda: Budget(iterations=500))
        """``{iterations: 500, batch_size: 128}`` or ``{epochs: 5, batch_size: 128}``."""

        @field_validator("budget")
        @classmethod
        def _to_its_end(cls, budget: Budget) -> Budget:
            if budget.early_stopping is not None:
                raise ValueError("this method has no early_stopping: leave it out")
            return budget

    config: Config
    network: nn.Module
    optimizer: torch.optim.Optimizer | None = None

    @abstractmethod
    def before_task(self, task: Task) -> Examples:
        """Prepare for a task; return what batches are drawn from."""

    def before_step(self, first: bool, epoch: bool) -> None:
        """Prepare for a step: whether it is the first of the task, or of a pass over it."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return named scalars; training minimises their sum."""

    @abstractmethod
    def show(self, tasks: int, name: str, log: Log) -> None:
        """Report images, where the first ``tasks`` tasks have been seen."""

    def batches(self, examples: int, steps: int, order: torch.Generator) -> Iterator[Tensor]:
        """Yield the rows of each step: int64 ``[B]``."""
        return self.config.budget.batches(examples, order)

    def fit(self, task: Task, log: Log) -> None:
        """Train on a task for the budget.

        Raises
        ------
        Diverged
            If the loss is not finite.
        """
        examples, budget = self.before_task(task), self.config.budget
        optimizer = self._optimizer()
        epoch, steps = budget.steps_per_epoch(len(task.train)), budget.steps(len(task.train))
        looks = {steps * k // _LOOKS for k in range(1, _LOOKS)}
        order = self.rng.at(task.index).of("training").generator("order")
        self.network.train()
        for step, index in enumerate(self.batches(len(examples), steps, order), start=1):
            self.before_step(step == 1, (step - 1) % epoch == 0)
            batch = examples.gather(index.to(self.device, non_blocking=True))
            terms = self.losses(batch)
            optimizer.zero_grad()
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step % _LOOK_EVERY == 0 or step == steps:
                self._look(terms, step, task, log)
                log.tick(step * budget.batch_size, steps * budget.batch_size)
            if step in looks:
                self.show(task.index + 1, f"generator, step {step}", log)
        optimizer.zero_grad()
        self.network.eval()
        if self.config.optimizer.reset == "task":
            self.optimizer = None

    @staticmethod
    def _look(terms: dict[str, Tensor], step: int, task: Task, log: Log) -> None:
        for name, term in terms.items():
            value = float(term.detach())
            if not math.isfinite(value):
                raise Diverged(
                    f"loss term {name!r} is {value} at step {step} of task {task.index + 1}"
                )
            log.scalar(f"loss/{name}", value, step)

    def _optimizer(self) -> torch.optim.Optimizer:
        if self.optimizer is None:
            self.optimizer = self.config.optimizer.build(self.network.parameters())
        return self.optimizer

    # State ---------------------------------------------------------------------------------------

    def owners(self) -> dict[str, object]:
        """Network and, where it outlives a task, optimiser."""
        return {"network": self.network, "optimizer": self.optimizer}

    def state_dict(self) -> dict[str, Any]:
        """Weights and, where it outlives a task, the optimiser's state."""
        optimizer = None if self.optimizer is None else self.optimizer.state_dict()
        state = {"network": self.network.state_dict(), "optimizer": optimizer}
        return super().state_dict() | copy.deepcopy(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore weights and optimiser."""
        super().load_state_dict(state)
        self.network.load_state_dict(state["network"])
        self.optimizer = None
        if state["optimizer"] is not None:
            self._optimizer().load_state_dict(copy.deepcopy(state["optimizer"]))
