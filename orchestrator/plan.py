"""From a search space to the list of trials it means: unique, valid, each with its identity."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from methods.core.method import Method
from orchestrator.data.added import discover
from orchestrator.data.stream_config import StreamConfig
from orchestrator.grid import (
    check_other_budgets,
    collapsed_axes,
    full_size,
    method_points,
    stream_points,
)
from orchestrator.identity import Environment, canonical_json, code_hash, trial_id
from orchestrator.problems import Problems
from orchestrator.requirements import check_data, check_resources, check_validation
from orchestrator.search_space import MethodEntry, SearchSpace, read_space
from orchestrator.trial import Trial, TrialConfig

#: Code outside a method that makes the numbers of a record: how streams are made, how a trial goes
#: through them, how it is tested and how that is summed up.
_TRIAL_CODE = (
    "orchestrator.data.streams",
    "orchestrator.evaluation",
    "orchestrator.metrics",
    "orchestrator.trial_run",
)
#: What that code imports and cannot change a number, such as what watches and keeps a trial, or
#: what another ingredient of the identity answers for: the fingerprint for data, so that a new
#: source leaves all other trials as they are, and the canonical configuration for the words in
#: which a trial is described.
_OTHER_CODE = frozenset(
    {
        *("orchestrator.data", "orchestrator.data.cache", "orchestrator.data.sources"),
        *("orchestrator.errors", "orchestrator.identity"),
        *("orchestrator.results", "orchestrator.trial"),
        *("orchestrator.checkpoints", "orchestrator.curves", "orchestrator.trial_log"),
        "orchestrator.watch",
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
        One line for each axis that collapses, for methods that are known by another name with their
        options, and for configurations given more than once.
    skipped : tuple of str
        One line for each combination that a method declares impossible.
    """

    space: SearchSpace
    environment: Environment
    trials: tuple[Trial, ...]
    points: int
    collapsed: tuple[str, ...]
    skipped: tuple[str, ...]


def make_plan(space: str | Path | SearchSpace, data_dir: Path, budget: str | None = None) -> Plan:
    """Expand a search space into its trials.

    Parameters
    ----------
    space : str, Path or SearchSpace
        A file, a packaged name, or what was read from one with the budget that is wanted.
    data_dir : Path
    budget : str, optional
        A named budget of the file; its own values by default.

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
    streams = stream_points(space, problems)
    methods = [(entry, method_points(space, entry, problems)) for entry in space.methods]
    check_data(streams, space.seeds, data_dir, problems)
    check_validation(streams, methods, problems)
    check_resources(space.resources, problems)
    check_other_budgets(space, problems)
    problems.raise_if_any()

    environment = Environment.here(space.resources.cpus, space.resources.gpus)
    configs, skipped, repeated = _unique_configs(
        [point.stream for point in streams], methods, space.seeds
    )
    trials = tuple(_identified(config, environment, data_dir) for config in configs)
    points = len(space.seeds) * sum(
        point.times * full_size(space, entry)
        for point, entry in itertools.product(streams, space.methods)
        if point.stream.scenario in entry.cls.scenarios
    )
    collapsed = [*collapsed_axes(space), *_other_names(methods)]
    if repeated:
        said = "point repeats" if repeated == 1 else "points repeat"
        collapsed.append(f"{repeated} {said} another one")
    return Plan(space, environment, trials, points, tuple(collapsed), tuple(skipped))


def _other_names(
    methods: Sequence[tuple[MethodEntry, Sequence[Method.Config]]],
) -> Iterator[str]:
    """Say of each method which of its options make another published one of it."""
    for entry, points in methods:
        names = Counter(entry.cls.named_point(options).name for options in points)
        for name, times in names.items():
            if name != entry.cls.name:
                of = "" if times == len(points) else f" at {times} of {len(points)} points"
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
    return len(_unique_configs(streams, methods, space.seeds)[0])


def _identified(config: TrialConfig, environment: Environment, data_dir: Path) -> Trial:
    data = config.stream.fingerprint(data_dir)
    code = trial_code(config.cls)
    return Trial(trial_id(config.canonical, data, code, environment), config, data, code)


def trial_code(method: type[Method]) -> str:
    """Return the hash of all code that makes the numbers of a method's trials."""
    return code_hash(method.__module__, *_TRIAL_CODE, without=_OTHER_CODE)


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
            config = TrialConfig.of(stream.with_seed(seed), entry.cls, options, seed)
            key = canonical_json(config.canonical)
            repeated += key in configs
            configs.setdefault(key, config)
    return list(configs.values()), list(skipped), repeated
