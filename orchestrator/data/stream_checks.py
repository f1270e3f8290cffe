"""What the options of a task stream must satisfy, given its sources; no data are needed."""

from __future__ import annotations

from methods.core.task import Scenario
from orchestrator.data.sources import Source, get_source
from orchestrator.data.stream_names import SEQUENCE, StreamName


def sources_of(name: StreamName) -> tuple[Source, ...]:
    """Return the sources of a stream: one, or those of a sequence's tasks."""
    return tuple(get_source(source) for source in name.sources)


def largest_shape(name: StreamName) -> tuple[int, int, int]:
    """Return the most channels, the largest height and the largest width of the sources."""
    channels, heights, widths = zip(*(source.shape for source in sources_of(name)), strict=True)
    return max(channels), max(heights), max(widths)


def check_channels(name: StreamName) -> None:
    """Check that the sources can be brought to one shape.

    Raises
    ------
    ValueError
        If two of them have colours, and not the same number of channels.
    """
    channels = {source.name: source.shape[0] for source in sources_of(name)}
    if len(set(channels.values()) - {1}) > 1:
        raise ValueError(
            f"images of {name.canonical} have no number of channels in common: {_each(channels)}; "
            "only a single one can be repeated"
        )


def usual_scenario(name: StreamName) -> Scenario:
    """Return the scenario of a stream that is given none."""
    same = len({source.classes for source in sources_of(name)}) == 1
    split = name.kind == "split"
    return Scenario.DOMAIN_INCREMENTAL if same and not split else Scenario.CLASS_INCREMENTAL


def check_scenario(scenario: Scenario, name: StreamName) -> None:
    """Check that a sequence of sources can be had in a scenario.

    Raises
    ------
    ValueError
        If it cannot.
    """
    classes = {source.name: source.classes for source in sources_of(name)}
    if scenario is Scenario.DOMAIN_INCREMENTAL and len(set(classes.values())) > 1:
        raise ValueError(
            f"sources of {name.canonical} differ in their number of classes, {_each(classes)}: "
            "it cannot be domain-incremental; possible: class-incremental, task-incremental"
        )
    if scenario is Scenario.CLASS_INCREMENTAL and len(classes) < len(name.sources):
        raise ValueError(
            f"{name.canonical} has a source twice, the same images under other labels: it cannot "
            "be class-incremental; possible: domain-incremental, task-incremental"
        )


def usual_tasks(name: StreamName) -> int:
    """Return the number of tasks of a stream that is given none."""
    if name.kind == SEQUENCE:
        return len(name.sources)
    classes = sources_of(name)[0].classes
    pairs_only = name.kind == "split" and classes % 5 and not classes % 2
    return classes // 2 if pairs_only else 5


def check_tasks(tasks: int, name: StreamName) -> None:
    """Check that a stream can have a number of tasks.

    Raises
    ------
    ValueError
        If it does not divide the classes of a split stream, or is not the number of sources of a
        sequence.
    """
    if name.kind == SEQUENCE and tasks != len(name.sources):
        raise ValueError(
            f"should be left out, or {len(name.sources)}, the number of sources of "
            f"{name.canonical}, not {tasks}"
        )
    classes = sources_of(name)[0].classes
    if name.kind == "split" and classes % tasks:
        possible = ", ".join(str(n) for n in range(1, classes + 1) if classes % n == 0)
        raise ValueError(
            f"the {classes} classes of {name.canonical} cannot be divided evenly among {tasks} "
            f"tasks; possible: {possible}"
        )


def check_padding(size: int, name: StreamName) -> None:
    """Check that images fit into a square.

    Raises
    ------
    ValueError
        If one is larger.
    """
    largest = max(largest_shape(name)[1:])
    if size < largest:
        raise ValueError(
            f"should be at least {largest}, the largest height or width of images of "
            f"{name.canonical}, not {size}"
        )


def check_train_size(size: int, tasks: int, name: StreamName) -> None:
    """Check that of any so many images of a task, two are of the same class.

    Raises
    ------
    ValueError
        If each of them could be the only one of its class, so that none could be held out.
    """
    classes = max(source.classes for source in sources_of(name))
    classes //= tasks if name.kind == "split" else 1
    if size <= classes:
        raise ValueError(
            f"needs train_per_task to be at least {classes + 1}, one more than a task of "
            f"{name.canonical} has classes, not {size}"
        )


def _each(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())
