"""Brain-inspired replay: the classifier itself draws, through feedback connections, what it saw."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)
from torch import Tensor

from methods.core.classifier import Classifier
from methods.core.log import SILENT, Log
from methods.core.method import Replayed
from methods.core.registry import register
from methods.core.rng import Rng
from methods.core.snapshot import frozen_copy
from methods.core.task import Batch, Scenario, StreamInfo, Task
from methods.core.training import ReplayLoss, weight_of_new
from methods.feedback import (
    ClassPrior,
    Code,
    Decoder,
    Feedback,
    FeedbackNetwork,
    Past,
    Rehearsed,
    StandardPrior,
    Wanted,
    distillation,
    mirrored_widths,
)

Share = Annotated[float, Field(ge=0, lt=1)]

_TEMPERATURE, _MODES = 2.0, 1
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
        "freeze_depth",
        "replay_batch",
        "replay_loss",
        "replay_labels",
        "temperature",
        "latent_dim",
        "decoder_widths",
        "prior",
        "modes",
        "gates",
        "gate_by",
        "reconstruction",
        "divergence",
    }

    class Config(Classifier.Config):
        """The components, and the weights of the losses."""

        replay_batch: PositiveInt | None = None
        """Replayed items in each step; as many as new ones by default."""
        replay_loss: ReplayLoss = "1/t"
        """Weight of the new task's loss: ``1/t`` in task t, a constant, or ``mean`` for the plain
        mean over new and replayed items. The rest is the weight of the replayed loss."""
        replay_labels: Literal["soft", "hard"] = "soft"
        """Probabilities given by the network before the task, or its most probable class."""
        temperature: PositiveFloat | None = Field(default=None, validate_default=True)
        """Softens the probabilities, and those they are compared with; 2 by default. ``soft``
        only."""
        latent_dim: PositiveInt = 100
        """Latent variables of the autoencoder."""
        decoder_widths: Annotated[tuple[PositiveInt, ...], Field(strict=False)] | None = None
        """Units of the decoder's hidden layers, from the code on; by default those of the fully
        connected blocks behind the frozen ones, in reverse, or 400 and 400 where there are none."""
        prior: Literal["classes", "standard"] = "classes"
        """A learned normal distribution for each class, or a standard one for all."""
        modes: PositiveInt | None = Field(default=None, validate_default=True)
        """Normal distributions of each class, 1 by default; more of them only with
        ``prior: classes``."""
        gates: Share = 0.1
        """Share of each of the decoder's hidden layers that is closed in each context; 0: none. The
        paper has 0.8 for split MNIST, the authors' later comparison of methods 0.1."""
        gate_by: Literal["class", "task"] | None = None
        """What a context is: by default the task in the domain-incremental scenario, elsewhere the
        class."""
        reconstruction: NonNegativeFloat = 1.0
        """Weight of the reconstruction loss."""
        divergence: NonNegativeFloat = 1.0
        """Weight of the divergence of code and prior (the variational loss)."""

        @field_validator("temperature")
        @classmethod
        def _of_soft_labels(cls, temperature: float | None, info: ValidationInfo) -> float | None:
            if info.data.get("replay_labels") == "hard":
                return None  # trials that differ in it alone are one
            return _TEMPERATURE if temperature is None else temperature

        @field_validator("modes")
        @classmethod
        def _of_class_prior(cls, modes: int | None, info: ValidationInfo) -> int | None:
            if info.data.get("prior") == "standard":
                return None
            return _MODES if modes is None else modes

        @field_validator("gate_by")
        @classmethod
        def _of_gates(cls, gate_by: str | None, info: ValidationInfo) -> str | None:
            return None if info.data.get("gates") == 0 else gate_by

        @property
        def implied(self) -> frozenset[str]:
            """What is as usual, or belongs to a component that is left out."""
            usual = {"temperature": (None, _TEMPERATURE), "modes": (None, _MODES)}
            return frozenset(name for name in usual if getattr(self, name) in usual[name])

    config: Config
    network: FeedbackNetwork

    def __init__(
        self, config: Config, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(config, stream, rng, device)
        with rng.of("feedback").scoped("initialisation"):
            network = self._with_feedback()
        self.network = network.to(self.device)
        #: What was learnt before the task at hand, with the network as it was; None in the first.
        self.past: Past | None = None
        self._log, self._step, self._looks = SILENT, 0, frozenset[int]()

    def _with_feedback(self) -> FeedbackNetwork:
        config, stream, backbone = self.config, self.stream, self.network.backbone
        depth, by_task = config.freeze_depth, stream.scenario is Scenario.DOMAIN_INCREMENTAL
        gate_by = config.gate_by or ("task" if by_task else "class")
        contexts = stream.tasks if gate_by == "task" else stream.classes
        item, given = backbone.shapes[depth], config.decoder_widths
        prior: ClassPrior | StandardPrior = StandardPrior(config.latent_dim)
        if config.modes is not None:
            prior = ClassPrior(stream.classes, config.modes, config.latent_dim)
        decoder = Decoder(
            config.latent_dim,
            mirrored_widths(backbone, depth) if given is None else given,
            math.prod(item),
            contexts if config.gates else 0,
            config.gates,
            self.rng.of("feedback").generator("gates"),
        )
        feedback = Feedback(backbone.features, item, depth == 0, prior, decoder)
        return FeedbackNetwork(self.network, stream, feedback, depth, gate_by)

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
            context = torch.cat([context, network.context(self._labels(old), old.wanted.task)])
            weight = weight_of_new(self.config.replay_loss, new, len(old.x), self.tasks_seen)
        hidden = network.backbone.run(items, network.depth).flatten(1)
        logits, code = network.head(hidden), feedback.encode(hidden, self.noise)
        errors = feedback.reconstruction(items, code, context)
        terms = self.loss_terms(batch, logits[:new])
        terms |= self._bound(errors[:new], code.rows(slice(new)), batch.y)
        terms = {name: weight * term for name, term in terms.items()}
        if old is not None:
            replayed = {"replay": self.replay_loss(logits[new:], old)}
            bound = self._bound(errors[new:], code.rows(slice(new, None)), self._labels(old))
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

    def _bound(self, errors: Tensor, code: Code, labels: Tensor) -> dict[str, Tensor]:
        """Return both terms of the negative evidence lower bound per value of an item."""
        feedback, config = self.network.feedback, self.config
        divergences = feedback.prior.divergence(code, labels)
        return {
            "reconstruction": config.reconstruction * errors.mean() / feedback.values,
            "divergence": config.divergence * divergences.mean() / feedback.values,
        }

    def _labels(self, old: Rehearsed) -> Tensor:
        """Return what selects prior and gates of replayed items: probabilities, or classes."""
        if not self.network.conditional:
            return old.wanted.y  # makes no difference
        return old.targets if self.config.replay_labels == "soft" else old.targets.argmax(1)

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
        seen = sorted(
            {label for some in self.stream.classes_of[: self.tasks_seen] for label in some}
        )
        rows = [past.choose(_SHOWN_OF_CLASS, draws, classes=(label,)) for label in seen]
        wanted = Wanted(*(torch.cat(part) for part in zip(*rows, strict=True)))
        log.image(name, _pictures(past.draw(wanted, draws)), _SHOWN_OF_CLASS)

    def sample(
        self, n: int, *, classes: tuple[int, ...] | None = None, task: int | None = None
    ) -> Batch | None:
        """Draw images, each with the class it was asked for; None where activations are drawn.

        Without class prior and gates nothing can be asked for, and the network labels its draws.

        Raises
        ------
        LookupError
            If nothing that fits has been learnt, or cannot be asked for.
        """
        if self.network.depth:
            return None
        if not self.network.conditional and (classes, task) != (None, None):
            raise LookupError("without class prior and gates no class or task can be asked for")
        past = self._past(self.network, self.tasks_learned)
        draws = self.rng.at(self.tasks_learned).of("feedback").generator("sample", self.device)
        wanted = past.choose(n, draws, classes=classes, task=task)
        x = past.draw(wanted, draws)
        if self.network.conditional:
            return Batch(_pictures(x), wanted.y, wanted.task)
        return Batch(_pictures(x), past.labels(x, wanted))

    def replayed(self, n: int) -> Replayed | None:
        """Draw what is replayed next, with its most probable class; None before the first task."""
        if not self.tasks_learned:
            return None
        past = self._past(self.network, self.tasks_learned)
        draws = self.rng.at(self.tasks_learned).of("feedback").generator("replayed", self.device)
        wanted = past.choose(n, draws)
        x = past.draw(wanted, draws)
        task = wanted.task if self.network.conditional else None
        y = past.labels(x, wanted)
        return Replayed(
            Batch(x if self.network.depth else _pictures(x), y, task), self.network.depth
        )


def _pictures(x: Tensor) -> Tensor:
    """Turn images in [0, 1] into uint8."""
    return x.mul(255).round_().to(torch.uint8)
