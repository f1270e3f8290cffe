"""Trained methods in a results folder: the final ones, and the states after single tasks.

A file holds what is needed to use a method or to go on from it, as tensors and plain values: no
file is ever unpickled into code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal

import torch

from methods.core.config import Config
from orchestrator.atomic import replacing
from orchestrator.errors import UserError

#: Raised when the content of a file changes its meaning.
FORMAT = 1


class Keep(Config):
    """What is kept of a trial besides its record."""

    model: bool = False
    """Keep the trained method, in ``models/`` of the results and in MLflow."""
    checkpoints: Literal["none", "last", "all"] = "none"
    """Keep the state after the last task that was learnt, or after each."""


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


class Checkpoints:
    """The trained methods of a results folder.

    Parameters
    ----------
    results : Path
        Each machine that runs trials writes there.
    """

    def __init__(self, results: Path) -> None:
        self.results = results

    def model(self, trial: str) -> Path:
        """Return where a trial's final model is, if it was kept."""
        return self.results / "models" / f"{trial}.pt"

    def after_tasks(self, trial: str) -> dict[int, Path]:
        """Return the checkpoints that are there, by the number of tasks learned, in order."""
        found = (self.results / "checkpoints" / trial).glob("task-*.pt")
        return dict(sorted((int(path.stem.removeprefix("task-")), path) for path in found))

    def keep(self, checkpoint: Checkpoint, wanted: Keep, final: bool) -> None:
        """Write what is wanted of a state.

        Parameters
        ----------
        final : bool
            Whether it is the state after the last task.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        trial, done = checkpoint.trial, checkpoint.tasks_learned
        if wanted.checkpoints != "none":
            folder = self.results / "checkpoints" / trial
            _write(folder / f"task-{done:02d}.pt", checkpoint)
            if wanted.checkpoints == "last":
                for tasks, path in self.after_tasks(trial).items():
                    if tasks != done:
                        path.unlink(missing_ok=True)
        if wanted.model and final:
            _write(self.model(trial), checkpoint)

    def read(self, path: Path, device: torch.device | str = "cpu") -> Checkpoint:
        """Read a file that :meth:`keep` wrote, its tensors onto a device.

        Raises
        ------
        UserError
            If it is damaged or was written by another version.
        """
        try:
            content = torch.load(path, map_location=device, weights_only=True)
        except UnpicklingError:
            raise UserError(
                f"{path}: is no model, or holds other things than tensors and plain values"
            ) from None
        except Exception as error:  # of any kind, where a file is damaged
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UserError(f"{path}: is no readable model ({reason})") from None
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise UserError(f"{path}: was written by another version of Engram")
        return Checkpoint(**content)


def _write(path: Path, checkpoint: Checkpoint) -> None:
    fields = {name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}
    with replacing(path) as file:
        torch.save({"format": FORMAT} | fields, file)
