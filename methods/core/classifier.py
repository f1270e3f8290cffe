"""A classifier that is trained task by task: what most methods extend."""

from __future__ import annotations

import copy
import math
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeInt, ValidationInfo, field_validator
from torch import Tensor, nn

from methods.core.activations import Activations
from methods.core.early_stopping import BestWeights
from methods.core.log import Log
from methods.core.method import Method
from methods.core.rng import Rng
from methods.core.task import Batch, Examples, Scenario, StreamInfo, Task
from methods.core.training import Adam, Budget, Diverged, OptimizerConfig, masked_cross_entropy
from methods.networks import Backbone, Mlp, NetworkConfig

#: Optimiser steps between two looks at the loss: a look waits for the device.
_LOOK_EVERY = 10
#: Validation examples that go through the network at once.
_EVALUATED_AT_ONCE = 1000


class Network(nn.Module):
    """A backbone and its head over the whole label space: linear, or what the network has.

    ``classes_of`` (bool ``[tasks, classes]``) travels with the network so that masks lie on its
    device; it is no part of its state.
    """

    classes_of: Tensor

    def __init__(self, backbone: Backbone, stream: StreamInfo) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = backbone.head(stream.classes, stream.classes_of)
        self.register_buffer("classes_of", stream.eligible_by_task(), persistent=False)

    def forward(self, z: Tensor, start: int = 0) -> Tensor:
        """Return logits, float ``[B, classes]``, of images or of activations at depth ``start``."""
        logits: Tensor = self.head(self.backbone.run(z, start).flatten(1))
        return logits


