"""What a method is tried on: the first tasks of small digits, a small network, and few steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from pydantic import ValidationError

from methods.core.config import Config
from methods.core.contract import Subject
from methods.core.method import Method
from methods.core.task import Scenario
from orchestrator.data import StreamConfig, TaskStream, open_stream

#: The embedded digits: five tasks of two classes.
DATASET = "split-digits"
#: Tasks that are learnt, out of five: enough to resume twice, and classes remain unseen.
TASKS = 3
#: Training images of a task, test images of a task and optimiser steps where nothing has to be
#: learnt well.
_TRAIN, _TEST, _STEPS = 80, 24, 3

C = TypeVar("C", bound=Config)


class Case(NamedTuple):
    """Options that a method is tried with, as far as it has them, and what they stand for."""

    name: str
    options: Mapping[str, Any]


#: What every method is tried with; the first leaves everything but sizes as it is by default.
CASES: tuple[Case, ...] = (
    Case("defaults", {"buffer_size": 20}),
    Case("frozen", {"freeze_depth": 1, "replay_loss": "mean", "mode": "online"}),
    Case(
        "frozen from the start, optimiser reset",
        {
            "optimizer": {"name": "adam", "reset": "task"},
            "freeze_depth": 2,
            "freeze_from": "start",
        },
    ),
    Case(
        "convolutional network, SGD",
        {
            "network": {"name": "cnn", "widths": [4], "hidden": [16]},
            "optimizer": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "reset": "task"},
            "freeze_depth": 1,
            "per_class": 3,
        },
    ),
)


def cases_for(method: type[Method]) -> tuple[tuple[Case, ...], tuple[str, ...]]:
    """Return the cases that differ for a method, and a line about each that it refuses.

    The first is always among them, even if nothing can be built from it: that is for a check to
    tell.
    """
    kept: list[Case] = [CASES[0]]
    refused: list[str] = []
    try:
        known = [_canonical(method, CASES[0])]
    except Exception:  # told by the checks, each of which tries again
        return tuple(kept), ()
    for case in CASES[1:]:
        try:
            options = _canonical(method, case)
        except ValidationError as error:
            reason = str(error.errors()[0]["msg"]).removeprefix("Value error, ")
            refused.append(f"{case.name}: {reason}")
            continue
        if options not in known:
            known.append(options)
            kept.append(case)
    return tuple(kept), tuple(refused)


def make_subject(
    method: type[Method],
    data_dir: Path,
    options: Mapping[str, Any] | None = None,
    scenario: Scenario = Scenario.CLASS_INCREMENTAL,
) -> Subject:
    """Return a method with a small stream to try it on, made for speed.

    Parameters
    ----------
    method : type of Method
    data_dir : Path
        Folder of data, in which the digits are kept.
    options : mapping, optional
        Of the method's ``Config``; those that it does not have are left out.
    scenario : Scenario, optional

    Raises
    ------
    pydantic.ValidationError
        If the method does not take the options.
    """
    stream = open_stream(
        StreamConfig(dataset=DATASET, scenario=scenario, train_per_task=_TRAIN), data_dir
    )
    config = _small_config(method, options or {})
    return _subject(method, config, stream, torch.arange(_TEST))


def longer_subject(
    method: type[Method], data_dir: Path, scenario: Scenario, steps: int, batch_size: int
) -> Subject:
    """Return a method with its default options on whole tasks, to learn them in so many steps."""
    stream = open_stream(StreamConfig(dataset=DATASET, scenario=scenario), data_dir)
    budget = {"budget": {"iterations": steps, "batch_size": batch_size}}
    config = at_most(_config(method, budget), steps)
    return _subject(method, config, stream, None)


def at_most(config: C, steps: int) -> C:
    """Return a configuration in which nothing is trained for more iterations than so many.

    Every whole number called ``iterations``, or ``…_iterations``, is meant, in parts such as a
    memory that is a trained network too.
    """
    changed: dict[str, Any] = {}
    for name in type(config).model_fields:
        value = getattr(config, name)
        if isinstance(value, Config):
            smaller: Any = at_most(value, steps)
        elif isinstance(value, int) and name.endswith("iterations"):
            smaller = min(value, steps)
        else:
            continue
        if smaller != value:
            changed[name] = smaller
    if not changed:
        return config
    given = {name: getattr(config, name) for name in config.model_fields_set}
    return type(config).model_validate(given | changed)


def _small_config(method: type[Method], options: Mapping[str, Any]) -> Any:
    small = {
        "network": {"name": "mlp", "widths": [16, 16]},
        "budget": {"iterations": _STEPS, "batch_size": 16},
    }
    return at_most(_config(method, small | dict(options)), _STEPS)


def _config(method: type[Method], options: Mapping[str, Any]) -> Any:
    has = method.Config.model_fields
    return method.Config.model_validate({k: v for k, v in options.items() if k in has})


def _subject(
    method: type[Method], config: Any, stream: TaskStream, rows: torch.Tensor | None
) -> Subject:
    tests = []
    for task in range(TASKS):
        test = stream.test(task)
        tests.append(test.gather(torch.arange(len(test)) if rows is None else rows))
    return Subject(
        method,
        config,
        stream.info,
        lambda: [stream.task(index) for index in range(TASKS)],
        tests,
    )


def _canonical(method: type[Method], case: Case) -> Any:
    return _small_config(method, case.options).canonical()
