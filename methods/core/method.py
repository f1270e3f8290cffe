"""The contract of a continual-learning method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple, final

import torch
from pydantic import field_validator
from torch import Tensor

from methods.core.accounting import reachable_bytes
from methods.core.config import Config as BaseConfig
from methods.core.log import SILENT, Log
from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, StreamInfo, Task


class Replayed(NamedTuple):
    """Generated items: ``batch.x`` lies at ``depth``, and ``batch.y`` is int64 ``[n]``.

    Where an item of no known task is labelled by each past task's head, ``y`` is None, and
    ``batch.logits``, float ``[n, classes]``, are what the heads say of it.
    """

    batch: Batch
    depth: int


class Method(ABC):
    """A continual-learning algorithm: it sees tasks one after the other and predicts.

    A subclass gives a :class:`Config`, ``fit``, ``remember`` and ``predict``, and registers itself
    with :func:`methods.core.registry.register`.

    Parameters
    ----------
    config : Config
        The method's own options, network and optimiser included.
    stream : StreamInfo
        What is known of the task stream beforehand.
    rng : Rng
        The trial's seed; every draw comes from a generator named here.
    device : torch.device
        Where the network and the data live.
    """

    #: Name and paper under which the method is registered; set by ``register``.
    name: ClassVar[str] = ""
    paper: ClassVar[str] = ""
    #: Scenarios the method is defined for; others are skipped in the plan and listed there.
    scenarios: ClassVar[frozenset[Scenario]] = frozenset(Scenario)
    #: Options that a list at the top level of a search space expands for this method.
    axes: ClassVar[frozenset[str]] = frozenset()
    #: Options that describe the training protocol rather than the method; labels leave them out.
    protocol: ClassVar[frozenset[str]] = frozenset()

    class Config(BaseConfig):
        """Options that every method has."""

        #: Whether the method can also be run with the defects of its published code.
        has_released_variant: ClassVar[bool] = False

        variant: Literal["corrected", "as-released"] = "corrected"
        """``as-released`` reproduces a published system's defects, where a method offers it."""

        @field_validator("variant")
        @classmethod
        def _offered(cls, variant: str) -> str:
            if variant == "as-released" and not cls.has_released_variant:
                raise ValueError("this method has no variant as-released; leave variant out")
            return variant

        @property
        def needs_validation(self) -> bool:
            """Whether tasks must come with validation data."""
            return False

        @property
        def implied(self) -> frozenset[str]:
            """Options whose values follow from others; labels leave them out."""
            return frozenset()

    def __init__(
        self, config: Any, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        self.config, self.stream, self.rng = config, stream, rng
        self.device = torch.device(device)
        #: Number of tasks learnt so far: while task t is being learnt it is t (first task: 0).
        self.tasks_learned = 0

    @classmethod
    def check_stream(cls, config: Any, stream: StreamInfo) -> None:
        """Refuse a stream that cannot be learnt with these options, before anything starts.

        By default one whose images a part of the configuration refuses.

        Raises
        ------
        ValueError
            With what to do.
        """
        for _, part in config:
            if isinstance(part, BaseConfig):
                part.check_images(stream.shape)

    @classmethod
    def named_point(cls, config: Any) -> type[Method]:
        """Return the class by whose name a configuration is known.

        Where one class serves several published methods, each is a point of its options: however
        a configuration was written, it has one name, and equal ones are one trial.
        """
        return cls

    @final
    def learn(self, task: Task, log: Log = SILENT) -> None:
        """Learn one task, then close it: ``fit``, ``remember``.

        Raises
        ------
        ValueError
            If tasks come out of order.
        """
        if task.index != self.tasks_learned:
            raise ValueError(f"task {task.index} came when task {self.tasks_learned} was due")
        rng = self.rng.at(task.index)  # dropout and the like draw from the global generator
        try:
            with log.phase("fit"), rng.scoped("fit", self.device):
                self.fit(task, log)
            with log.phase("remember"), rng.scoped("remember", self.device):
                self.remember(task, log)
        finally:
            task.close()
        self.tasks_learned += 1

    @abstractmethod
    def fit(self, task: Task, log: Log) -> None:
        """Change the classifier with the task's data, and nothing that outlives the task else."""

    @abstractmethod
    def remember(self, task: Task, log: Log) -> None:
        """Prepare for the tasks to come: freeze, fill memories, train generators, take snapshots.

        The classifier's weights stay as ``fit`` left them.
        """

    @abstractmethod
    def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
        """Return logits, float ``[B, classes]``, -inf where a class is not eligible.

        Parameters
        ----------
        x : Tensor
            uint8 ``[B, C, H, W]``.
        task_id : int, optional
            Given in the task-incremental scenario, and only there.
        """

    def sample(
        self, n: int, *, classes: tuple[int, ...] | None = None, task: int | None = None
    ) -> Batch | None:
        """Draw ``n`` remembered or generated images, or None if the method keeps none."""
        return None

    def replayed(self, n: int) -> Replayed | None:
        """Draw what a generator would give to be rehearsed next, labelled as it would be.

        None where nothing is generated: where no task has been learnt, nothing is remembered, or
        what is remembered are examples.
        """
        return None

    @property
    def replay_drifts(self) -> bool:
        """Whether blocks before the depth of :meth:`replayed` learn on, so that images move there.

        Then whoever compares draws with images there has to start afresh after each task.
        """
        return False

    def encode(self, x: Tensor, depth: int) -> Tensor:
        """Carry images, uint8 ``[B, C, H, W]``, to the depth of :meth:`replayed`.

        Raises
        ------
        ValueError
            If the method knows no such depth.
        """
        if depth:
            raise ValueError(f"this method has no depth {depth}")
        return x

    def owners(self) -> dict[str, object]:
        """Name everything that survives a task and holds data: network, optimizer, memory."""
        return {}

    @final
    def bytes_kept(self) -> dict[str, int]:
        """Bytes of storage that survive a task, by owner; storage shared by two is counted once."""
        seen: set[int] = set()
        return {name: reachable_bytes(owner, seen) for name, owner in self.owners().items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on at a task boundary, as tensors and plain values."""
        return {"tasks_learned": self.tasks_learned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict` of an equal method: byte for byte as if uninterrupted."""
        self.tasks_learned = state["tasks_learned"]