class Classifier(Method):
    """A network trained with cross-entropy on each task in turn; hooks for everything else.

    Hooks, all optional: :meth:`before_task`, :meth:`training_examples`,
    :meth:`validation_examples`, :meth:`before_epoch`, :meth:`losses`, :meth:`loss_terms`,
    :meth:`edit_gradients`, :meth:`after_step`, :meth:`after_task`.

    Batches enter the network behind its frozen blocks (:attr:`entry`): what those make of an image
    is computed once a task.

    Class-incremental, the softmax runs over the classes seen so far; task-incremental, over the
    classes of the example's own task.
    """

    axes: ClassVar[frozenset[str]] = frozenset({"network", "optimizer", "budget"})
    protocol: ClassVar[frozenset[str]] = frozenset({"network", "optimizer", "budget"})

    class Config(Method.Config):
        """Network, optimiser, budget and freezing, which every classifier shares."""

        network: NetworkConfig = Field(default_factory=Mlp)
        """The backbone: ``{name: mlp, widths: [400, 400]}``, ``cnn``, or one of torchvision's."""
        optimizer: OptimizerConfig = Field(default_factory=Adam)
        """``{name: adam, lr: 0.001, …}`` or ``{name: sgd, …}``."""
        budget: Budget = Field(default_factory=lambda: Budget(iterations=500))
        """``{iterations: 500, batch_size: 128}`` or ``{epochs: 5, batch_size: 128}``."""
        freeze_depth: NonNegativeInt = 0
        """Number of leading blocks that stop learning."""
        freeze_from: Literal["first-task", "start"] = "first-task"
        """Freeze once the first task is learnt, or before it."""

        @field_validator("freeze_depth")
        @classmethod
        def _frozen_blocks_exist(cls, freeze_depth: int, info: ValidationInfo) -> int:
            network = info.data.get("network")  # absent where it is wrong itself
            if network is not None and freeze_depth > network.depth:
                blocks = "1 block" if network.depth == 1 else f"{network.depth} blocks"
                raise ValueError(
                    f"freeze_depth {freeze_depth} is deeper than the network, which has {blocks}; "
                    f"give 0 to {network.depth}"
                )
            return freeze_depth

        @property
        def needs_validation(self) -> bool:
            """Early stopping does."""
            return self.budget.early_stopping is not None

    config: Config

    def __init__(
        self, config: Config, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(config, stream, rng, device)
        with rng.of("network").scoped("initialisation"):
            network = Network(config.network.build(stream.shape), stream)
        self.network = network.to(self.device)
        self.optimizer: torch.optim.Optimizer | None = None
        #: Tasks that fit() has been given so far, the one at hand included.
        self.tasks_seen = 0
        self._activations: dict[tuple[int, int], Activations] = {}
        if config.freeze_from == "start":
            self.network.backbone.freeze(config.freeze_depth)

    # Hooks ---------------------------------------------------------------------------------------

    def before_task(self, task: Task) -> None:
        """Prepare for a task, before its first step."""

    def training_examples(self, task: Task) -> Examples:
        """Return what batches are drawn from, as images: the task's own training data."""
        return task.train

    def validation_examples(self, task: Task) -> Examples | None:
        """Return what early stopping looks at, as images: the task's own validation data."""
        return task.validation

    def before_epoch(self, task: Task, epoch: int) -> None:
        """Prepare for a pass over the task's data, counted from 0 within the task."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Run the network on a batch and return its loss terms.

        The batch is one of :meth:`training_examples` carried to depth :attr:`entry`.
        """
        return self.loss_terms(batch, self.network(batch.x, self.entry))

    def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """Return named scalars; training minimises their sum."""
        assert batch.y is not None
        return {"new": masked_cross_entropy(logits, batch.y, self.eligible(batch.task))}

    def edit_gradients(self) -> None:
        """Change ``parameter.grad`` between the backward pass and the step."""

    def after_step(self, batch: Batch) -> None:
        """Follow the training, step by step."""

    def after_task(self, task: Task, log: Log) -> None:
        """Remember a task that has just been learnt; the network is frozen as far as it will be."""

    # The loop ------------------------------------------------------------------------------------

    def fit(self, task: Task, log: Log) -> None:
        """Train on a task for the budget.

        Raises
        ------
        Diverged
            If the loss is not finite.
        """
        self.tasks_seen = task.index + 1
        self.before_task(task)
        optimizer = self._optimizer()
        images, budget = self.training_examples(task), self.config.budget
        examples = self.activations(images, self.entry)
        steps, epoch = budget.steps(len(task.train)), budget.steps_per_epoch(len(task.train))
        order = self.rng.at(task.index).of("training").generator("order")
        # Who draws from more than the task gets as many steps as who draws from the task alone.
        batches = budget.batches(len(examples), order, None if images is task.train else steps)
        stopping = budget.early_stopping and BestWeights(budget.early_stopping, self.network)
        seen = 0
        self.network.train()
        for step, index in enumerate(batches, start=1):
            if (step - 1) % epoch == 0:
                self.before_epoch(task, (step - 1) // epoch)
            batch = examples.gather(index.to(self.device, non_blocking=True))
            terms = self.losses(batch)
            values = list(terms.values())
            loss = torch.stack(values).sum() if len(values) > 1 else values[0]
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.edit_gradients()
            optimizer.step()
            self.after_step(batch)
            seen += len(index)
            last = step == steps
            if stopping and (step % epoch == 0 or last):
                accuracy = self._validation_accuracy(task)
                log.scalar("validation_accuracy", accuracy, step)
                last = stopping.no_longer_rises(accuracy) or last
            if step % _LOOK_EVERY == 0 or last:
                self._look(terms, step, task, log)
                log.tick(seen, steps * budget.batch_size)
            if last:
                break
        if stopping:
            stopping.restore()
        optimizer.zero_grad()
        if self.config.optimizer.reset == "task":
            self.optimizer = None

    @property
    def entry(self) -> int:
        """Depth at which batches enter the network in training: behind the frozen blocks."""
        return self.network.backbone.frozen

    def activations(self, examples: Examples, depth: int) -> Examples:
        """Return a task's images at a depth up to which the network is frozen.

        One forward pass of each image for the length of a task, however often it is asked for.
        """
        if depth == 0:
            return examples
        key = id(examples), depth
        if key not in self._activations:
            self._activations[key] = Activations(
                examples, self.network.backbone, depth, self.device
            )
        return self._activations[key]

    @torch.no_grad()
    def _validation_accuracy(self, task: Task) -> float:
        images = self.validation_examples(task)
        if images is None:
            raise ValueError(
                "early_stopping needs validation data: give the stream a share, validation: 0.1"
            )
        examples = self.activations(images, self.entry)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self.network.eval()
        rows = torch.arange(len(examples), device=self.device)
        for part in torch.split(rows, _EVALUATED_AT_ONCE):
            batch = examples.gather(part)
            assert batch.y is not None
            logits = self.network(batch.x, self.entry)
            logits = logits.masked_fill(~self.eligible(batch.task), -torch.inf)
            correct += logits.argmax(1).eq(batch.y).sum()
        self.network.train()
        return int(correct) / len(examples)

    def _look(self, terms: dict[str, Tensor], step: int, task: Task, log: Log) -> None:
        for name, term in terms.items():
            value = float(term.detach())
            if not math.isfinite(value):
                raise Diverged(
                    f"loss term {name!r} is {value} at step {step} of task {task.index + 1}"
                )
            log.scalar(f"loss/{name}", value, step)

    def _optimizer(self) -> torch.optim.Optimizer:
        if self.optimizer is None:
            learning = [p for p in self.network.parameters() if p.requires_grad]
            self.optimizer = self.config.optimizer.build(learning)
        return self.optimizer

    def remember(self, task: Task, log: Log) -> None:
        """Freeze after the first task, then :meth:`after_task`."""
        if task.index == 0 and self.config.freeze_from == "first-task":
            self._freeze()
        self.network.eval()
        self.after_task(task, log)
        self._activations.clear()

    def _freeze(self) -> None:
        if self.config.freeze_depth:
            self.network.backbone.freeze(self.config.freeze_depth)
            self.optimizer = None  # rebuilt without the frozen parameters

    # Prediction ----------------------------------------------------------------------------------

    def eligible(self, task: int | Tensor | None = None) -> Tensor:
        """Classes that take part in the softmax: bool ``[classes]``, or ``[B, classes]``.

        Parameters
        ----------
        task : int or Tensor, optional
            The task of all examples, or int64 ``[B]`` of each; the one at hand by default. Matters
            in the task-incremental scenario only.
        """
        classes_of = self.network.classes_of
        if self.stream.scenario is Scenario.TASK_INCREMENTAL:
            return classes_of[self.tasks_seen - 1 if task is None else task]
        if self.stream.scenario is Scenario.CLASS_INCREMENTAL:
            return classes_of[: self.tasks_seen].any(0)
        return classes_of.any(0)

    @torch.no_grad()
    def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
        """Return logits, -inf where a class has not been seen or is not of the given task.

        Raises
        ------
        ValueError
            If the task is not given where it is known, or given where it is not.
        """
        if (task_id is not None) != (self.stream.scenario is Scenario.TASK_INCREMENTAL):
            raise ValueError("task_id is given in the task-incremental scenario, and only there")
        if task_id is not None and not 0 <= task_id < self.stream.tasks:
            raise ValueError(f"there is no task {task_id}: the stream has {self.stream.tasks}")
        training = self.network.training
        self.network.eval()
        logits: Tensor = self.network(x)
        self.network.train(training)
        return logits.masked_fill(~self.eligible(task_id), -torch.inf)

    @torch.no_grad()
    def encode(self, x: Tensor, depth: int) -> Tensor:
        """Carry images to a depth of the network, in eval mode."""
        if not depth:
            return x
        training = self.network.training
        self.network.eval()
        z = self.network.backbone.run(x, 0, depth)
        self.network.train(training)
        return z

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
        """Restore weights, freezing and optimiser."""
        super().load_state_dict(state)
        self.tasks_seen = self.tasks_learned
        self.network.load_state_dict(state["network"])
        self.optimizer = None
        if self.tasks_learned and self.config.freeze_from == "first-task":
            self._freeze()
        if state["optimizer"] is not None:
            self._optimizer().load_state_dict(copy.deepcopy(state["optimizer"]))
