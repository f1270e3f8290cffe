"""From a search space to the list of trials it means: unique, valid, each with its identity."""

from __future__ import annotations

import itertools
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from pydantic import ValidationError

from methods.core.method import Method
from orchestrator.data.cache import MissingData, check_available, train_counts
from orchestrator.data.stream_config import StreamConfig
from orchestrator.errors import UserError
from orchestrator.identity import Environment, canonical_json, code_hash, trial_id
from orchestrator.problems import Problems
from orchestrator.search_space import Axis, MethodEntry, Resources, SearchSpace, read_space
from orchestrator.trial import Trial, TrialConfig
from orchestrator.yaml_file import Place

#: Code outside a method that makes the numbers of a record: how streams are made, how a trial goes
#: through them, how it is tested and how that is summed up.
_TRIAL_CODE = (
    "orchestrator.data.streams",
    "orchestrator.evaluation",
    "orchestrator.metrics",
    "orchestrator.trial_run",
)
#: What that code imports and cannot change a number, or what another ingredient of the identity
#: answers for: the fingerprint for data, so that a new source leaves all other trials as they are,
#: and the canonical configuration for the words in which a trial is described.
_OTHER_CODE = frozenset(
    {
        *("orchestrator.data", "orchestrator.data.cache", "orchestrator.data.sources"),
        *("orchestrator.errors", "orchestrator.identity"),
        *("orchestrator.results", "orchestrator.trial"),
    }
)


@dataclass(frozen=True)
class Plan:
    """What a search space comes to.

    Attributes
    ----------
    space : SearchSpace
    environment : Environment
        Numerical environment of the trials.
    trials : tuple of Trial
        Unique, in the order of the grid.
    points : int
        Points of the grid, had every method every axis that it does not set itself.
    collapsed : tuple of str
        One line for each axis that collapses, and for configurations given more than once.
    skipped : tuple of str
        One line for each combination that a method declares impossible.
    """

    space: SearchSpace
    environment: Environment
    trials: tuple[Trial, ...]
    points: int
    collapsed: tuple[str, ...]
    skipped: tuple[str, ...]


def make_plan(space: str | Path | SearchSpace, data_dir: Path) -> Plan:
    """Expand a search space into its trials.

    Raises
    ------
    UserError
        With every mistake of the file, data and machines that it lacks among them.
    """
    if isinstance(space, SearchSpace):
        problems = Problems(space.file)
    else:
        space, problems = read_space(space)
    streams = _stream_points(space, data_dir, problems)
    methods = [(entry, _method_points(space, entry, problems)) for entry in space.methods]
    _check_resources(space.resources, problems)
    problems.raise_if_any()

    environment = Environment.here(space.resources.cpus, space.resources.gpus)
    configs, skipped, repeated = _unique_configs(
        [stream for stream, _ in streams], methods, space.seeds
    )
    trials = tuple(_identified(config, environment, data_dir) for config in configs)
    points = len(space.seeds) * sum(
        times * _full_grid(space, entry)
        for (stream, times), entry in itertools.product(streams, space.methods)
        if stream.scenario in entry.cls.scenarios
    )
    collapsed = [*_collapsed_axes(space)]
    if repeated:
        collapsed.append(f"{repeated} points repeat another one")
    return Plan(space, environment, trials, points, tuple(collapsed), tuple(skipped))


def _full_grid(space: SearchSpace, entry: MethodEntry) -> int:
    """Count the combinations that a method would have if no axis collapsed for it."""
    axes = [*_not_overridden(space.shared, entry), *entry.axes]
    return math.prod(len(axis.values) for axis in axes)


def _not_overridden(shared: Sequence[Axis], entry: MethodEntry) -> list[Axis]:
    """Return the shared axes but for those that an entry sets, or whose whole option it sets."""
    own = {axis.key for axis in entry.axes}
    return [axis for axis in shared if not own.intersection(_enclosing(axis.key))]


