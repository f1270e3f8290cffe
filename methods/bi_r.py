"""Brain-inspired replay: the classifier itself draws, through feedback connections, what it saw."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from methods.core.classifier import Classifier
from methods.core.log import SILENT, Log
from methods.core.method import Replayed
from methods.core.registry import register
from methods.core.rng import Rng
from methods.core.snapshot import frozen_copy
from methods.core.task import Batch, Scenario, StreamInfo, Task
from methods.core.training import weight_of_new
from methods.feedback import (
    FeedbackConfig,
    FeedbackNetwork,
    Past,
    Rehearsed,
    asked,
    distillation,
    each_class,
    labelled,
)

#: Draws of each class that are shown; each class has a row of its own.
_SHOWN_OF_CLASS = 10
#: Times within a task at which draws are shown, the last of them after it.
_LOOKS = 4


@register("bi-r", paper="van de Ven, Siegelmann & Tolias 2020, Nature Communications 11:4069")
class BrainInspiredReplay(Classifier):
    r"""Replay what the classifier itself draws, as the top layer of a symmetrical autoencoder.

    The five components of the paper, of which all but the first can be left out:

    - *replay through feedback*: the classifier's layers are the encoder of a variational
      autoencoder, trained in the same steps by the same optimiser;
    - *conditional replay* (``prior: classes``): the code's prior is a normal distribution for each
      class, with learned mean and variances, so that classes can be asked for;
    - *gating based on internal context* (``gates``): in each class, or each task, a fixed random
      share of the decoder's hidden units is closed;
    - *internal replay* (``freeze_depth``): not images are drawn but the activations behind the
      frozen blocks;
    - *distillation* (``replay_labels: soft``): the network as it was before the task labels what is
      replayed with probabilities, softened by ``temperature``.

    In task t the loss is :math:`\frac{1}{t} L_\text{new} + (1 - \frac{1}{t}) L_\text{replay}`. Each
    is the sum of the classification loss (of replayed items the distillation loss) and of the
    negative evidence lower bound of the items, reconstruction and divergence in nats, divided by
    the number of values of an item (Methods, "Replay-through-Feedback", "Conditional replay").

    What is replayed is drawn anew in each step, as many items of each class seen, from a copy of
    the network as it was before the task. The copy is dropped after it: nothing is kept but the
    network. Task-incremental, an item's label is one of its own task's classes; where classes
    cannot be asked for, it is labelled for each past task, of which the loss is the mean.

    While the blocks before the replay depth still learn, in the first task, what they give is the
    autoencoder's input and, held fixed, its target. Drawn activations are cut to the range that
    real ones had.

    Defects mended
    --------------
    - The divergence is divided by the number of pixels even where activations are replayed, whose
      reconstruction is divided by *their* number, so that the terms of the bound have other
      weights: here both are divided by the number of values of an item.
    """

    axes: ClassVar[frozenset[str]] = Classifier.axes | {
        *("freeze_depth", "replay_batch", "replay_loss", "replay_labels", "temperature"),
        *("latent_dim", "decoder_widths", "prior", "modes", "gates", "gate_by"),
        *("reconstruction", "divergence"),
    }

    class Config(FeedbackConfig):
        """The components, and the weights of the losses."""

    config: Config
    network: FeedbackNetwork

    def __init__(
        self, config: Config, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(config, stream, rng, device)
        with rng.of("feedback").scoped("initialisation"):
            gates = rng.of("feedback").generator("gates")
            network = config.build(self.network, stream, gates)
        self.network = network.to(self.device)
        #: What was learnt before the task at hand, with the network as it was; None in the first.
        self.past: Past | None = None
        self._log, self._step, self._looks = SILENT, 0, frozenset[int]()

    # Training ------------------------------------------------------------------------------------

    def fit(self, task: Task, log: Log) -> None:
        """Train classifier and feedback on a task for the budget, and show draws meanwhile."""
        steps = self.config.budget.steps(len(task.train))
        self._looks = frozenset(steps * k // _LOOKS for k in range(1, _LOOKS))
        self._log, self._step = log, 0
        try:
            super().fit(task, log)
        finally:
            self._log, self.past = SILENT, None

    def before_task(self, task: Task) -> None:
        """Copy the network as it is before the task, and start the task's streams of draws."""
        rng = self.rng.at(task.index).of("feedback")
        self.noise = rng.generator("noise", self.device)
        self.draws = rng.generator("draws", self.device)
        if task.index:
            self.past = self._past(frozen_copy(self.network), task.index)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Run new and replayed items through the network in one pass, up and down again."""
        assert batch.y is not None
        network, feedback, new = self.network, self.network.feedback, len(batch.x)
        items = network.backbone.run(batch.x, self.entry, network.depth)
        feedback.see(items)
        context, old, weight = network.context(batch.y, self._tasks_of(batch)), None, 1.0
        if self.past is not None:
            old = self.past.rehearse(self.config.replay_batch or new, self.draws)
            items = torch.cat([items, old.x])
            context = torch.cat([context, network.context(old.labels, old.wanted.task)])
            weight = weight_of_new(self.config.replay_loss, new, len(old.x), self.tasks_seen)
        hidden = network.backbone.run(items, network.depth).flatten(1)
        logits, code = network.head(hidden), feedback.encode(hidden, self.noise)
        errors = feedback.reconstruction(items, code, context)
        terms = self.loss_terms(batch, logits[:new])
        weights = self.config.reconstruction, self.config.divergence
        terms |= feedback.bound(errors[:new], code.rows(slice(new)), batch.y, weights)
        terms = {name: weight * term for name, term in terms.items()}
        if old is not None:
            replayed = {"replay": self.replay_loss(logits[new:], old)}
            bound = feedback.bound(errors[new:], code.rows(slice(new, None)), old.labels, weights)
            replayed |= {f"replay_{name}": term for name, term in bound.items()}
            terms |= {name: (1 - weight) * term for name, term in replayed.items()}
        return terms

    def replay_loss(self, logits: Tensor, old: Rehearsed) -> Tensor:
        """Return the classification loss of replayed items: distillation, a scalar.

        Class-incremental, classes that are new in the task compete, too, with a target of 0.
        """
        eligible = old.eligible
        if self.stream.scenario is Scenario.CLASS_INCREMENTAL:
            eligible = self.eligible()
        return distillation(logits, old.targets, eligible, self.config.temperature)

    def _tasks_of(self, batch: Batch) -> Tensor:
        assert batch.y is not None
        here = self.tasks_seen - 1
        return torch.full_like(batch.y, here) if batch.task is None else batch.task

    def after_step(self, batch: Batch) -> None:
        """Show draws a few times within the task."""
        self._step += 1
        if self._step in self._looks:
            self._show(self._log, f"generator, step {self._step}")

    def after_task(self, task: Task, log: Log) -> None:
        """Show draws."""
        self._show(log, "generator")

    # What it draws -------------------------------------------------------------------------------

    def _past(self, network: FeedbackNetwork, tasks: int) -> Past:
        return Past(network, self.stream, tasks, self.config.temperature)

    def _show(self, log: Log, name: str) -> None:
        """Report images drawn now, a row of each class seen, from a generator of their own."""
        if self.network.depth or log is SILENT:
            return
        past = self._past(self.network, self.tasks_seen)
        draws = self.rng.at(self.tasks_seen).of("feedback").generator(name, self.device)
        log.image(name, each_class(past, _SHOWN_OF_CLASS, draws), _SHOWN_OF_CLASS)

    def sample(
        self, n: int, *, classes: tuple[int, ...] | None = None, task: int | None = None
    ) -> Batch | None:
        """Draw images, each with the class it was asked for; None where activations are drawn.

        A LookupError where nothing that fits has been learnt, or cannot be asked for.
        """
        if self.network.depth:
            return None
        draws = self.rng.at(self.tasks_learned).of("feedback").generator("sample", self.device)
        past = self._past(self.network, self.tasks_learned)
        return asked(past, n, draws, classes=classes, task=task)

    def replayed(self, n: int) -> Replayed | None:
        """Draw what is replayed next, with its most probable class; None before the first task."""
        if not self.tasks_learned:
            return None
        draws = self.rng.at(self.tasks_learned).of("feedback").generator("replayed", self.device)
        return labelled(self._past(self.network, self.tasks_learned), n, draws)
