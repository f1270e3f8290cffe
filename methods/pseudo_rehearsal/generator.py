"""A generator of images: a flow draws embeddings, a decoder makes images of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from methods.core.log import SILENT, Log
from methods.core.rng import Rng
from methods.core.task import Batch, Examples, TensorExamples
from methods.core.training import Budget
from methods.memories.generative import GenerativeMemory
from methods.memories.ledger import Ledger
from methods.memories.reading import read
from methods.memories.units import Units
from methods.networks import Backbone
from methods.pseudo_rehearsal.autoencoder import Autoencoder, features_depth
from methods.pseudo_rehearsal.condition import Condition, EmbeddingFlow
from methods.pseudo_rehearsal.config import AutoencoderConfig, EmbeddingFlowConfig
from methods.pseudo_rehearsal.training import Mixture, train

#: Items drawn, or carried to embeddings, at once.
_AT_ONCE = 512
#: Draws that are shown of each class, or altogether where classes cannot be asked for.
_SHOWN_OF_CLASS, _SHOWN = 10, 50


class EmbeddingGenerator(GenerativeMemory):
    """An autoencoder on the classifier's features, and a flow on its embeddings.

    Pomponi et al. 2020, arXiv:2007.02443. When a task is absorbed, the autoencoder learns it, then
    the flow the embeddings that this makes; both go on from their weights after the last task. Each
    image is one of the task with probability ``n / N``, or else one of :attr:`past`, where n pairs
    of a task and a class in it are of this task, out of N so far. Embeddings are standardised by
    their mean and deviation over both, anew in each task, because the projection learns; drawn ones
    are cut to the range that they had.

    The condition knows the class alone: domains of one class become one mixture, and whichever of
    their tasks is asked for, draws are of all.

    Parameters
    ----------
    backbone : Backbone
        The classifier's, in eval mode whenever a task is absorbed; it is only read.
    autoencoder, flow : config
    classes : int
        Size of the label space.
    budget : Budget
        Of the classifier, which is the parts' own where they have none.
    device : torch.device
    rng : Rng
        Source of the first weights.
    rehearse_decoder : bool
        Whether the autoencoder, too, learns from :attr:`past`.

    Attributes
    ----------
    past : Examples or None
        Synthetic images of earlier tasks; whoever has them sets it before a task is absorbed, after
        which it is None again.
    """

    def __init__(
        self,
        backbone: Backbone,
        autoencoder: AutoencoderConfig,
        flow: EmbeddingFlowConfig,
        classes: int,
        budget: Budget,
        device: torch.device,
        rng: Rng,
        rehearse_decoder: bool = True,
    ) -> None:
        self.backbone, self.depth = backbone, features_depth(backbone)
        self.configs, self.budget, self.device = (autoencoder, flow), budget, device
        self.rehearse_decoder = rehearse_decoder
        self.labelled = (autoencoder.condition, flow.condition) != ("none", "none")
        with rng.scoped("initialisation"):
            condition = Condition(classes, autoencoder.condition)
            self.autoencoder = Autoencoder(backbone, condition, autoencoder)
            condition = Condition(classes, flow.condition)
            self.flow = EmbeddingFlow(self.autoencoder.dim, condition, flow)
        self.autoencoder.to(device).eval()
        self.flow.to(device).eval()
        self.units, self.ledger = Units(device), Ledger()
        self.past: Examples | None = None

    @property
    def tasks(self) -> dict[int, int]:
        """The tasks absorbed, oldest first, with the number of items that each one had."""
        return self.ledger.tasks

    @property
    def classes_of(self) -> dict[int, tuple[int, ...]]:
        """The classes of each task absorbed, in ascending order."""
        return self.ledger.classes_of

    # Filling -------------------------------------------------------------------------------------

    def absorb(
        self,
        new: Examples,
        task: int,
        rng: Rng,
        log: Log = SILENT,
        *,
        features: Tensor | None = None,
    ) -> None:
        """Train autoencoder and flow on a task's images and on those of the past.

        Raises
        ------
        Diverged
            If a loss is not finite.
        """
        past, self.past = self.past, None
        self.ledger.add(new, task, self.device)
        counts = [len(labels) for labels in self.classes_of.values()]
        share = counts[-1] / sum(counts)
        with log.phase("autoencoder"):
            self._train_autoencoder(new, past, share, rng.of("autoencoder"), log)
        with log.phase("flow"):
            self._train_flow(new, past, share, rng.of("flow"), log)
        self._show(new, rng, log)

    def _train_autoencoder(
        self, new: Examples, past: Examples | None, share: float, rng: Rng, log: Log
    ) -> None:
        def loss(batch: Batch) -> Tensor:
            assert batch.y is not None
            return self.autoencoder.reconstruction(batch.x, self._features(batch.x), batch.y)

        past = past if self.rehearse_decoder else None
        items = Mixture(new, past, share, rng.generator("draws"))
        part, config = self.autoencoder, self.configs[0]
        train("reconstruction", part, loss, items, config, self.budget, rng, self.device, log)

    def _train_flow(
        self, new: Examples, past: Examples | None, share: float, rng: Rng, log: Log
    ) -> None:
        embedded = self._embedded(new)
        seen, old = [embedded.x], None
        if past is not None:
            old = self._embedded(past)
            seen.append(old.x)
        x = torch.cat(seen)
        self.units = Units(self.device)
        self.units.absorb(TensorExamples(x, torch.zeros(len(x), device=self.device)))
        noise = rng.generator("noise")

        def loss(batch: Batch) -> Tensor:
            return self.flow.losses(self.units.enter(batch.x), batch.y, noise)["nll"].mean()

        items = Mixture(embedded, old, share, rng.generator("draws"))
        train("nll", self.flow, loss, items, self.configs[1], self.budget, rng, self.device, log)

    @torch.no_grad()
    def _features(self, x: Tensor) -> Tensor:
        return self.backbone.run(x, 0, self.depth)

    @torch.no_grad()
    def _embedded(self, images: Examples) -> TensorExamples:
        rows = torch.arange(len(images), device=self.device)
        parts = [read(images, some) for some in torch.split(rows, _AT_ONCE)]
        embeddings = [self.autoencoder.project(self._features(x)) for x, _ in parts]
        return TensorExamples(torch.cat(embeddings), torch.cat([y for _, y in parts]))

    @torch.no_grad()
    def _show(self, new: Examples, rng: Rng, log: Log) -> None:
        """Report some images with what becomes of them, and draws of each class."""
        if log is SILENT:
            return
        rows = torch.arange(min(len(new), _SHOWN_OF_CLASS), device=self.device)
        x, y = read(new, rows)
        decoded = self.autoencoder.decode(self.autoencoder.project(self._features(x)), y)
        log.image("reconstructions", torch.cat([x, _pictures(decoded)]), len(x))
        seen, size = sorted({y for of in self.classes_of.values() for y in of}), _SHOWN
        y = torch.zeros(size, dtype=torch.int64, device=self.device)
        if self.labelled:
            y = torch.tensor(seen, device=self.device).repeat_interleave(_SHOWN_OF_CLASS)
        log.image("generator", self._draw(y, rng.generator("shown")), _SHOWN_OF_CLASS)

    # Drawing -------------------------------------------------------------------------------------

    def sample(
        self,
        n: int,
        generator: torch.Generator,
        *,
        classes: tuple[int, ...] | None = None,
        task: int | None = None,
        weights: Mapping[int, float] | None = None,
    ) -> Batch:
        """Draw ``n`` new images, uint8 ``[n, C, H, W]``, of classes drawn as often as tasks ask.

        Raises
        ------
        LookupError
            If nothing was absorbed, or a class or task is asked for that draws cannot be chosen by.
        """
        if not len(self):
            raise LookupError("nothing is remembered yet")
        if not self.labelled:
            if classes is not None or task is not None:
                raise LookupError("this generator cannot be asked for a class or a task")
            nothing = torch.zeros(n, dtype=torch.int64, device=self.device)
            return Batch(self._draw(nothing, generator))
        y, tasks = self.ledger.draw(n, generator, classes=classes, task=task, weights=weights)
        y, tasks = y.to(self.device), tasks.to(self.device)
        return Batch(self._draw(y, generator), y, tasks)

    @torch.no_grad()
    def _draw(self, y: Tensor, noise: torch.Generator) -> Tensor:
        parts = []
        for some in torch.split(y, _AT_ONCE):
            embeddings = self.units.leave(self.flow.draw(len(some), some, noise))
            parts.append(_pictures(self.autoencoder.decode(embeddings, some)))
        return torch.cat(parts)

    # State ---------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return copies of both networks, of the embeddings' statistics, and of what was seen."""
        networks = {"autoencoder": self.autoencoder, "flow": self.flow}
        state = {name: copy.deepcopy(part.state_dict()) for name, part in networks.items()}
        seen = {"units": self.units.state_dict(), "ledger": self.ledger.state_dict()}
        return {**state, **seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore everything."""
        self.past, self.units, self.ledger = None, Units(self.device), Ledger()
        self.autoencoder.load_state_dict(state["autoencoder"])
        self.flow.load_state_dict(state["flow"])
        self.units.load_state_dict(state["units"])
        self.ledger.load_state_dict(state["ledger"])


def _pictures(x: Tensor) -> Tensor:
    """Turn images in [0, 1] into uint8."""
    return x.mul(255).round_().to(torch.uint8)
