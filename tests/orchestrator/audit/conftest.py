"""Streams of digits, and methods that replay what a test lets them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from methods.core import registry
from methods.core.log import Log
from methods.core.method import Method, Replayed
from methods.core.task import Batch, Task
from methods.naive import Naive
from orchestrator.data.stream_config import StreamConfig
from orchestrator.data.streams import TaskStream, open_stream
from orchestrator.identity import Environment
from orchestrator.storage import Storage
from orchestrator.trial import Trial, TrialConfig
from orchestrator.trial_code import trial_code
from orchestrator.trial_run import Report, TrialRun

#: Changes what is replayed: images and labels.
Spoil = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Remembers(Naive):
    """Keeps all images in a file-less drawer and replays them as a generator would."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.drawer: list[Batch] = []

    def remember(self, task: Task, log: Log) -> None:
        super().remember(task, log)
        self.drawer.append(task.train.gather(torch.arange(len(task.train))))

    def spoil(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Leave everything as it is."""
        return x, y

    def replayed(self, n: int) -> Replayed | None:
        if not self.drawer:
            return None
        x, y = (torch.cat([batch[i] for batch in self.drawer]) for i in range(2))  # type: ignore[misc]
        generator = self.rng.at(self.tasks_learned).of("drawer").generator("draws")
        rows = torch.randint(len(x), (n,), generator=generator)
        return Replayed(Batch(*self.spoil(x[rows], y[rows])), 0)

    def state_dict(self) -> dict[str, Any]:
        drawer = [(batch.x, batch.y) for batch in self.drawer]
        return super().state_dict() | {"drawer": drawer}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.drawer = [Batch(x, y) for x, y in state["drawer"]]


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> TaskStream:
    """Ten digits in five tasks."""
    return open_stream(StreamConfig(dataset="split-digits"), tmp_path_factory.mktemp("data"))


@pytest.fixture
def replaying(monkeypatch: pytest.MonkeyPatch) -> Callable[..., type[Method]]:
    """Registers a method that replays real images: ``replaying(lambda x, y: (x, y * 0))``."""

    def make(spoil: Spoil | None = None) -> type[Method]:
        class Spoilt(Remembers):
            """Replays what a test lets it."""

            def spoil(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
                return spoil(x, y) if spoil else (x, y)

        monkeypatch.setattr(Spoilt, "name", "test-replaying")
        monkeypatch.setitem(registry._registered, "test-replaying", Spoilt)
        return Spoilt

    return make


OPTIONS = {
    "network": {"name": "mlp", "widths": [48, 32]},
    "budget": {"iterations": 40, "batch_size": 16},
}


def run_of(cls: type[Method], home: Path, **how: Any) -> TrialRun:
    """A trial of a method; ``options`` are the method's, ``stream`` those of the stream."""
    options = OPTIONS | how.pop("options", {})
    stream = StreamConfig(dataset="split-digits", **how.pop("stream", {})).with_seed(0)
    config = TrialConfig(stream, cls.name, cls.Config.model_validate(options), seed=0)
    trial = Trial("0" * 16, config, stream.fingerprint(home), trial_code(cls))
    about = {"space": "test", "commit": ""}
    results = Storage(home / how.pop("results", "results"))
    return TrialRun(trial, Environment.here(), home, about, results=results, **how)


@pytest.fixture
def trial(tmp_path: Path) -> Callable[..., TrialRun]:
    """Makes a trial: ``trial(cls, audit=Audit())``."""
    return lambda cls, **how: run_of(cls, tmp_path, **how)


@pytest.fixture(scope="session")
def steps() -> Callable[[TrialRun], Iterator[Report]]:
    """Yields the reports of a trial to its end."""

    def to_the_end(run: TrialRun) -> Iterator[Report]:
        report = run.step()
        yield report
        while report.record is None:
            report = run.step()
            yield report

    return to_the_end
