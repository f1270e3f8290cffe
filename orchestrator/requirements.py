"""What trials need of a machine: data, cores, GPUs. Told before anything starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from orchestrator.data.cache import MissingData, check_available, train_counts
from orchestrator.data.stream_config import StreamConfig
from orchestrator.errors import UserError
from orchestrator.grid import StreamPoint
from orchestrator.identity import Environment
from orchestrator.problems import Problems
from orchestrator.search_space import Resources
from orchestrator.yaml_file import Place


def check_data(
    points: Iterable[StreamPoint],
    seeds: Sequence[int],
    data_dir: Path,
    problems: Problems,
) -> None:
    """Note data that are missing, and tasks that have fewer images than they should give."""
    too_many: dict[Place, tuple[int, str]] = {}
    for stream, places, _ in points:
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


def _smallest_task(stream: StreamConfig, data_dir: Path) -> int:
    """Return how many training images the task has that has the fewest."""
    counts = train_counts(stream.source.name, data_dir)
    if stream.kind != "split":
        return sum(counts)
    return min(sum(counts[label] for label in chunk) for chunk in stream.class_chunks())
