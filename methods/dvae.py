"""Shared and private autoencoders: what is particular to a task is kept apart, and drawn again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from methods.core.log import SILENT, Log
from methods.core.method import Replayed
from methods.core.registry import register
from methods.core.rng import Rng
from methods.core.task import Batch, Examples, Scenario, StreamInfo, Task
from methods.shared_private import (
    Learner,
    Objective,
    Options,
    Past,
    Prepended,
    Rehearsed,
    SharedPrivateNetwork,
    released_batches,
    released_terms,
    sizes_of,
)

#: Draws of each class that are shown, in a row of its own.
_SHOWN = 10


@register("dvae", paper="Ghosh 2021, arXiv:2105.07627")
class SharedPrivateVae(Learner):
    r"""Classify what a shared and the task's own autoencoder reconstruct of an image.

    One variational autoencoder is common to all T tasks, and each task has one, and a head, of its
    own; all are there from the start. With codes :math:`z` of an image of task t, head t gives

    .. math:: H_t\bigl(D_\text{shared}(z_\text{shared}, 0), D_t(z_t, 0)\bigr)

    from both reconstructions, of which neither is told the class. The loss is the cross-entropy
    over the task's classes plus ``scale`` times the bound of both autoencoders, which *are* told
    the class in it, one-hot :math:`y`. A bound is, in the mean over images,

    .. math::

        \sum_\text{pixels} (x - D(z, y))^2 + \beta \sum_\text{latents}
        \tfrac{1}{2} (\mu^2 + \sigma^2 - 1 - \log \sigma^2)

    A past task can lose only what the shared autoencoder made of it. So every step rehearses
    ``samples_per_class`` draws of each past class, from the decoder of its own task with a standard
    normal code: they enter the shared autoencoder's bound, and the loss of the head of *their own*
    task, which no longer learns. Nothing is kept but weights. At test codes are their means.

    Sizes for 28 × 28, 32 × 32 and 84 × 84 pixels are the published ones. There is no activation
    function in the published network: with codes at their means all it computes is affine.

    ``variant: as-released`` has the published loss and order of data. Its ``predict`` tells the
    decoders no class either; what is published is :meth:`predict_given_labels`.

    Defects mended
    --------------
    - The decoders whose output was classified were told the true label, at test too: images of
      noise with random labels were classified without an error. No class is told to what is
      classified; the label enters a second decoding, of which only the bound is taken.
    - The divergence was summed over the batch beside means of the other terms, and outweighed them
      until codes said nothing. A bound is one sum for each image, then the mean over images.
    - The noise of codes was drawn once for every batch, which fixed the batch's size, at test too.
      It is drawn anew for each batch; at test there is none.
    - Examples came in the same order in every epoch, and a last partial batch was dropped, of test
      data too. They are shuffled, and all are used.
    - Four draws a class joined some 12,000 images of a task, drawn once. Each step has draws of all
      past classes (``samples_per_class``, ``refresh``), which share the loss (``replay_loss``).
    - Draws of a past task went through autoencoder and head of the task at hand, which then had to
      know old classes and are never asked for them. They go through their own (``replay_through``).
    - A head chose among the classes of all tasks; it chooses among those of its own.
    """

    scenarios: ClassVar[frozenset[Scenario]] = frozenset({Scenario.TASK_INCREMENTAL})
    axes: ClassVar[frozenset[str]] = Learner.protocol | Options.own

    class Config(Options):
        """Weights of the losses, and how what is drawn is replayed."""

    config: Config
    network: SharedPrivateNetwork

    def __init__(
        self, config: Config, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(config, stream, rng, device)
        self.released = config.variant == "as-released"
        rows = config.budget.batch_size if self.released else 0
        with rng.of("network").scoped("initialisation"):
            network = SharedPrivateNetwork(stream, config.activation, rows)
        # Small convolutions are a quarter faster on the CPU with channels last.
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network.to(self.device)
        self.objective = Objective(
            self.network, config.scale, config.beta, config.replay_through, config.replay_loss
        )
        self.old: Rehearsed | None = None  # what the step at hand rehearses
        self.past: Past | None = None  # while a task is learnt: who draws it

    @classmethod
    def check_stream(cls, config: Config, stream: StreamInfo) -> None:
        """Refuse images that are not square, or too small to be halved."""
        sizes_of(stream.shape, stream.classes)

    def before_task(self, task: Task) -> Examples:
        """Start the task's streams of draws; as released, draw what stands before its examples."""
        rng, self.task = self.rng.at(task.index).of("dvae"), task.index
        self.noise, self.draws = rng.generator("noise"), rng.generator("draws")
        self.network.learn_only(task.index)
        self.past = self._past() if self._of_class else None
        if self.released and self.past is not None:
            return Prepended(self.past.of_each(self._of_class, self.draws), task.train)
        return task.train

    @property
    def _of_class(self) -> int:
        """How many draws of each past class are replayed; 0 where nothing is."""
        return self.config.samples_per_class if self.tasks_learned else 0

    def batches(self, examples: int, steps: int, order: torch.Generator) -> Iterator[Tensor]:
        """Yield the rows of each step."""
        if self.released:
            return released_batches(self.config.budget, examples, steps)
        return super().batches(examples, steps, order)

    def before_step(self, first: bool, epoch: bool) -> None:
        """Draw what is replayed, where it is time."""
        due = {"task": first, "epoch": epoch, "step": True}[self.config.refresh]
        if due and self.past is not None and not self.released:
            self.old = self.past.rehearse(self._of_class, self.draws)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return classification loss and bounds of new images and of draws."""
        if self.released:
            return released_terms(self.network, batch, self.task)
        return self.objective.terms(batch, self.task, self.noise, self.old)

    def remember(self, task: Task, log: Log) -> None:
        """Show draws; nothing is kept but weights."""
        self.old = self.past = None
        self.show(task.index + 1, "generator", log)

    def _past(self, tasks: int | None = None) -> Past:
        return Past(self.network, self.stream, self.tasks_learned if tasks is None else tasks)

    def show(self, tasks: int, name: str, log: Log) -> None:
        """Report draws of each class of the first tasks, with noise of their own."""
        if log is SILENT:
            return
        noise = self.rng.at(tasks).of("dvae").generator(name)
        log.image(name, self._past(tasks).of_each(_SHOWN, noise).x, _SHOWN)

    def sample(
        self, n: int, *, classes: tuple[int, ...] | None = None, task: int | None = None
    ) -> Batch:
        """Draw images by the decoders of tasks, in expectation as many of each class of each.

        Raises
        ------
        LookupError
            If nothing that fits has been learnt.
        """
        draws = self.rng.at(self.tasks_learned).of("dvae").generator("sample")
        past = self._past()
        return past.draw(past.learnt.choose(n, draws, classes=classes, task=task), draws)

    def replayed(self, n: int) -> Replayed | None:
        """Draw what is replayed next; None before the first task, or where nothing is."""
        return Replayed(self.sample(n), 0) if self._of_class else None

    @torch.no_grad()
    def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
        """Return logits of the task's head, -inf for classes of others; decoders are told no class.

        Raises
        ------
        ValueError
            If there is no such task, or none is given.
        """
        if task_id is None or not 0 <= task_id < self.stream.tasks:
            raise ValueError(f"task_id is {task_id}: give one from 0 to {self.stream.tasks - 1}")
        return self.network.of_task(self.network(x, task_id), task_id)

    @torch.no_grad()
    def predict_given_labels(self, x: Tensor, y: Tensor, task_id: int) -> Tensor:
        """Return what the published evaluation looks at: the decoders are told each label.

        To show that it says what it was told. ``variant: as-released`` only.
        """
        if not self.released:
            raise ValueError("only variant as-released was trained to be told the label")
        condition, noise = self.network.condition(y), self.network.noise(len(x))
        return self.network.of_task(self.network(x, task_id, condition, noise), task_id)
