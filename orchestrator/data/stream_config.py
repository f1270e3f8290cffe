"""Which tasks a stream has: its configuration, checked without any data."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self

import torch
from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from methods.core.config import Config
from methods.core.rng import Rng
from methods.core.task import Scenario, StreamInfo
from orchestrator.data import stream_checks as checks
from orchestrator.data.cache import fingerprint
from orchestrator.data.sources import Source
from orchestrator.data.stream_layout import TaskLayout, split_classes, whole_sources
from orchestrator.data.stream_names import KINDS, SEQUENCE, StreamName, kind_of, parse_name
from orchestrator.errors import unknown

#: Options that only some kinds of streams have.
_KINDS_OF: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "tasks": KINDS,
        "class_order": ("split",),
        "permute_first": ("permuted",),
        "permute": ("permuted",),
        "max_angle": ("rotated",),
    }
)
_CHECKS: Mapping[str, Callable[[Any, StreamName], None]] = MappingProxyType(
    {
        "scenario": checks.check_scenario,
        "tasks": checks.check_tasks,
        "pad_to": checks.check_padding,
    }
)


class StreamConfig(Config):
    """A task stream.

    ``split-<source>`` divides the classes among the tasks. ``permuted-<source>`` has all classes
    in each task, under one permutation of the pixels per task, alike in each channel.
    ``rotated-<source>`` likewise, with the images turned anticlockwise. ``<source>+<source>`` has
    one task for each source, with all its classes: zeros surround images to the largest height and
    width, and a single channel is repeated where other sources have more. Checking a configuration
    needs no data.
    """

    dataset: str
    """Kind and source, as in split-mnist, permuted-mnist or rotated-mnist, or the source of each
    task, as in mnist+svhn; two of them may be joined by a hyphen."""
    scenario: Scenario = Field(default=None, validate_default=True)
    """Task-, domain- or class-incremental; by default class-incremental for split streams and for
    sources that differ in their number of classes, and domain-incremental for the others."""
    tasks: PositiveInt = Field(default=None, validate_default=True)
    """Number of tasks T, by default 5; for split streams it divides the number of classes, and
    where 5 does not, tasks have two classes by default; for several sources it is their number."""
    class_order: Literal["natural", "seeded"] = "natural"
    """Split streams: classes as they are numbered, or in an order drawn with stream_seed."""
    permute_first: bool = True
    """Permuted streams: whether the first task is permuted too."""
    max_angle: float = Field(default=360.0, gt=0, le=360)
    """Rotated streams: task t, counted from 0, is turned by max_angle t / T degrees."""
    pad_to: PositiveInt | None = None
    """Height and width that zeros around the images bring them to; none by default."""
    resize: PositiveInt | None = None
    """Height and width that images are scaled to, bilinearly; as they are by default."""
    permute: Literal["raw", "padded"] = "raw"
    """Permuted streams with pad_to: whether pixels are permuted before the images are padded, or
    after, the zeros among them."""
    train_per_task: PositiveInt | None = None
    """Training images of each task, drawn with stream_seed; all of them by default."""
    test_per_task: PositiveInt | None = None
    """Test images of each task, drawn with stream_seed; all of them by default."""
    validation: float | None = Field(default=None, gt=0, lt=1)
    """Share of the training images of each task and class that is held out, drawn with
    stream_seed; none by default."""
    stream_seed: int | Literal["same"] = 0
    """Moves the order of classes, permutations, subsets and what is held out; same: the seed of
    each trial."""

    @property
    def kind(self) -> str:
        """``split``, ``permuted``, ``rotated`` or ``sequence``."""
        return self._name.kind

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where the images come from: one source, or those of a sequence's tasks."""
        return checks.sources_of(self._name)

    @property
    def _name(self) -> StreamName:
        return parse_name(self.dataset)

    @field_validator("dataset")
    @classmethod
    def _known(cls, dataset: str) -> str:
        name = parse_name(dataset)
        checks.check_channels(name)
        return name.canonical

    @field_validator("scenario", mode="before")
    @classmethod
    def _usual_scenario(cls, scenario: Any, info: ValidationInfo) -> Any:
        if scenario is None:
            name = _valid_name(info)
            return checks.usual_scenario(name) if name else Scenario.CLASS_INCREMENTAL
        if isinstance(scenario, str):
            if scenario not in list(Scenario):
                raise ValueError(unknown("scenario", scenario, Scenario))
            return Scenario(scenario)
        return scenario

    @field_validator("tasks", mode="before")
    @classmethod
    def _usual_tasks(cls, tasks: Any, info: ValidationInfo) -> Any:
        if tasks is not None:
            return tasks
        name = _valid_name(info)
        return checks.usual_tasks(name) if name else 1

    @field_validator("class_order", "permute_first", "permute", "max_angle")
    @classmethod
    def _fits_kind(cls, value: Any, info: ValidationInfo) -> Any:
        (kind,), name = _KINDS_OF[str(info.field_name)], _valid_name(info)
        changed = value != cls.model_fields[str(info.field_name)].default
        if changed and name and name.kind != kind:
            raise ValueError(
                f"{info.field_name} is an option of {kind} streams, which {name.canonical} is not"
            )
        return value

    @field_validator("scenario", "tasks", "pad_to")
    @classmethod
    def _fits_sources(cls, value: Any, info: ValidationInfo) -> Any:
        name = _valid_name(info)
        if name is not None and value is not None:
            _CHECKS[str(info.field_name)](value, name)
        return value

    @field_validator("resize")
    @classmethod
    def _one_size(cls, resize: int | None, info: ValidationInfo) -> int | None:
        if resize is not None and info.data.get("pad_to") is not None:
            raise ValueError("give pad_to or resize, not both")
        return resize

    @field_validator("permute")
    @classmethod
    def _padded_first(cls, permute: str, info: ValidationInfo) -> str:
        if permute == "padded" and "pad_to" in info.data and info.data["pad_to"] is None:
            raise ValueError("nothing is padded; give pad_to too, as in pad_to: 32")
        return permute

    @field_validator("validation")
    @classmethod
    def _can_be_held_out(cls, share: float | None, info: ValidationInfo) -> float | None:
        name, (size, tasks) = _valid_name(info), map(info.data.get, ("train_per_task", "tasks"))
        if share is not None and name and size and tasks:
            checks.check_train_size(size, tasks, name)
        return share

    @field_validator("stream_seed", mode="before")
    @classmethod
    def _number_or_same(cls, seed: Any) -> Any:
        if seed != "same" and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise ValueError(f'should be a whole number, or "same" as the seed, not {seed!r}')
        return seed

    @classmethod
    def options_of(cls, dataset: object) -> set[str]:
        """Return the names of the options that a dataset has; all where it is unknown."""
        kind = kind_of(dataset)
        others = {o for o, kinds in _KINDS_OF.items() if kind and kind not in kinds}
        return set(cls.model_fields) - others

    def canonical(self) -> dict[str, Any]:
        """Return the options that the dataset has, defaults included, as plain JSON types."""
        wanted = self.options_of(self.dataset)
        return {key: value for key, value in super().canonical().items() if key in wanted}

    def with_seed(self, seed: int) -> Self:
        """Return the stream of a trial with that seed.

        Streams that are equal get equal configurations: ``same`` becomes the seed, the stream seed
        is 0 where nothing is drawn, and a size that the images have already is left out.
        """
        drawn = self.kind == "permuted" or self.class_order == "seeded"
        shares = self.train_per_task, self.test_per_task, self.validation
        drawn = drawn or any(share is not None for share in shares)
        wanted = seed if self.stream_seed == "same" else self.stream_seed
        update: dict[str, Any] = {"stream_seed": wanted if drawn else 0}
        sizes = {source.shape[1:] for source in self.sources}
        if self.pad_to and checks.largest_shape(self._name)[1:] == (self.pad_to, self.pad_to):
            update |= {"pad_to": None, "permute": "raw"}
        if self.resize and sizes == {(self.resize, self.resize)}:
            update["resize"] = None
        changed = any(getattr(self, key) != value for key, value in update.items())
        return self.model_copy(update=update) if changed else self

    def info(self) -> StreamInfo:
        """Return what a method may know of the stream before it starts; no data are needed."""
        channels, height, width = checks.largest_shape(self._name)
        size = self.resize or self.pad_to
        shape = (channels, size or height, size or width)
        classes_of = tuple(part.labels for part in self.layout())
        classes = 1 + max(max(labels) for labels in classes_of)
        return StreamInfo(self.scenario, self.tasks, shape, classes, classes_of)

    def layout(self) -> tuple[TaskLayout, ...]:
        """Return what each task consists of; no data are needed."""
        domains = self.scenario is Scenario.DOMAIN_INCREMENTAL
        classes = [source.classes for source in self.sources]
        if self.kind == SEQUENCE:
            return whole_sources(range(self.tasks), classes, domains)
        if self.kind != "split":
            return whole_sources([0] * self.tasks, classes * self.tasks, domains)
        order = list(range(*classes))
        if self.class_order == "seeded":
            generator = self.rng.generator("class order")
            order = torch.randperm(*classes, generator=generator).tolist()
        return split_classes(order, self.tasks, domains)

    def fingerprint(self, data_dir: Path) -> str:
        """Return the fingerprint of the data beneath the stream, without reading pixels.

        Raises as :func:`~orchestrator.data.cache.open_source` does.
        """
        return joint_fingerprint([fingerprint(source.name, data_dir) for source in self.sources])

    @property
    def rng(self) -> Rng:
        """The generators of the stream, from ``stream_seed`` alone."""
        if self.stream_seed == "same":
            raise ValueError("stream_seed is tied to the seed of a trial: call with_seed() first")
        return Rng(self.stream_seed, "stream")


def joint_fingerprint(fingerprints: Sequence[str]) -> str:
    """Return the fingerprint of several sources in their order; of one source its own."""
    if len(fingerprints) == 1:
        return fingerprints[0]
    return hashlib.sha256("\n".join(fingerprints).encode()).hexdigest()


def _valid_name(info: ValidationInfo) -> StreamName | None:
    """Return the name of the stream under validation; None where it is unknown."""
    dataset = info.data.get("dataset")
    return None if dataset is None else parse_name(dataset)
