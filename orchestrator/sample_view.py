"""A picture of what a trained method remembers: stored images, or draws of its generator."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from methods.core.method import Method
from orchestrator.errors import UserError
from orchestrator.loading import load_method
from orchestrator.pictures import grid_png
from orchestrator.results import Record, ResultsStore
from orchestrator.samples import Samples
from orchestrator.storage.atomic import replacing
from orchestrator.terminal import say
from orchestrator.trial_view import find_trial, trial_name

#: Pixels of an image's longer side in the picture, at least; images of a class, at most.
_SIDE, _MOST = 56, 100


@dataclass(frozen=True)
class _Drawn:
    """Images, uint8 ``[N, C, H, W]``: a row for each class; or for none, where there is no label.

    ``note`` says what is not as it was asked for.
    """

    x: Tensor
    classes: Sequence[int]
    note: str = ""


def write_samples(
    trial: str,
    store: ResultsStore,
    data_dir: Path,
    *,
    output: Path | None,
    per_class: int,
    task: int | None,
    label: int | None,
    after: int | None,
    device: torch.device | str,
    console: Console,
) -> None:
    """Draw images from what a trial's method remembers, and write them as one PNG file.

    There is a row for each class that was learnt. The same call writes the same bytes.

    Parameters
    ----------
    trial : str
        The first letters of the trial's id, or its name or a part of it.
    store : ResultsStore
    data_dir : Path
        Folder of data, where the trial's source was added to it.
    output : Path, optional
        The file; by default ``ID-samples.png`` in the working folder.
    per_class : int
        Images of each class.
    task : int, optional
        Draw what is remembered of this task alone, counted from 1.
    label : int, optional
        Draw this class alone.
    after : int, optional
        From the state after so many tasks; by default after the last one kept.
    device : torch.device or str
    console : Console
        Is told where the file is, and what it shows.

    Raises
    ------
    UserError
        If there is no such trial, class or task, nothing was kept of the trial, its method gives no
        images, or the file cannot be written.
    """
    if not 1 <= per_class <= _MOST:
        raise UserError(f"--per-class {per_class}: give 1 to {_MOST} images of each class")
    record = find_trial(trial, store)
    logged = _logged(record, store)
    method = _loaded(record, store, data_dir, after, device, console, logged)
    classes = _asked(record, method, task, label)
    name = trial_name(record)
    drawn = _draw(name, method, classes, per_class, None if task is None else task - 1)
    if drawn is None:
        raise UserError(f"{name}: gives no images: it remembers none, or activations{logged}")
    path = output or Path(f"{record['id']}-samples.png")
    labels = [f"class {each}" for each in drawn.classes]
    _write(path, grid_png(drawn.x, per_class, labels, at_least=_SIDE))
    what = f" of {_listed(drawn.classes)}" if drawn.classes else ""
    of_task = f", of task {task}" if task is not None and drawn.classes else ""
    images, learned = _counted(len(drawn.x), "image"), _counted(method.tasks_learned, "task")
    say(console, f"{path}: {images}{what}{of_task}, from {name} after {learned}")
    if drawn.note:
        say(console, drawn.note)


def _logged(record: Record, store: ResultsStore) -> str:
    """Say where the pictures are that were made while the trial ran, if there are any."""
    samples = Samples(store.storage)
    if not samples.names(record["id"]):
        return ""
    return f"; what it showed while it learnt is in {samples.where(record['id'])}/"


def _loaded(
    record: Record,
    store: ResultsStore,
    data_dir: Path,
    after: int | None,
    device: torch.device | str,
    console: Console,
    logged: str,
) -> Method:
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always", UserWarning)
        try:
            method = load_method(record["id"], store, data_dir, after, device)
        except UserError as error:
            raise UserError(f"{error}{logged}") from error
    for warning in warned:
        say(console, str(warning.message))
    return method


def _asked(record: Record, method: Method, task: int | None, label: int | None) -> list[int]:
    """Return the classes to be drawn, in ascending order."""
    learned = method.stream.classes_of[: method.tasks_learned]
    if task is not None and not 1 <= task <= len(learned):
        raise UserError(
            f"{trial_name(record)}: has learnt {_counted(len(learned), 'task')}, no task {task}"
        )
    tasks = learned if task is None else [learned[task - 1]]
    seen = sorted({each for classes in tasks for each in classes})
    if label is not None and label not in seen:
        where = f"in task {task}" if task is not None else f"after {_counted(len(learned), 'task')}"
        raise UserError(
            f"{trial_name(record)}: has learnt no class {label} {where}, only {_listed(seen)}"
        )
    return seen if label is None else [label]


def _draw(
    name: str, method: Method, classes: Sequence[int], per_class: int, task: int | None
) -> _Drawn | None:
    """Draw images of each class; None where the method gives none."""
    rows: dict[int, Tensor] = {}
    for each in classes:
        try:
            batch = method.sample(per_class, classes=(each,), task=task)
        except LookupError:
            continue
        if batch is None:
            return None
        rows[each] = batch.x
    missing = [each for each in classes if each not in rows]
    of_task = "" if task is None else f" in task {task + 1}"
    if rows:
        note = f"Left out: none, or hardly any, are of {_listed(missing)}{of_task}."
        return _Drawn(torch.cat(list(rows.values())), list(rows), note if missing else "")
    if _chooses(method):
        raise UserError(
            f"{name}: of what it remembers none, or hardly any, are of {_listed(missing)}{of_task}"
        )
    return _draw_any(name, method, per_class * len(classes))


def _draw_any(name: str, method: Method, n: int) -> _Drawn | None:
    """Draw of all that is remembered, where classes cannot be chosen."""
    try:
        batch = method.sample(n)
    except LookupError as error:
        raise UserError(f"{name}: gives no images ({error})") from None
    note = "It cannot be asked for a class or a task: these are draws of all that it remembers."
    return None if batch is None else _Drawn(batch.x, [], note)


def _chooses(method: Method) -> bool:
    """Whether some class can be asked for, of those that were learnt."""
    learned = method.stream.classes_of[: method.tasks_learned]
    for each in sorted({each for classes in learned for each in classes}):
        try:
            method.sample(1, classes=(each,))
        except LookupError:
            continue
        return True
    return False


def _write(path: Path, content: bytes) -> None:
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give a file")
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'s' * (n != 1)}"


def _listed(classes: Sequence[int]) -> str:
    return f"class{'es' * (len(classes) > 1)} {', '.join(map(str, classes))}"