def _enclosing(key: str) -> Iterator[str]:
    """Yield ``a``, ``a.b`` and ``a.b.c`` for ``a.b.c``."""
    return itertools.accumulate(key.split("."), "{}.{}".format)


def _identified(config: TrialConfig, environment: Environment, data_dir: Path) -> Trial:
    data = config.stream.fingerprint(data_dir)
    code = code_hash(config.cls.__module__, *_TRIAL_CODE, without=_OTHER_CODE)
    return Trial(trial_id(config.canonical, data, code, environment), config, data, code)


def _unique_configs(
    streams: Sequence[StreamConfig],
    methods: Sequence[tuple[MethodEntry, Sequence[Method.Config]]],
    seeds: Sequence[int],
) -> tuple[list[TrialConfig], list[str], int]:
    """Return the configurations, each once, what was skipped, and how many points repeated one."""
    configs: dict[str, TrialConfig] = {}
    skipped: dict[str, None] = {}
    repeated = 0
    for stream, (entry, points) in itertools.product(streams, methods):
        name = entry.cls.name
        if stream.scenario not in entry.cls.scenarios:
            skipped[f"{name} is not defined for {stream.scenario} ({stream.dataset})"] = None
            continue
        for options, seed in itertools.product(points, seeds):
            config = TrialConfig(stream.with_seed(seed), name, options, seed)
            key = canonical_json(config.canonical)
            repeated += key in configs
            configs.setdefault(key, config)
    return list(configs.values()), list(skipped), repeated


def _default_names(model: type[Method.Config]) -> dict[str, dict[str, Any]]:
    """Return, of options that are told apart by a name, the one that is the default."""
    fields = (
        (key, f.get_default(call_default_factory=True)) for key, f in model.model_fields.items()
    )
    return {key: {"name": value.name} for key, value in fields if hasattr(value, "name")}


