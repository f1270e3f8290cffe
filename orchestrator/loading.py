"""Gives trained methods back, ready to predict and to sample."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from pydantic import ValidationError

from methods.core.method import Method
from methods.core.registry import UnknownMethod
from methods.core.rng import Rng
from orchestrator.checkpoints import Checkpoints
from orchestrator.data.added import discover
from orchestrator.errors import UserError
from orchestrator.results import Record, ResultsStore, record_name
from orchestrator.trial import TrialConfig
from orchestrator.trial_code import trial_code
from orchestrator.trial_view import find_trial, trial_name


def load_method(
    wanted: str,
    store: ResultsStore,
    data_dir: Path,
    task: int | None = None,
    device: torch.device | str = "cpu",
) -> Method:
    """Return the method that a trial trained.

    Parameters
    ----------
    wanted : str
        The first letters of the trial's id, or its name or a part of it.
    store : ResultsStore
    data_dir : Path
        Folder of data, where a trial's source was added to it; the data themselves are not needed.
    task : int, optional
        The state after so many tasks, from a checkpoint; by default after the last one kept.
    device : torch.device or str

    Raises
    ------
    UserError
        If no trial fits or several do, nothing was kept of it, its code has changed so far that
        the state does not fit any more, or there is no such device.
    """
    _check_device(device)
    discover(data_dir)
    record = find_trial(wanted, store)
    try:
        config = TrialConfig.from_canonical(json.loads(record["config"]))
    except (UnknownMethod, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{record['id']}: cannot be built as it was recorded: {reason}") from None
    checkpoint = Checkpoints(store.storage).read(_kept(record, store, task), device)
    if trial_code(config.cls) != checkpoint.code:
        warnings.warn(
            f"{trial_name(record)} ({record['id']}) was trained with other code than is installed "
            "here: it may predict otherwise than it did",
            stacklevel=3,
        )
    method = config.cls(config.options, config.stream.info(), Rng(config.seed), device)
    try:
        method.load_state_dict(checkpoint.state)
    except (RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{record['id']}: what was kept does not fit the method as it is installed here "
            f"({reason}); install the version that trained it"
        ) from error
    return method


def _check_device(device: torch.device | str) -> None:
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"device {str(device)!r} cannot be used here ({reason})") from None


def _kept(record: Record, store: ResultsStore, task: int | None) -> str:
    """Find the file that holds the state after so many tasks, or the last state."""
    trial, kept = record["id"], Checkpoints(store.storage)
    files = kept.after_tasks(trial)
    model = kept.model(trial)
    if model is not None:
        files.setdefault(record["tasks"], model)
    if task is None and files:
        return files[max(files)]
    if task in files:
        return files[task]
    again = f"delete {store.storage.path(record_name(trial))} and run its search space again with"
    if not files:
        raise UserError(
            f"{trial_name(record)}: no trained method was kept; to keep it, {again} --keep-model"
        )
    there = ", ".join(map(str, sorted(files)))
    raise UserError(
        f"{trial_name(record)}: nothing was kept after task {task}, only after {there}; to keep "
        f"all, {again} keep: {{checkpoints: all}}"
    )
