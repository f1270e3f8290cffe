"""What trials need of a machine: data, cores, GPUs. Told before anything starts."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from methods.core.method import Method
from orchestrator.data.cache import MissingData, check_available, class_counts
from orchestrator.data.stream_config import StreamConfig
from orchestrator.errors import UserError
from orchestrator.identity import Environment
from orchestrator.search_space import MethodEntry
from orchestrator.space.config import Resources
from orchestrator.space.grid import StreamPoint
from orchestrator.space.problems import Problems
from orchestrator.space.yaml_file import Place


def check_data(
    points: Iterable[StreamPoint],
    seeds: Sequence[int],
    data_dir: Path,
    problems: Problems,
) -> None:
    """Note data that are missing, and tasks that have fewer images than they should give."""
    too_many: dict[Place, tuple[int, str]] = {}
    for stream, places, _ in points:
        missing = list(_missing(stream, data_dir))
        for message in missing:
            problems.add(places["dataset"], message)
        for option in () if missing else ("train_per_task", "test_per_task"):
            wanted = getattr(stream, option)
            if wanted is None:
                continue
            place, drawn = places[option], {stream.with_seed(s) for s in seeds or (0,)}
            test = option == "test_per_task"
            least = min(_smallest_task(one, data_dir, test=test) for one in drawn)
            if wanted > least:
                message = (
                    f"should be at most {least}, the {'test' if test else 'training'} images of "
                    f"the smallest of {stream.tasks} tasks of {stream.dataset}, not {wanted}"
                )
                too_many[place] = min(too_many.get(place, (least, message)), (least, message))
    for place, (_, message) in too_many.items():
        problems.add(place, message)


def check_validation(
    points: Iterable[StreamPoint],
    methods: Iterable[tuple[MethodEntry, Sequence[Method.Config]]],
    problems: Problems,
) -> None:
    """Note methods that look at validation data where a stream holds none out."""
    without = sorted({p.stream.dataset for p in points if p.stream.validation is None})
    if not without:
        return
    needing: defaultdict[Place, set[str]] = defaultdict(set)
    for entry, options in methods:
        if any(o.needs_validation for o in options):
            needing[_place_of_budget(entry, problems)].add(entry.cls.name)
    for place, names in needing.items():
        stop, have = ("stops" if len(names) == 1 else "stop"), ("has", "have")[len(without) > 1]
        problems.add(
            place,
            f"{', '.join(sorted(names))} {stop} early by validation data, of which "
            f"{', '.join(without)} {have} none; add a share of the training data, such as "
            "validation: 0.1",
        )


def check_methods(
    points: Iterable[StreamPoint],
    methods: Iterable[tuple[MethodEntry, Sequence[Method.Config]]],
    problems: Problems,
) -> None:
    """Note options with which a method cannot learn a stream that it is to learn."""
    streams = {point.stream.with_seed(0).info(): point.stream for point in points}
    for entry, options in methods:
        scenarios = entry.cls.scenarios & entry.scenarios
        reasons: dict[str, str] = {}
        for info, stream in streams.items():
            if info.scenario not in scenarios:
                continue
            for config in options:
                try:
                    entry.cls.check_stream(config, info)
                except ValueError as error:
                    reasons.setdefault(str(error), stream.dataset)
        for reason, dataset in reasons.items():
            problems.add(entry.place, f"cannot learn {dataset}: {reason}")


def check_resources(resources: Resources, problems: Problems) -> None:
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


def _place_of_budget(entry: MethodEntry, problems: Problems) -> Place:
    """Return where it is said how long a method of a file learns: in its own entry, or above."""
    own: list[Place] = [(*entry.place, a.key) for a in entry.axes if a.option == "budget"]
    above: list[Place] = [(k,) for k in problems.file.value if k.partition(".")[0] == "budget"]
    return next(iter([*own[::-1], *above[::-1]]), ())


def _missing(stream: StreamConfig, data_dir: Path) -> Iterator[str]:
    """Say of each source of a stream that is not there how to get it."""
    for name in dict.fromkeys(source.name for source in stream.sources):
        try:
            check_available(name, data_dir)
        except MissingData as error:
            yield str(error)


def _smallest_task(stream: StreamConfig, data_dir: Path, *, test: bool) -> int:
    """Return how many training or test images the task has that has the fewest."""
    counts = [class_counts(source.name, data_dir, test=test) for source in stream.sources]
    return min(sum(counts[part.source][c] for c in part.classes) for part in stream.layout())
