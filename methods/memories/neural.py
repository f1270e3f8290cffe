"""A memory that is a trained network: it learns each task together with draws of its own."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt
from torch import Tensor

from methods.core.config import Config
from methods.core.log import SILENT, Log
from methods.core.rng import Rng
from methods.core.snapshot import frozen_copy
from methods.core.task import Batch, Examples
from methods.core.training import (
    Adam,
    Budget,
    Diverged,
    OptimizerConfig,
    ReplayLoss,
    weight_of_new,
)
from methods.memories.generative import GenerativeMemory
from methods.memories.generator_network import GeneratorNetwork, Labelled
from methods.memories.ledger import Ledger
from methods.memories.memory import Memory, Setting
from methods.memories.pool import Pool
from methods.memories.units import Units

#: Steps between two looks at the loss: a look waits for the device.
_LOOK_EVERY = 10
#: Items that a new network sees before it learns.
_FIRST = 4096
#: Items drawn at once.
_AT_ONCE = 512
#: Draws that are shown during and after a task: of each class, or altogether.
_SHOWN_OF_CLASS, _SHOWN = 10, 50
#: Times within a task at which draws are shown.
_LOOKS = 4


class NeuralMemory(GenerativeMemory):
    """Train one network on all tasks; what is over is rehearsed from the network's own frozen copy.

    When a task is absorbed, the network as it was before is copied. Each step then takes a batch of
    the task and one drawn from the copy, so that the network forgets neither; the copy is dropped
    once the task is absorbed (Shin et al. 2017, arXiv:1705.08690, section 3.1).

    Parameters
    ----------
    config : NeuralConfig
    classes : int
        Size of the label space.
    budget : Budget
        Of the classifier, which is the generator's where it has none of its own.
    device : torch.device

    Attributes
    ----------
    network : GeneratorNetwork or None
        None until something is absorbed.
    ledger : Ledger
        How many items of which task and class were absorbed.
    """

    def __init__(
        self, config: NeuralConfig, classes: int, budget: Budget, device: torch.device | str = "cpu"
    ) -> None:
        self.config, self.budget = config, budget
        self.classes = classes
        self.device = torch.device(device)
        self.labelled = config.labelled
        self.network: GeneratorNetwork | None = None
        self.optimizers: dict[str, torch.optim.Optimizer] | None = None
        self.units = Units(self.device, config.clamp)
        self.ledger = Ledger()

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
        """Train the network on a task and on draws of the past.

        Raises
        ------
        Diverged
            If a loss is not finite.
        """
        rng = rng.of("generator")
        with log.phase("generator"):
            past = self._frozen() if len(self) and self.config.replay_batch != 0 else None
            self.units.absorb(new)
            self.ledger.add(new, task, self.device)
            if self.network is None or not self.config.warm_start:
                with rng.scoped("initialisation"):
                    self.network = self._built()
                self._initialise(self.network, new, past, rng)
                self.optimizers = None
            self._train(self.network, new, past, rng, log)
            self._show(log, "generator", rng)

    def _built(self) -> GeneratorNetwork:
        classes = self.classes if self.config.conditional else 0
        return self.config.network(self.units.item, classes).to(self.device)

    def _initialise(
        self, network: GeneratorNetwork, new: Examples, past: NeuralMemory | None, rng: Rng
    ) -> None:
        """Show a new network items of all tasks, as many of each as the tasks had."""
        of_past = 0 if past is None else len(past)
        count = min(_FIRST * len(new) // (len(new) + of_past) + 1, len(new))
        chosen = torch.randperm(len(new), generator=rng.generator("first"))[:count]
        items = new.gather(chosen.to(self.device)).x
        if past is not None:
            drawn = past.sample(of_past * count // len(new), rng.generator("first draws"))
            items = torch.cat([items, drawn.x])
        first = self.units.enter(items)
        network.initialise_from(first, rng.generator("noise of the first"))

    def _train(
        self,
        network: GeneratorNetwork,
        new: Examples,
        past: NeuralMemory | None,
        rng: Rng,
        log: Log,
    ) -> None:
        budget = self._budget()
        optimizers = self._optimizers(network)
        draws, noise = rng.generator("draws"), rng.generator("noise")
        steps = budget.steps(len(new))
        looks = {steps * k // _LOOKS for k in range(1, _LOOKS)}
        network.train()
        batches = budget.batches(len(new), rng.generator("order"))
        for step, index in enumerate(batches, start=1):
            batch = new.gather(index.to(self.device, non_blocking=True))
            fresh, old, weight = self._entering(batch), None, 1.0
            if past is not None:
                old = self._rehearsed(past, self.config.replay_batch or len(index), draws)
                t = len(self.tasks)
                weight = weight_of_new(self.config.replay_loss, len(index), len(old.x), t)
            terms = network.step(fresh, old, weight, optimizers, noise)
            if step % _LOOK_EVERY == 0 or step == steps:
                self._look(terms, step, log)
            if step in looks:
                self._show(log, f"generator, step {step}", rng)
        network.eval()
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        self.optimizers = optimizers if self.config.optimizer.reset == "never" else None

    def _entering(self, batch: Batch) -> Labelled:
        return Labelled(self.units.enter(batch.x), batch.y if self.config.conditional else None)

    def _rehearsed(self, past: NeuralMemory, n: int, draws: torch.Generator) -> Labelled:
        """Draw ``n`` items from the frozen copy, in the units of now.

        An aligned network holds draws of classes that the new task does not have. Those of others
        come first, without latents: the task's own items are asked for by the same class.
        """
        assert past.network is not None
        if not past.network.aligned:
            return self._entering(past.sample(n, draws))
        y = past.ledger.draw(n, draws)[0]
        again = torch.isin(y, self.ledger.newest)
        y = torch.cat([y[again], y[~again]]).to(self.device)
        with torch.no_grad():
            z, x = past.network.draw_of(n, y, draws)
        return Labelled(self.units.enter(past.units.leave(x)), y, z[int(again.sum()) :])

    def _budget(self) -> Budget:
        config = self.config
        chosen: dict[str, Any] = {"batch_size": config.batch_size or self.budget.batch_size}
        if config.iterations is not None:
            chosen["iterations"] = config.iterations
        else:
            chosen |= {"iterations": self.budget.iterations, "epochs": self.budget.epochs}
        return Budget(**chosen)

    def _optimizers(self, network: GeneratorNetwork) -> dict[str, torch.optim.Optimizer]:
        if self.optimizers is not None:
            return self.optimizers
        build = self.config.optimizer.build
        return {name: build(part.parameters()) for name, part in network.parts().items()}

    def _frozen(self) -> NeuralMemory:
        """Return the memory as it is now: it learns nothing more."""
        assert self.network is not None
        past = copy.copy(self)
        past.network, past.optimizers = frozen_copy(self.network), None
        past.units, past.ledger = copy.copy(self.units), copy.copy(self.ledger)
        return past

    @staticmethod
    def _look(terms: dict[str, Tensor], step: int, log: Log) -> None:
        for name, term in terms.items():
            value = float(term)
            if not math.isfinite(value):
                raise Diverged(f"the generator's {name!r} is {value} at step {step}")
            log.scalar(f"generator/{name}", value, step)

    def _show(self, log: Log, name: str, rng: Rng) -> None:
        """Report some images as they are drawn now, from a random generator of their own."""
        if not self.units.images or self.network is None:
            return
        noise, y = rng.generator("shown"), None
        if self.config.conditional:
            seen = sorted({label for classes in self.classes_of.values() for label in classes})
            y = torch.tensor(seen, device=self.device).repeat_interleave(_SHOWN_OF_CLASS)
        training = self.network.training
        self.network.eval()
        log.image(name, self._draw(len(y) if y is not None else _SHOWN, y, noise))
        self.network.train(training)

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
        """Draw ``n`` new items.

        A conditional network is asked for classes as often as the tasks had items of them: of a
        task, for its classes. Another one draws what it has learnt, ``weights`` or not, and
        leaves ``y`` and ``task`` to whoever can tell.

        Raises
        ------
        LookupError
            If nothing was absorbed, or a class or task is asked for that draws cannot be chosen by.
        """
        if self.network is None:
            raise LookupError("nothing is remembered yet")
        if self.config.conditional:
            y, tasks = self.ledger.draw(n, generator, classes=classes, task=task, weights=weights)
            y, tasks = y.to(self.device), tasks.to(self.device)
            x = self._draw(n, y, generator)
            return Batch(x, y, tasks) if self.labelled else Batch(x)
        if classes is not None or task is not None:
            raise LookupError("this generator cannot be asked for a class or a task")
        return Batch(self._draw(n, None, generator))

    @torch.no_grad()
    def _draw(self, n: int, y: Tensor | None, noise: torch.Generator) -> Tensor:
        assert self.network is not None
        parts = []
        for start in range(0, max(n, 1), _AT_ONCE):
            size = min(_AT_ONCE, n - start)
            labels = None if y is None else y[start : start + size]
            parts.append(self.units.leave(self.network.draw(size, labels, noise)))
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    # State ---------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the network, of what it was shown, and of optimisers that go on."""
        if self.network is None:
            return {}
        state = {
            "units": self.units.state_dict(),
            "ledger": self.ledger.state_dict(),
            "network": copy.deepcopy(self.network.state_dict()),
        }
        if self.optimizers is not None:
            states = {name: each.state_dict() for name, each in self.optimizers.items()}
            state["optimizers"] = copy.deepcopy(states)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore everything."""
        self.network, self.optimizers = None, None
        self.units, self.ledger = Units(self.device, self.config.clamp), Ledger()
        if not state:
            return
        self.units.load_state_dict(state["units"])
        self.ledger.load_state_dict(state["ledger"])
        with Rng(0).scoped("replaced at once"):
            self.network = self._built()
        self.network.load_state_dict(state["network"])
        self.network.eval()
        if "optimizers" in state:
            self.optimizers = self._optimizers(self.network)
            for name, each in state["optimizers"].items():
                self.optimizers[name].load_state_dict(copy.deepcopy(each))


class NeuralConfig(Config):
    """How a generator is trained, and who knows the classes of its draws."""

    conditional: bool = False
    """Whether it is told the class of each item and asked for classes; else the previous solver
    labels its draws."""
    iterations: PositiveInt | None = None
    """Training steps for each task; as many as the classifier's by default."""
    batch_size: PositiveInt | None = None
    """Items of the task in each step; as many as the classifier's by default."""
    replay_batch: NonNegativeInt | None = None
    """Items in each step that are drawn from its own frozen copy; as many as new ones by default.
    0: it rehearses nothing, and forgets."""
    replay_loss: ReplayLoss = "1/t"
    """Weight of the loss on new items: ``1/t`` in task t, a constant, or ``mean`` for the plain
    mean over new and rehearsed items. The rest is the weight of the loss on rehearsed ones."""
    optimizer: OptimizerConfig = Field(default_factory=lambda: Adam(reset="task"))
    """Of each of its parts. With ``reset: never`` its moments outlive a task, and count as kept."""
    warm_start: bool = True
    """Go on from the last task's weights, or start each task from new ones."""
    refresh: Literal["task", "epoch", "step"] = "step"
    """When the draws that are replayed are renewed: ``step``, every batch is new and none are
    stored; ``task`` or ``epoch``: a budget of them is drawn at the start of each."""
    clamp: bool = True
    """Cut drawn activations to the range that activations had in each dimension."""

    @property
    def labelled(self) -> bool:
        """Whether draws come with their classes."""
        return self.conditional

    @property
    def images_only(self) -> bool:
        """Whether items have to be images."""
        return False

    @property
    def stores(self) -> bool:
        """Whether a budget of stored items has a meaning."""
        return self.refresh != "step"

    @abstractmethod
    def network(self, item: tuple[int, ...], classes: int) -> GeneratorNetwork:
        """Make the network, untrained, with PyTorch's global generator.

        Parameters
        ----------
        item : tuple of int
            Shape of an item: ``(C, H, W)`` of an image, ``(D,)`` of activations.
        classes : int
            Size of the label space that it is conditioned on; 0 where it is not.
        """

    def build(self, setting: Setting) -> Memory:
        """Make an empty memory.

        Raises
        ------
        ValueError
            If a budget is missing, both are given, or there is no published variant.
        """
        if setting.as_released:
            raise ValueError("as released the memory is a gmm: no code of others was published")
        return Pool(
            NeuralMemory(self, setting.classes, setting.budget, setting.device),
            setting.size if self.stores else None,
            setting.per_class if self.stores else None,
            refresh=self.refresh,
            device=setting.device,
        )
