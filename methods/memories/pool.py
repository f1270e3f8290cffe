"""A generator with a limited number of stored draws."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from methods.core.log import SILENT, Log
from methods.core.rng import Rng
from methods.core.task import Batch, Examples
from methods.memories.buffer import Buffer
from methods.memories.generative import GenerativeMemory, Refresh
from methods.memories.memory import Memory, Moment
from methods.memories.shares import AnyShare, task_counts, task_weights


class Pool(Memory):
    """Replay draws of a generator: at most ``size``, divided among the past tasks.

    Draws that are renewed in each task or epoch live until the task is over: what outlives it is
    the generator alone. Where nothing is stored, as before the first renewal, samples come straight
    from the generator.

    Parameters
    ----------
    generator : GenerativeMemory
    size : int, optional
        Stored draws over all past tasks together.
    per_class : int, optional
        Stored draws for each class remembered, instead of ``size``. The tasks that have a class
        divide them; a task's draws are of its classes in proportion to their items.
    refresh : str
        ``once``: a task's draws are made when it is over, and kept as long as its share lasts:
        later tasks take some of them away. ``task`` or ``epoch``: all are renewed at the
        start of each. ``step``: none are stored.
    share : str
        ``even``, ``decaying``, ``by-class``, in proportion to the number of a task's classes, or
        ``unlimited``: as many draws of a task as it had items, whatever the budget.
    decay : float
        With ``decaying``, a task ``k`` steps back gets a share in proportion to ``decay ** k``.
    device : torch.device
        Where draws are stored.

    Raises
    ------
    ValueError
        If both budgets are given, or none where one is needed, or one of each class that is to be
        divided ``by-class``.
    """

    def __init__(
        self,
        generator: GenerativeMemory,
        size: int | None = None,
        per_class: int | None = None,
        *,
        refresh: Refresh = "epoch",
        share: AnyShare = "even",
        decay: float = 0.5,
        device: torch.device | str = "cpu",
    ) -> None:
        if size is not None and per_class is not None:
            raise ValueError("give size or per_class, not both")
        if size is None and per_class is None and refresh != "step" and share != "unlimited":
            raise ValueError("stored draws need a budget: give size or per_class")
        if per_class is not None and share == "by-class":
            raise ValueError("by-class divides a budget of all tasks: give size, not per_class")
        self.generator = generator
        self.size, self.per_class = size, per_class
        self.renewal: Refresh = refresh
        self.share: AnyShare = share
        self.decay = decay
        self.draws = Buffer(device=device)
        self.wants_features = generator.wants_features
        self.labelled = generator.labelled

    def __len__(self) -> int:
        """Return the number of stored draws; where there are none, of items learnt from."""
        return len(self.draws) or len(self.generator)

    def counts(self) -> dict[int, int]:
        """Return how many draws of each past task the pool holds when it is full."""
        tasks = self._sizes()
        if self.per_class is None or self.share == "unlimited":
            return self._divided(tasks, self.size)
        counts = dict.fromkeys(tasks, 0)
        classes_of = self.generator.classes_of
        for label in sorted({label for classes in classes_of.values() for label in classes}):
            with_it = {task: items for task, items in tasks.items() if label in classes_of[task]}
            for task, count in self._divided(with_it, self.per_class).items():
                counts[task] += count
        return counts

    def _sizes(self) -> dict[int, int]:
        """Return the number of classes of each past task where they matter, or else of items."""
        if self.share != "by-class":
            return self.generator.tasks
        return {task: len(classes) for task, classes in self.generator.classes_of.items()}

    def _divided(self, tasks: dict[int, int], total: int | None) -> dict[int, int]:
        shares = task_counts(list(tasks.values()), self.share, self.decay, total)
        return dict(zip(tasks, shares, strict=True))

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
        """Let the generator absorb a task; drop draws, or make those of the task."""
        if self.renewal != "once":
            self._clear()
        self.generator.absorb(new, task, rng, log, features=features)
        if self.renewal == "once":
            self._make_room(rng.generator("pool"))

    def refresh(self, moment: Moment, rng: Rng) -> None:
        """Renew all draws, if this is the moment for it."""
        if moment == self.renewal and len(self.generator):
            self._clear()  # before new ones are made: there need not be room for both
            draws = rng.generator("pool")
            if self.labelled:
                self.draws.put(self._drawn(self.counts(), draws))
            else:  # what cannot tell its tasks apart is not asked for them
                self.draws.put(self.generator.sample(sum(self.counts().values()), draws))

    def _clear(self) -> None:
        self.draws = Buffer(device=self.draws.device)

    def _drawn(self, counts: dict[int, int], generator: torch.Generator) -> Batch:
        batches = [
            self.generator.sample(count, generator, task=task)
            for task, count in counts.items()
            if count
        ]
        if len(batches) == 1:
            return batches[0]
        x, y, tasks = ([batch[i] for batch in batches] for i in range(3))
        return Batch(*(torch.cat(parts) for parts in (x, y, tasks)))  # type: ignore[arg-type]

    def _make_room(self, generator: torch.Generator) -> None:
        """Cut the draws of each task to its share, and make those of tasks that have none yet."""
        counts = self.counts()
        kept, stored = [], self.draws.task.cpu()
        for task in torch.unique(stored).tolist():
            rows = (stored == task).nonzero().squeeze(1)
            kept.append(rows[: counts.pop(task, 0)])  # they came in random order
        if kept:
            self.draws.keep(torch.cat(kept).to(self.draws.device))
        if any(counts.values()):
            self.draws.put(self._drawn(counts, generator))

    # Reading -------------------------------------------------------------------------------------

    def sample(
        self,
        n: int,
        generator: torch.Generator,
        *,
        classes: tuple[int, ...] | None = None,
        task: int | None = None,
    ) -> Batch:
        """Draw ``n`` of the stored draws, with replacement, or else new ones."""
        if len(self.draws):
            drawn = self.draws.sample(n, generator, classes=classes, task=task)
            return drawn if self.labelled else Batch(drawn.x)
        tasks = self._sizes()
        weights = task_weights(list(tasks.values()), self.share, self.decay)
        shares = dict(zip(tasks, weights, strict=True))
        return self.generator.sample(n, generator, classes=classes, task=task, weights=shares)

    def state_dict(self) -> dict[str, Any]:
        """Return the generator, and the draws if they are there to stay."""
        state: dict[str, Any] = {"generator": self.generator.state_dict()}
        if self.renewal == "once":
            state["draws"] = self.draws.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore both."""
        self._clear()
        self.generator.load_state_dict(state["generator"])
        if self.renewal == "once":
            self.draws.load_state_dict(state["draws"])
