"""Curves of a trial: what it was like between its tasks; files beside the records.

A curve is a number over the iterations of training, counted over all tasks: losses always, and the
accuracy on each task where it was watched. Curves explain a trial and decide nothing, so they are
no part of its record, and a results folder without them is complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from orchestrator.storage import Storage

#: Columns of the file of a trial's curves: ``iteration`` counts over all tasks, ``task`` is the one
#: that was being learnt, counted from 1.
SCHEMA = pa.schema(
    [
        pa.field("name", pa.string()),
        pa.field("task", pa.int32()),
        pa.field("iteration", pa.int64()),
        pa.field("value", pa.float64()),
    ]
)
#: Names of the curves of accuracy: over the tasks learnt so far, and on each task.
AVERAGE, ON_TASK = "average_accuracy", "accuracy/task "
_KEY = b"engram"

#: Iterations and values of a curve.
Points = Sequence[tuple[int, float]]


@dataclass
class TaskCurves:
    """The curves of one task.

    Attributes
    ----------
    task : int
        The task that was being learnt, counted from 1.
    series : dict
        Points of each curve by its name, such as ``loss/new`` or ``accuracy/task 2``: the iteration
        over all tasks, and the value.
    problem : str
        Why the accuracy was no longer watched; empty if nothing was wrong.
    """

    task: int
    series: dict[str, Points] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True)
class Curves:
    """All curves of a trial, and what the method took its test images for in the end.

    Attributes
    ----------
    tasks : sequence of TaskCurves
        In the order of the tasks.
    confusion : sequence of sequences of int, optional
        Test images of all tasks by true class and by the class they were taken for, after the last
        task; None where the trial did not finish.
    """

    tasks: Sequence[TaskCurves]
    confusion: Sequence[Sequence[int]] | None = None

    def points(self) -> Iterator[tuple[str, int, int, float]]:
        """Yield name, task, iteration and value of each point."""
        for part in self.tasks:
            for name, series in part.series.items():
                yield from ((name, part.task, at, value) for at, value in series)

    def series(self) -> dict[str, list[tuple[int, float]]]:
        """Return each curve over all tasks by its name."""
        whole: dict[str, list[tuple[int, float]]] = {}
        for name, _, iteration, value in self.points():
            whole.setdefault(name, []).append((iteration, value))
        return whole

    @property
    def problem(self) -> str:
        """Why the accuracy was no longer watched, if anything was wrong."""
        return next((part.problem for part in self.tasks if part.problem), "")

    def __bool__(self) -> bool:
        return self.confusion is not None or any(part.series for part in self.tasks)


def is_accuracy(name: str) -> bool:
    """Whether a curve is one of accuracy, rather than of numbers that the method reports."""
    return name == AVERAGE or name.startswith(ON_TASK)


def curves_name(trial: str) -> str:
    """Return the name of the file of a trial's curves in a results folder."""
    return f"curves/{trial}.arrow"


def write_curves(storage: Storage, trial: str, curves: Curves) -> None:
    """Write a trial's curves, whole or not at all; where there are none, remove an older file.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    if not curves:
        storage.remove(curves_name(trial))
        return
    columns = zip(*curves.points(), strict=True) if any(curves.points()) else [[]] * len(SCHEMA)
    more = {"confusion": curves.confusion, "problem": curves.problem}
    schema = SCHEMA.with_metadata({_KEY: json.dumps(more).encode()})
    table = pa.Table.from_arrays(
        [pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)],
        schema=schema,
    )
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, schema, options=options) as writer:
        writer.write_table(table)
    storage.write(curves_name(trial), sink.getvalue())


def read_curves(storage: Storage, trial: str) -> Curves | None:
    """Read a trial's curves; None where there are none, or none that can be read."""
    try:
        table = pa.ipc.open_file(storage.read(curves_name(trial))).read_all()
        table.validate(full=True)  # what is damaged inside could crash whoever looks at it
        more = json.loads((table.schema.metadata or {}).get(_KEY, b"{}"))
    except (OSError, pa.ArrowException, ValueError, RecursionError):
        return None
    known = table.schema.equals(SCHEMA) and not any(c.null_count for c in table.columns)
    if not known or not isinstance(more, dict):
        return None
    tasks: dict[int, TaskCurves] = {}
    for row in table.to_pylist():
        part = tasks.setdefault(row["task"], TaskCurves(row["task"]))
        series = part.series.setdefault(row["name"], [])
        assert isinstance(series, list)
        series.append((row["iteration"], row["value"]))
    if tasks:
        tasks[max(tasks)].problem = str(more.get("problem", ""))
    return Curves([tasks[task] for task in sorted(tasks)], more.get("confusion"))
