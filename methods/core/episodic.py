"""A classifier that stores some images of every task, as many of each."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from methods.core.log import Log
from methods.core.remembering import Remembering
from methods.core.rng import Rng
from methods.core.task import Batch, StreamInfo, Task
from methods.memories import Buffer
from methods.memories.reading import read

#: Stored images that go through the network at once.
_CHUNK = 1024


class Episodic(Remembering):
    """Store ⌊M/T⌋ random images of each task once it is learnt: an episodic memory of each.

    M is ``buffer_size`` and T the number of tasks of the stream: a task's share is the same from
    the start, so that what is stored of it never changes. What the images are for is up to who
    extends this.

    Raises
    ------
    ValueError
        If there is not an image for each task.
    """

    axes: ClassVar[frozenset[str]] = Remembering.axes | {"freeze_depth", "buffer_size"}

    class Config(Remembering.Config):
        """The budget of stored images."""

        buffer_size: PositiveInt = 500
        """Stored images over all tasks together; each task of the stream has an equal share."""

    config: Config
    memory: Buffer

    def __init__(
        self, config: Config, stream: StreamInfo, rng: Rng, device: torch.device | str = "cpu"
    ) -> None:
        super().__init__(config, stream, rng, device)
        self.check_stream(config, stream)
        #: Images stored of each task.
        self.share = config.buffer_size // stream.tasks
        self.memory = Buffer(device=self.device)
        #: While a task is learnt that is not the first: all that is stored, at depth ``entry``.
        self.past: Batch | None = None

    @classmethod
    def check_stream(cls, config: Config, stream: StreamInfo) -> None:
        """Refuse a stream with more tasks than there are images to store."""
        super().check_stream(config, stream)
        if config.buffer_size < stream.tasks:
            raise ValueError(
                f"buffer_size {config.buffer_size} has no image for each of {stream.tasks} tasks; "
                f"give {stream.tasks} or more"
            )

    def before_task(self, task: Task) -> None:
        """Carry what is stored behind the frozen blocks, once for the length of the task."""
        self.draws = self.rng.at(task.index).of("memory").generator("draws")
        if len(self.memory):
            past = self.memory.gather(torch.arange(len(self.memory), device=self.device))
            parts = [self.encode(part, self.entry) for part in torch.split(past.x, _CHUNK)]
            self.past = past._replace(x=torch.cat(parts))

    def drawn(self, stored: int, n: int) -> Tensor:
        """Draw ``n`` of the rows of stored items, each at most once; all where there are fewer."""
        return torch.randperm(stored, generator=self.draws)[:n].to(self.device)

    def after_task(self, task: Task, log: Log) -> None:
        """Store the task's share."""
        self.past = None
        rng = self.rng.at(task.index).of("memory")
        rows = torch.randperm(len(task.train), generator=rng.generator("stored"))[: self.share]
        x, y = read(task.train, rows.to(self.device))
        self.memory.put(Batch(x, y, torch.full_like(y, task.index)))

    def sample(
        self, n: int, *, classes: tuple[int, ...] | None = None, task: int | None = None
    ) -> Batch | None:
        """Draw stored images."""
        draws = self.rng.at(self.tasks_learned).of("memory").generator("sample")
        return self.memory.sample(n, draws, classes=classes, task=task)
