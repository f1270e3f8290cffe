"""States of trials in a results folder: what a trial goes on from, and trained methods.

A file holds what is needed to use a method or to go on from it, as tensors and plain values: no
file is ever unpickled into code.

While a trial is under way, the state after its last task is always there, whatever is to be kept in
the end: a trial whose machine is lost goes on from it, on any other one that reaches the folder.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from pickle import UnpicklingError
from typing import Any, Literal

import pyarrow as pa
import torch

from methods.core.config import Config
from orchestrator.errors import UserError
from orchestrator.storage import Storage

#: Raised when the content of a file changes its meaning.
FORMAT = 3

_FOLDER, _FILE = "checkpoints", re.compile(r"task-(\d+)\.pt")


class Keep(Config):
    """What is kept of a trial, besides its record, once it has ended."""

    model: bool = False
    """Keep the trained method, in ``models/`` of the results and in MLflow."""
    checkpoints: Literal["none", "last", "all"] = "none"
    """Keep the state after the last task that was learnt, or after each."""
    samples: bool = True
    """Keep the images that the method reports while it learns, such as those of a generator."""


@dataclass(frozen=True)
class Checkpoint:
    """The state of a trial after a task.

    Attributes
    ----------
    trial : str
        Its id.
    config : dict
        Its canonical configuration.
    data, code : str
        Fingerprint of the data, hash of the code.
    environment : dict
        Its numerical environment.
    tasks_learned : int
    accuracy : list of list of float
        Rows 0 to ``tasks_learned`` of the accuracy matrix.
    measures : dict
        A list by name of what else was measured: a value for each of these rows.
    state : dict
        The method's ``state_dict``.
    log : dict
        What the trial's log has counted, see :meth:`TrialLog.state_dict`.
    curves : list of dict
        Fields of :class:`~orchestrator.curves.TaskCurves`, for each task learned.
    seconds : float
        Wall seconds that the trial has taken.
    audit : dict
        What the audit has found, see :meth:`ReplayAudit.state_dict`.
    """

    trial: str
    config: dict[str, Any]
    data: str
    code: str
    environment: dict[str, Any]
    tasks_learned: int
    accuracy: list[list[float]]
    measures: dict[str, list[float]]
    state: dict[str, Any]
    log: dict[str, Any] = field(default_factory=dict)
    curves: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    audit: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The states of trials in a results folder.

    Parameters
    ----------
    storage : Storage
        The results folder. Each machine that runs trials writes there.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def model(self, trial: str) -> str | None:
        """Return the name of the file of a trial's final model; None if it was not kept."""
        name = model_name(trial)
        return name if self.storage.exists(name) else None

    def models(self) -> set[str]:
        """Return the ids of the trials whose final model was kept."""
        found = self.storage.names("models", ".pt")
        return {name.removesuffix(".pt") for name in found}

    def after_tasks(self, trial: str) -> dict[int, str]:
        """Return names of the checkpoints that are there, by number of tasks learned, in order."""
        folder = f"{_FOLDER}/{trial}"
        found = ((_FILE.fullmatch(name), name) for name in self.storage.names(folder, ".pt"))
        return dict(sorted((int(m[1]), f"{folder}/{name}") for m, name in found if m))

    def write(self, checkpoint: Checkpoint) -> None:
        """Write the state after a task; earlier ones stay.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        name = f"task-{checkpoint.tasks_learned:02d}.pt"
        self._write(f"{_FOLDER}/{checkpoint.trial}/{name}", checkpoint)

    def write_model(self, checkpoint: Checkpoint) -> None:
        """Write the final model; errors as in :meth:`write`."""
        self._write(model_name(checkpoint.trial), checkpoint)

    def remove_before(self, trial: str, tasks_learned: int) -> None:
        """Remove the states after fewer tasks."""
        for tasks, name in self.after_tasks(trial).items():
            if tasks < tasks_learned:
                self.storage.remove(name)

    def tidy(self, trial: str, keep: Keep) -> None:
        """Leave of a trial that has its record what is to be kept of it."""
        if keep.checkpoints == "none":
            self.storage.remove_folder(f"{_FOLDER}/{trial}")
        elif keep.checkpoints == "last":
            self.remove_before(trial, max(self.after_tasks(trial), default=0))

    def under_way(self) -> list[str]:
        """Return the ids of all trials that have checkpoints."""
        return self.storage.folders(_FOLDER)

    def read(self, name: str, device: torch.device | str = "cpu") -> Checkpoint:
        """Read a file that was written here, its tensors onto a device.

        Raises
        ------
        UserError
            If it is damaged or was written by another version.
        """
        where = self.storage.path(name)
        try:
            content = torch.load(
                pa.BufferReader(self.storage.read(name)), map_location=device, weights_only=True
            )
        except UnpicklingError:
            raise UserError(
                f"{where}: is no model, or holds other things than tensors and plain values"
            ) from None
        except Exception as error:  # of any kind, where a file is damaged
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"{where}: is no readable model ({reason})") from None
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise UserError(f"{where}: was written by another version of Engram")
        try:
            return Checkpoint(**content)
        except TypeError:
            raise UserError(f"{where}: is no model of this version of Engram") from None

    def _write(self, name: str, checkpoint: Checkpoint) -> None:
        fields = {key: getattr(checkpoint, key) for key in Checkpoint.__dataclass_fields__}
        content = io.BytesIO()
        torch.save({"format": FORMAT} | fields, content)
        self.storage.write(name, content.getbuffer())


def model_name(trial: str) -> str:
    """Return the name of the file of a trial's final model in a results folder."""
    return f"models/{trial}.pt"
