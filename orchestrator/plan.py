"""From a search space to the list of trials it means: unique, valid, each with its identity."""

from __future__ import annotations

import gc
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from methods.core.method import Method
from orchestrator.choices import MethodChoice, StreamChoice
from orchestrator.data.added import discover
from orchestrator.data.stream_config import StreamConfig
from orchestrator.identity import Environment, trial_id
from orchestrator.requirements import check_data, check_methods, check_resources, check_validation
from orchestrator.search_space import MethodEntry, SearchSpace, read_space
from orchestrator.space.grid import (
    check_other_budgets,
    check_scenarios,
    collapsed_axes,
    full_size,
    method_points,
    stream_points,
)
from orchestrator.space.meaning import without_meaning
from orchestrator.space.problems import Problems
from orchestrator.trial import Trial, TrialConfig
from orchestrator.trial_code import trial_code

#: More points than anybody runs; they would fill the memory.
_MOST_POINTS = 10_000_000


@dataclass(frozen=True, eq=False)
class _Method:
    """A method, and its part of a configuration as text."""

    choice: MethodChoice
    text: str


class _Point(NamedTuple):
    """A point of the grid, equal to another one if it is the same trial."""

    stream: StreamChoice
    method: _Method
    seed: int


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
        One line for each axis that collapses, for methods that are known by another name with their
        options, and for configurations given more than once.
    skipped : tuple of str
        One line for each combination that a method declares impossible.
    skipped_points : int
        Trials that these would have been.
    unused : tuple of str
        Options in methods' entries that have no meaning beside the others there.
    """

    space: SearchSpace
    environment: Environment
    trials: tuple[Trial, ...]
    points: int
    collapsed: tuple[str, ...]
    skipped: tuple[str, ...]
    skipped_points: int = 0
    unused: tuple[str, ...] = ()


def make_plan(
    space: str | Path | SearchSpace,
    data_dir: Path,
    budget: str | None = None,
    resources: Mapping[str, float] = MappingProxyType({}),
) -> Plan:
    """Expand a search space into its trials.

    Parameters
    ----------
    space : str, Path or SearchSpace
        A file, a packaged name, or what was read from one with the budget that is wanted.
    data_dir : Path
    budget : str, optional
        A named budget of the file; its own values by default.
    resources : mapping
        ``cpus`` or ``gpus`` of a trial, instead of what the file says.

    Raises
    ------
    UserError
        With every mistake of the file, data and machines that it lacks among them.
    """
    discover(data_dir)
    if isinstance(space, SearchSpace):
        problems = Problems(space.file)
    else:
        space, problems = read_space(space, budget)
    if resources:
        space = replace(space, resources=space.resources.model_copy(update=dict(resources)))
    with without_garbage_collection():
        return _plan(space, problems, data_dir)


def _check_size(space: SearchSpace, problems: Problems) -> None:
    """Refuse a grid that nobody could run, before its points fill the memory."""
    streams = math.prod(len(axis.values) for axis in space.stream)
    of_methods = sum(full_size(space, entry) for entry in space.methods)
    size = streams * of_methods * len(space.seeds)
    if size > _MOST_POINTS:
        problems.add((), f"spans a grid of {size:,} points; {_MOST_POINTS:,} are the most")
        problems.raise_if_any()


def _plan(space: SearchSpace, problems: Problems, data_dir: Path) -> Plan:
    _check_size(space, problems)
    streams = stream_points(space, problems)
    methods = [(entry, method_points(space, entry, problems)) for entry in space.methods]
    check_scenarios(space, streams, problems)
    check_data(streams, space.seeds, data_dir, problems)
    check_validation(streams, methods, problems)
    check_methods(streams, methods, problems)
    check_resources(space.resources, problems)
    check_other_budgets(space, problems)
    problems.raise_if_any()

    environment = Environment.here(space.resources.cpus, space.resources.gpus)
    unique, skipped, repeated = _unique_points(
        [point.stream for point in streams], methods, space.seeds
    )
    trials = tuple(_identified(unique, environment, data_dir))
    points = len(space.seeds) * sum(
        point.times * full_size(space, entry)
        for point, entry in itertools.product(streams, space.methods)
        if point.stream.scenario in entry.cls.scenarios & entry.scenarios
    )
    collapsed = [*collapsed_axes(space), *_other_names(methods)]
    if repeated:
        said = "point repeats" if repeated == 1 else "points repeat"
        collapsed.append(f"{repeated:,} {said} another one")
    unused = [line for entry, some in methods for line in without_meaning(space, entry, some)]
    return Plan(
        *(space, environment, trials, points, tuple(collapsed)),
        *(tuple(skipped), skipped.total(), tuple(dict.fromkeys(unused))),
    )


def _other_names(
    methods: Sequence[tuple[MethodEntry, Sequence[Method.Config]]],
) -> Iterator[str]:
    """Say of each method which of its options make another published one of it."""
    for entry, points in methods:
        names = Counter(entry.cls.named_point(options).name for options in points)
        for name, times in names.items():
            if name != entry.cls.name:
                of = "" if times == len(points) else f" at {times:,} of {len(points):,} points"
                yield f"{entry.cls.name} is {name} by these options{of}"


def count_trials(space: SearchSpace) -> int:
    """Count the unique trials of a search space, for which no data need be there.

    Raises
    ------
    UserError
        With every mistake in its values.
    """
    problems = Problems(space.file)
    streams = [point.stream for point in stream_points(space, problems)]
    methods = [(entry, method_points(space, entry, problems)) for entry in space.methods]
    problems.raise_if_any()
    return len(_unique_points(streams, methods, space.seeds)[0])


def _unique_points(
    streams: Sequence[StreamConfig],
    methods: Sequence[tuple[MethodEntry, Sequence[Method.Config]]],
    seeds: Sequence[int],
) -> tuple[list[_Point], Counter[str], int]:
    """Return the points of the grid, each once, those skipped by reason, and how many repeat."""
    known_streams: dict[str, StreamChoice] = {}
    known_methods: dict[str, _Method] = {}
    chosen = [
        (entry, [_known_method(entry.cls, options, known_methods) for options in points])
        for entry, points in methods
    ]
    unique: dict[_Point, None] = {}
    skipped: Counter[str] = Counter()
    repeated = 0
    for stream in streams:
        seeded = [(_known_stream(stream.with_seed(seed), known_streams), seed) for seed in seeds]
        for entry, choices in chosen:
            if stream.scenario not in entry.scenarios:
                continue  # nobody asked for it
            if stream.scenario not in entry.cls.scenarios:
                why = f"{entry.cls.name} is not defined for {stream.scenario} ({stream.dataset})"
                skipped[why] += len(choices) * len(seeds)
                continue
            before = len(unique)
            unique.update(
                (_Point(one, method, seed), None) for method in choices for one, seed in seeded
            )
            repeated += before + len(choices) * len(seeds) - len(unique)
    return list(unique), skipped, repeated


def _known_stream(config: StreamConfig, known: dict[str, StreamChoice]) -> StreamChoice:
    choice = StreamChoice(config)
    return known.setdefault(choice.text, choice)


def _known_method(cls: type[Method], options: Method.Config, known: dict[str, _Method]) -> _Method:
    choice = MethodChoice.of(cls, options)
    text = choice.text
    return known.setdefault(text, _Method(choice, text))


def _identified(
    points: Iterable[_Point], environment: Environment, data_dir: Path
) -> Iterator[Trial]:
    """Give each point of the grid its identity."""
    fingerprint = cache(lambda stream: stream.config.fingerprint(data_dir))
    code = cache(trial_code)
    for stream, method, seed in points:
        data, made_by = fingerprint(stream), code(method.choice.cls)
        known = trial_id(f"{method.text}{seed}{stream.text}", data, made_by, environment)
        yield Trial(known, TrialConfig.chosen(stream, method.choice, seed), data, made_by)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Look for no garbage meanwhile: of a large plan that takes longer than making it does."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
