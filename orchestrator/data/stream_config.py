"""Which tasks a stream has: its configuration, checked without any data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import torch
from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from methods.core.config import Config
from methods.core.rng import Rng
from methods.core.task import Scenario, StreamInfo
from orchestrator.data.cache import fingerprint
from orchestrator.data.sources import SOURCES, Source, get_source
from orchestrator.errors import unknown

#: The kinds of streams, each with its usual scenario.
KINDS: Mapping[str, Scenario] = MappingProxyType(
    {
        "split": Scenario.CLASS_INCREMENTAL,
        "permuted": Scenario.DOMAIN_INCREMENTAL,
        "rotated": Scenario.DOMAIN_INCREMENTAL,
    }
)

#: Options that only one kind of stream has.
_KIND_OF = MappingProxyType({"class_order": "split", "permute_first": "permuted"})


def stream_names() -> list[str]:
    """Return the names of all task streams, such as ``split-mnist``."""
    return [f"{kind}-{source}" for kind in KINDS for source in sorted(SOURCES)]


class StreamConfig(Config):
    """A task stream.

    ``split-<source>`` divides the classes among the tasks. ``permuted-<source>`` has all classes
    in each task, under one permutation of the raw pixels per task, alike in each channel.
    ``rotated-<source>`` likewise, with the images of task t turned anticlockwise by 360 t / T
    degrees. Checking a configuration needs no data.
    """

    dataset: str
    """Kind and source: split-, permuted- or rotated-, then the name of a source."""
    scenario: Scenario = Field(default=None, validate_default=True)
    """Task-, domain- or class-incremental; by default class-incremental for split streams and
    domain-incremental for the others."""
    tasks: PositiveInt = Field(default=5, validate_default=True)
    """Number of tasks T; for split streams it divides the number of classes."""
    class_order: Literal["natural", "seeded"] = "natural"
    """Split streams: classes as they are numbered, or in an order drawn with stream_seed."""
    permute_first: bool = True
    """Permuted streams: whether the first task is permuted too."""
    train_per_task: PositiveInt | None = None
    """Training images of each task, drawn with stream_seed; all of them by default."""
    stream_seed: int | Literal["same"] = 0
    """Moves the order of classes, permutations and subsets; same: the seed of each trial."""

    @property
    def kind(self) -> str:
        """``split``, ``permuted`` or ``rotated``."""
        return self.dataset.partition("-")[0]

    @property
    def source(self) -> Source:
        """Where the images come from."""
        return get_source(self.dataset.partition("-")[2])

    @field_validator("dataset")
    @classmethod
    def _known(cls, dataset: str) -> str:
        if dataset not in stream_names():
            raise ValueError(unknown("dataset", dataset, stream_names()))
        return dataset

    @field_validator("scenario", mode="before")
    @classmethod
    def _usual_scenario(cls, scenario: Any, info: ValidationInfo) -> Any:
        if scenario is None:
            return KINDS.get(_kind(info), Scenario.CLASS_INCREMENTAL)
        if isinstance(scenario, str):
            if scenario not in list(Scenario):
                raise ValueError(unknown("scenario", scenario, Scenario))
            return Scenario(scenario)
        return scenario

    @field_validator("tasks", mode="before")
    @classmethod
    def _usual_tasks(cls, tasks: Any) -> Any:
        return 5 if tasks is None else tasks

    @field_validator("tasks")
    @classmethod
    def _tasks_divide_classes(cls, tasks: int, info: ValidationInfo) -> int:
        if _kind(info) == "split":
            dataset = info.data["dataset"]
            classes = get_source(dataset.partition("-")[2]).classes
            if classes % tasks:
                possible = [str(n) for n in range(1, classes + 1) if classes % n == 0]
                raise ValueError(
                    f"the {classes} classes of {dataset} cannot be divided evenly among {tasks} "
                    f"tasks; possible: {', '.join(possible)}"
                )
        return tasks

    @field_validator("class_order", "permute_first")
    @classmethod
    def _fits_kind(cls, value: Any, info: ValidationInfo) -> Any:
        kind = _KIND_OF[str(info.field_name)]
        changed = value != cls.model_fields[str(info.field_name)].default
        if changed and _kind(info) not in ("", kind):
            raise ValueError(
                f"{info.field_name} is an option of {kind} streams, which "
                f"{info.data['dataset']} is not"
            )
        return value

    @field_validator("stream_seed", mode="before")
    @classmethod
    def _number_or_same(cls, seed: Any) -> Any:
        if seed != "same" and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise ValueError(f'should be a whole number, or "same" as the seed, not {seed!r}')
        return seed

    @classmethod
    def options_of(cls, dataset: object) -> set[str]:
        """Return the names of the options that a dataset has; all where it is unknown."""
        kind = str(dataset).partition("-")[0]
        others = {option for option, owner in _KIND_OF.items() if kind in KINDS and owner != kind}
        return set(cls.model_fields) - others

    def with_seed(self, seed: int) -> Self:
        """Return the stream of a trial with that seed.

        ``same`` becomes the seed. Where nothing is drawn the stream seed is 0, so that streams
        that are equal have equal configurations.
        """
        seeded, subset = self.class_order == "seeded", self.train_per_task is not None
        wanted = seed if self.stream_seed == "same" else self.stream_seed
        if not (self.kind == "permuted" or seeded or subset):
            wanted = 0
        return (
            self if wanted == self.stream_seed else self.model_copy(update={"stream_seed": wanted})
        )

    def info(self) -> StreamInfo:
        """Return what a method may know of the stream before it starts; no data are needed."""
        source, tasks = self.source, self.tasks
        domain = self.scenario is Scenario.DOMAIN_INCREMENTAL
        per_task = source.classes // tasks if self.kind == "split" else source.classes
        if domain:
            classes_of = (tuple(range(per_task)),) * tasks
        elif self.kind == "split":
            classes_of = self.class_chunks()
        else:
            classes_of = tuple(
                tuple(range(task * per_task, (task + 1) * per_task)) for task in range(tasks)
            )
        classes = per_task if domain else per_task * tasks
        return StreamInfo(self.scenario, tasks, source.shape, classes, classes_of)

    def class_chunks(self) -> tuple[tuple[int, ...], ...]:
        """Return, for a split stream, the classes of the source that each task gets."""
        classes = self.source.classes
        order = list(range(classes))
        if self.class_order == "seeded":
            generator = self.rng.generator("class order")
            order = torch.randperm(classes, generator=generator).tolist()
        size = classes // self.tasks
        return tuple(tuple(order[i : i + size]) for i in range(0, classes, size))

    def fingerprint(self, data_dir: Path) -> str:
        """Return the fingerprint of the data beneath the stream, without reading pixels.

        Raises as :func:`~orchestrator.data.cache.open_source` does.
        """
        return fingerprint(self.source.name, data_dir)

    @property
    def rng(self) -> Rng:
        """The generators of the stream, from ``stream_seed`` alone."""
        if self.stream_seed == "same":
            raise ValueError("stream_seed is tied to the seed of a trial: call with_seed() first")
        return Rng(self.stream_seed, "stream")


def _kind(info: ValidationInfo) -> str:
    """Return the kind of the stream under validation; empty where its name is unknown."""
    return str(info.data.get("dataset", "")).partition("-")[0]
