"""What a trial's run shows in MLflow: its name, parameters, metrics, tags and files."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import yaml

from methods.core.config import flatten
from orchestrator.credentials import without_credentials
from orchestrator.curve_figure import accuracy_curves
from orchestrator.curves import Curves, TaskCurves, is_accuracy
from orchestrator.figures import (
    accuracy_csv,
    accuracy_heatmap,
    accuracy_markdown,
    confusion_csv,
    confusion_heatmap,
)
from orchestrator.metrics import CONFUSION_METRICS, METRICS
from orchestrator.results import Record
from orchestrator.trial import TrialConfig

#: What MLflow takes in one tag.
_LONGEST_TAG = 5000


@dataclass(frozen=True)
class RunHead:
    """What a run shows from its first moment on.

    Attributes
    ----------
    trial : str
        Id of the trial.
    name : str
        Reads well in a list of runs: what differs most comes first.
    label, variant : str
        Legend of the trial; whether a published defect is in it.
    parameters : dict
        The flat configuration: ``method``, ``dataset``, ``budget.iterations`` and so on.
    """

    trial: str
    name: str
    label: str
    variant: str
    parameters: dict[str, str]

    @classmethod
    def of_config(cls, trial: str, config: TrialConfig) -> RunHead:
        """Describe a trial that is planned."""
        stream, variant = config.stream, config.options.variant
        where = f"{stream.scenario} · {stream.dataset}"
        return cls._of(trial, config.label, where, variant, config.canonical)

    @classmethod
    def of_record(cls, record: Record) -> RunHead:
        """Describe a trial by its record alone, whose method may not be installed here."""
        settings = record["settings"].replace(", ", ",")
        label = f"{record['method']}[{settings}]" if settings else record["method"]
        where = f"{record['scenario']} · {record['dataset']}"
        return cls._of(record["id"], label, where, record["variant"], json.loads(record["config"]))

    @classmethod
    def _of(
        cls, trial: str, label: str, where: str, variant: str, canonical: dict[str, Any]
    ) -> RunHead:
        flat = flatten(canonical["stream"] | {"method": canonical["method"]} | canonical["options"])
        flat["seed"] = canonical["seed"]
        parameters = {
            key: without_credentials(str(value)) for key, value in flat.items() if value is not None
        }
        return cls(trial, f"{label} · {where} · seed {flat['seed']}", label, variant, parameters)


def started_at(record: Record) -> int:
    """Return when a trial began, in ms since 1970."""
    started = record["started"]
    milliseconds = started.timestamp() * 1000 if isinstance(started, datetime) else started
    return int(milliseconds)


def ended_at(record: Record) -> int:
    """Return when a trial ended, in ms since 1970."""
    return started_at(record) + int(record["seconds"] * 1000)


def row_metrics(
    row: Sequence[float],
    measures: Mapping[str, float],
    tasks_learned: int,
    audit: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, float]:
    """Return a row of the accuracy matrix as metrics: over the tasks so far, and by task.

    Parameters
    ----------
    measures : mapping
        What else was measured after these tasks.
    audit : mapping
        What was measured of what is replayed.
    """
    if not tasks_learned:
        return {}
    average = sum(row[:tasks_learned]) / tasks_learned
    by_task = {f"accuracy/task {j + 1}": accuracy for j, accuracy in enumerate(row)}
    replay = {f"audit/{name}": value for name, value in audit.items()}
    return _finite({"average_accuracy": average} | dict(measures) | by_task | replay)


def recorded_rows(record: Record) -> list[dict[str, float]]:
    """Return :func:`row_metrics` of each row of a record."""
    measures = [record[f"{name}_rows"] for name in CONFUSION_METRICS]
    audits = dict(enumerate(record["audit"], start=1))
    return [
        row_metrics(row, dict(zip(CONFUSION_METRICS, values, strict=True)), i, audits.get(i, {}))
        for i, (row, *values) in enumerate(zip(record["accuracy"], *measures, strict=True))
    ]


def curve_metrics(tasks: Iterable[TaskCurves]) -> list[tuple[int, dict[str, float]]]:
    """Return the curves of some tasks as metrics at iterations.

    Curves of accuracy get the prefix ``curve/``: their names are those of the metrics by task.
    """
    at: dict[int, dict[str, float]] = {}
    for name, _, iteration, value in Curves(list(tasks)).points():
        key = f"curve/{name}" if is_accuracy(name) else name
        at.setdefault(iteration, {})[key] = value
    return [(iteration, _finite(values)) for iteration, values in sorted(at.items())]


def final_metrics(record: Record) -> dict[str, float]:
    """Return what is known once a trial has ended: measures, bytes by owner, seconds by phase."""
    by_row = {"average_accuracy", *CONFUSION_METRICS}
    values = {name: record[name] for name in METRICS if name not in by_row}
    values |= {f"bytes/{owner}": kept for owner, kept in record["bytes_by_owner"].items()}
    values |= {f"seconds/{phase}": s for phase, s in record["seconds_by_phase"].items()}
    values |= {"bytes/total": record["bytes_kept"], "seconds/total": record["seconds"]}
    return _finite(values | {"samples_per_second": record["samples_per_second"]})


def run_tags(record: Record) -> dict[str, str]:
    """Return how a trial ended, and the text at the top of its page."""
    tags = {"engram.outcome": record["outcome"], "mlflow.note.content": _note(record)}
    cause, flag = (
        without_credentials(text)[:_LONGEST_TAG] for text in (record["cause"], _last_flag(record))
    )
    tags |= {"engram.cause": cause} if cause else {}
    return tags | ({"engram.replay": flag} if flag else {})


def run_files(record: Record, curves: Curves | None) -> dict[str, str]:
    """Return the artifacts of a run, name and content."""
    # On long lines, where nothing that has to be found is in two parts.
    config = yaml.safe_dump(json.loads(record["config"]), sort_keys=False, width=math.inf)
    files = {"config.yaml": without_credentials(config)}
    if record["accuracy"]:
        files["accuracy_matrix.csv"] = accuracy_csv(record["accuracy"])
        files["accuracy_matrix.svg"] = accuracy_heatmap(record["accuracy"])
    if curves is not None and (picture := accuracy_curves(curves)):
        files["accuracy_curves.svg"] = picture
    if curves is not None and curves.confusion is not None:
        files["confusion_matrix.csv"] = confusion_csv(curves.confusion)
        files["confusion_matrix.svg"] = confusion_heatmap(curves.confusion)
    if record["traceback"]:
        files["traceback.txt"] = without_credentials(record["traceback"])
    return files


def _note(record: Record) -> str:
    """Write the outcome and the accuracy matrix in Markdown, or its last row where it is long."""
    cause, flag = _as_code(record["cause"]), _as_code(_last_flag(record))
    head = record["outcome"] + (f": {cause}" if cause else "")
    head += f"\n\nReplay: {flag}" if flag else ""
    foot = f"`engram show {record['id']}` tells the same in a terminal."
    note = f"{head}\n\n{accuracy_markdown(record['accuracy'])}\n\n{foot}"
    if len(note) <= _LONGEST_TAG:
        return note
    return f"{head}\n\nThe accuracy matrix is among the artifacts.\n\n{foot}"


def _last_flag(record: Record) -> str:
    """Return what the audit found wrong with replay last."""
    return next((flag for flag in reversed(record["audit_flags"]) if flag), "")


def _as_code(text: str) -> str:
    """Write what a method says as code in Markdown: it loads no pictures."""
    line = " ".join(without_credentials(text).replace("`", "'").split())[:1000]
    return f"`{line}`" if line else ""


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    """Leave out what is not known: MLflow would chart it."""
    return {key: float(value) for key, value in values.items() if math.isfinite(value)}