def _combinations(
    axes: Sequence[Axis], named: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[tuple[dict[str, Any], dict[str, Place]]]:
    """Each combination of the axes' values: options, and where each option stands.

    ``optimizer.lr`` reaches into the optimizer that is given, or else into the one in ``named``.
    """
    for index in itertools.product(*(range(len(axis.values)) for axis in axes)):
        options: dict[str, Any] = {}
        places: dict[str, Place] = {}
        for axis, i in zip(axes, index, strict=True):
            head, *inner = axis.key.split(".")
            if inner:
                base = options.get(head, named.get(head))
                options[head] = _merged(base, inner, axis.values[i])
                places.setdefault(head, axis.places[i])
            else:
                options[head] = axis.values[i]
            places[axis.key] = axis.places[i]
        yield options, places


def _merged(base: Any, path: Sequence[str], value: Any) -> dict[str, Any]:
    """Set a value inside a mapping, ``optimizer`` + ``lr``, without changing the original."""
    mapping = dict(base) if isinstance(base, dict) else {"name": base} if base else {}
    head, *rest = path
    mapping[head] = _merged(mapping.get(head), rest, value) if rest else value
    return mapping


def _by_depth(axes: Sequence[Axis]) -> list[Axis]:
    """Whole options before what reaches into them."""
    return sorted(axes, key=lambda axis: "." in axis.key)


def _stream_points(
    space: SearchSpace, data_dir: Path, problems: Problems
) -> list[tuple[StreamConfig, int]]:
    """Return the streams, each with the number of combinations that collapse to it."""
    points: dict[tuple[str, ...], tuple[StreamConfig, Mapping[str, Place]]] = {}
    times: Counter[tuple[str, ...]] = Counter()
    used: set[str] = set()
    for options, places in _combinations(space.stream):
        if "dataset" not in options:
            continue
        wanted = StreamConfig.options_of(options["dataset"])
        used |= wanted
        fitting = {key: value for key, value in options.items() if key in wanted}
        # A value that is given twice stands in two places: that is no collapse.
        where = {key: place for key, place in places.items() if key in wanted}
        key = (repr(fitting), repr(where))
        times[key] += 1
        if times[key] > 1:
            continue
        try:
            stream = StreamConfig.model_validate(fitting)
        except ValidationError as error:
            problems.add_validation(error, StreamConfig, places, ())
        else:
            points[key] = stream, places
    for axis in space.stream:
        if used and axis.option not in used:
            problems.add((axis.key,), "none of the datasets here has this option")
    _check_data(points.values(), space.seeds, data_dir, problems)
    return [(stream, times[key]) for key, (stream, _) in points.items()]


def _check_data(
    streams: Iterable[tuple[StreamConfig, Mapping[str, Place]]],
    seeds: Sequence[int],
    data_dir: Path,
    problems: Problems,
) -> None:
    """Note data that are missing, and tasks that have fewer images than they should give."""
    too_many: dict[Place, tuple[int, str]] = {}
    for stream, places in streams:
        try:
            check_available(stream.source.name, data_dir)
        except MissingData as error:
            problems.add(places["dataset"], str(error))
            continue
        wanted = stream.train_per_task
        if wanted is None:
            continue
        place, drawn = places["train_per_task"], {stream.with_seed(s) for s in seeds or (0,)}
        least = min(_smallest_task(one, data_dir) for one in drawn)
        if wanted > least:
            message = (
                f"should be at most {least}, the training images of the smallest of "
                f"{stream.tasks} tasks of {stream.dataset}, not {wanted}"
            )
            too_many[place] = min(too_many.get(place, (least, message)), (least, message))
    for place, (_, message) in too_many.items():
        problems.add(place, message)


def _smallest_task(stream: StreamConfig, data_dir: Path) -> int:
    """Return how many training images the task has that has the fewest."""
    counts = train_counts(stream.source.name, data_dir)
    if stream.kind != "split":
        return sum(counts)
    return min(sum(counts[label] for label in chunk) for chunk in stream.class_chunks())


def _check_resources(resources: Resources, problems: Problems) -> None:
    """Note what a trial asks for and no machine here has."""
    if os.environ.get("RAY_ADDRESS"):  # its machines are not this one
        there: dict[str, float] = {}
    else:
        there = {"cpus": os.cpu_count() or 1, "gpus": torch.cuda.device_count()}
    try:
        Environment.here(resources.cpus, resources.gpus)
    except UserError as error:
        problems.add(("resources", "gpus"), str(error))
        there.pop("gpus", None)
    for kind, most in there.items():
        wanted = getattr(resources, kind)
        if wanted > most:
            problems.add(
                ("resources", kind),
                f"should be at most {most:g}, what this machine has, not {wanted:g}",
            )


def _method_points(
    space: SearchSpace, entry: MethodEntry, problems: Problems
) -> list[Method.Config]:
    shared = [a for a in _not_overridden(space.shared, entry) if a.option in entry.cls.axes]
    named = _default_names(entry.cls.Config)
    points: list[Method.Config] = []
    for options, places in _combinations(_by_depth([*shared, *entry.axes]), named):
        try:
            points.append(entry.cls.Config.model_validate(options))
        except ValidationError as error:
            problems.add_validation(error, entry.cls.Config, places, entry.place)
    return points


def _collapsed_axes(space: SearchSpace) -> Iterator[str]:
    for axis in space.stream:
        datasets = {a for x in space.stream if x.key == "dataset" for a in x.values}
        without = sorted(a for a in datasets if axis.option not in StreamConfig.options_of(a))
        if len(axis.values) > 1 and without:
            yield f"{axis.key} {list(axis.values)} collapses for {', '.join(without)}"
    for axis in space.shared:
        without = sorted({e.cls.name for e in space.methods if axis.option not in e.cls.axes})
        if len(axis.values) > 1 and without:
            yield f"{axis.key} {list(axis.values)} collapses for {', '.join(without)}"
