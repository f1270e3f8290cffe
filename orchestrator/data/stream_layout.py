"""Which classes each task of a stream has, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class TaskLayout:
    """What a task consists of.

    Attributes
    ----------
    source : int
        Which of the stream's sources its images come from.
    classes : tuple of int
        The classes of that source that it has.
    labels : tuple of int
        What each of these is called in the label space of the stream.
    """

    source: int
    classes: tuple[int, ...]
    labels: tuple[int, ...]


def split_classes(order: Sequence[int], tasks: int, domains: bool) -> tuple[TaskLayout, ...]:
    """Divide the classes of a source evenly among the tasks.

    Parameters
    ----------
    order : sequence of int
        All classes of the source.
    tasks : int
        Divides the number of classes.
    domains : bool
        Whether tasks share their labels: a label is then the place of a class within its task,
        and otherwise the class itself.
    """
    size = len(order) // tasks
    chunks = [tuple(order[i : i + size]) for i in range(0, len(order), size)]
    return tuple(TaskLayout(0, chunk, tuple(range(size)) if domains else chunk) for chunk in chunks)


def whole_sources(
    sources: Sequence[int], classes: Sequence[int], domains: bool
) -> tuple[TaskLayout, ...]:
    """Give each task all classes of a source.

    Parameters
    ----------
    sources : sequence of int
        The source of each task.
    classes : sequence of int
        The number of classes of each task.
    domains : bool
        Whether tasks share their labels: the classes as they are numbered. Otherwise a task counts
        on from where the one before it ended.
    """
    tasks, start = [], 0
    for source, size in zip(sources, classes, strict=True):
        own = tuple(range(size))
        tasks.append(TaskLayout(source, own, tuple(range(start, start + size))))
        start += 0 if domains else size
    return tuple(tasks)
