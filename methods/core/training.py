"""The parts of a training loop: budget, order of data, optimiser, losses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import torch
from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)
from torch import Tensor, nn
from torch.nn import functional

from methods.core.config import Config, by_name
from methods.core.early_stopping import EarlyStopping


class Diverged(RuntimeError):
    """Training produced a loss that is not a number; the message says where."""


class Budget(Config):
    """How long a task is trained: a number of iterations or of epochs, one of the two."""

    iterations: PositiveInt | None = None
    """Optimiser steps per task; 500 where neither this nor ``epochs`` is given."""
    epochs: PositiveInt | None = None
    """Passes over the task's training data."""
    batch_size: PositiveInt = 128
    """Examples of the task in each step."""
    early_stopping: EarlyStopping | None = None
    """``{patience: 1, min_delta: 0.003}`` ends a task before its budget is spent, once the accuracy
    on validation data no longer rises; the stream's ``validation`` says how many there are."""

    @model_validator(mode="before")
    @classmethod
    def _usual_length(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        unset = values.get("iterations") is None and values.get("epochs") is None
        return values | {"iterations": 500} if unset else values

    @field_validator("epochs")
    @classmethod
    def _one_unit(cls, epochs: int | None, info: ValidationInfo) -> int | None:
        if epochs is not None and info.data.get("iterations") is not None:
            raise ValueError("give iterations or epochs, not both")
        return epochs

    def steps(self, examples: int) -> int:
        """Return the number of optimiser steps on a task of so many examples."""
        if self.iterations is not None:
            return self.iterations
        assert self.epochs is not None  # the validator saw to it
        return self.epochs * self.steps_per_epoch(examples)

    def steps_per_epoch(self, examples: int) -> int:
        """Return the number of optimiser steps in one pass over a task of so many examples."""
        return -(-examples // self.batch_size)

    def batches(
        self, examples: int, generator: torch.Generator, steps: int | None = None
    ) -> Iterator[Tensor]:
        """Yield the rows of each step: int64 ``[B]``, in a fresh random order for each pass.

        Counted in epochs, the last batch of a pass may be smaller. Counted in iterations, or where
        a number of ``steps`` is given instead, passes follow each other without a seam and every
        batch is full.
        """
        if examples == 0:
            raise ValueError("the task has no training data")
        steps = self.iterations if steps is None else steps
        if steps is None:
            for _ in range(self.epochs or 0):
                order = torch.randperm(examples, generator=generator)
                for start in range(0, examples, self.batch_size):
                    yield order[start : start + self.batch_size]
            return
        queue = torch.empty(0, dtype=torch.int64)
        for _ in range(steps):
            while len(queue) < self.batch_size:
                queue = torch.cat([queue, torch.randperm(examples, generator=generator)])
            batch, queue = queue[: self.batch_size], queue[self.batch_size :]
            yield batch


class _Optimizer(Config):
    lr: PositiveFloat = 1e-3
    """Learning rate."""
    weight_decay: NonNegativeFloat = 0.0
    """L2 penalty, added to the gradient."""
    reset: Literal["task", "never"] = "never"
    """Carry the moments on from task to task, or start each task afresh. Freezing always resets."""


#: Weight of the loss on new items against that on replayed ones: ``1/t`` in task t, a constant, or
#: ``mean`` for the plain mean over both.
ReplayLoss = Literal["mean", "1/t"] | Annotated[float, Field(gt=0, lt=1)]


_Decay = Annotated[float, Field(ge=0, lt=1)]


class Adam(_Optimizer):
    """Adam (Kingma & Ba 2015, arXiv:1412.6980)."""

    name: Literal["adam"] = "adam"
    betas: Annotated[tuple[_Decay, _Decay], Field(strict=False)] = (0.9, 0.999)
    """Decay of the running means of the gradient and of its square."""

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimiser; fused, because PyTorch's default on the CPU is a Python loop."""
        return torch.optim.Adam(
            parameters, self.lr, self.betas, weight_decay=self.weight_decay, fused=True
        )


class Sgd(_Optimizer):
    """Stochastic gradient descent."""

    name: Literal["sgd"] = "sgd"
    momentum: NonNegativeFloat = 0.0
    """Share of the last step that is kept."""

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Make the optimiser, fused."""
        return torch.optim.SGD(
            parameters, self.lr, self.momentum, weight_decay=self.weight_decay, fused=True
        )


#: Any optimiser, told apart by its ``name``; a bare name stands for its defaults.
OptimizerConfig = Annotated[Adam | Sgd, Field(discriminator="name"), BeforeValidator(by_name)]


def weight_of_new(loss: ReplayLoss, new: int, old: int, task: int) -> float:
    """Return the weight of the loss on ``new`` items beside ``old`` ones, in a task from 1 on."""
    match loss:
        case "mean":
            return new / (new + old)
        case "1/t":
            return 1 / task
        case share:
            return float(share)


def masked_cross_entropy(logits: Tensor, y: Tensor, eligible: Tensor) -> Tensor:
    """Mean cross-entropy of a softmax over the eligible classes only.

    Parameters
    ----------
    logits : Tensor
        float ``[B, classes]``.
    y : Tensor
        int64 ``[B]``, each an eligible class.
    eligible : Tensor
        bool ``[classes]``, or ``[B, classes]`` where rows differ.
    """
    return functional.cross_entropy(logits.masked_fill(~eligible, -torch.inf), y)


def masked_distance(logits: Tensor, targets: Tensor, eligible: Tensor) -> Tensor:
    """Mean over items of the mean squared difference of an item's eligible logits.

    Each item counts alike, however many classes are eligible for it. Times their number it is the
    squared Euclidean distance.

    Parameters
    ----------
    logits, targets : Tensor
        float ``[B, classes]``; what is not eligible takes no part.
    eligible : Tensor
        bool ``[classes]``, or ``[B, classes]`` where rows differ; at least one in each row.
    """
    squares = (logits - targets).square().masked_fill(~eligible, 0)
    return (squares.sum(1) / eligible.sum(-1)).mean()


def distillation(
    logits: Tensor, teacher: Tensor, eligible: Tensor, known: Tensor, temperature: float
) -> Tensor:
    """Mean cross-entropy with a teacher's softened probabilities, times the temperature squared.

    Hinton et al. 2015 (arXiv:1503.02531), section 2. Its gradient is that of the divergence of the
    student's probabilities from the teacher's. A class that the teacher does not know has
    probability 0.

    Parameters
    ----------
    logits, teacher : Tensor
        float ``[B, classes]``, the student's and the teacher's.
    eligible, known : Tensor
        bool ``[classes]`` or ``[B, classes]``: the classes that student and teacher choose from;
        those known are eligible.
    temperature : float
        Above 0.
    """
    target = (teacher / temperature).masked_fill(~known, -torch.inf).softmax(-1)
    said = (logits / temperature).masked_fill(~eligible, -torch.inf).log_softmax(-1)
    # Where nothing is expected, -inf must not become NaN.
    said = said.masked_fill(~known, 0.0)
    return -(target * said).sum(-1).mean() * temperature**2
