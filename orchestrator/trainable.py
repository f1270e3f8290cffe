"""The one Ray Tune trainable that hosts every method: one step learns one task."""

from __future__ import annotations

import ctypes
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from ray import tune

from orchestrator.audit.config import Audit
from orchestrator.checkpoints import Keep
from orchestrator.data.added import discover
from orchestrator.identity import Environment
from orchestrator.space.config import Resources
from orchestrator.storage import Storage
from orchestrator.trial import Trial, TrialConfig
from orchestrator.trial_run import TrialRun
from orchestrator.watch import Watch

#: mallopt's parameters (malloc.h), and a size that no tensor of ours exceeds.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _KEEP = -1, -3, 1 << 30


class ContinualTrainable(tune.Trainable):
    """Runs one :class:`TrialRun` after another in the same process.

    Tune's config holds a :func:`job`, with the share of a machine that it is to have. Each result
    carries one JSON string under ``report``: Tune keeps statistics of every number it can see,
    which costs more than a small trial.
    """

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Return what Ray is to reserve for a job."""
        share = json.loads(config["job"])["share"]
        return tune.PlacementGroupFactory([{"CPU": share["cpus"], "GPU": share["gpus"]}])

    def setup(self, config: dict[str, Any]) -> None:
        """Start the first trial of this process."""
        keep_freed_memory()
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in the same process, once the last one has let go of its memory."""
        self.cleanup()
        return_freed_memory()
        given = json.loads(new_config["job"])
        hold_to_share_of_gpu(given["share"]["gpus"])
        trial, data_dir = given["trial"], Path(given["data_dir"])
        discover(data_dir)  # the trial's configuration may name a source that was added to it
        self.run = TrialRun(
            Trial(
                trial["id"],
                TrialConfig.from_canonical(trial["config"]),
                trial["data"],
                trial["code"],
            ),
            Environment(**given["environment"]),
            data_dir,
            given["about"],
            Watch(**given["watch"]),
            Keep(**given["keep"]),
            Audit(**given["audit"]),
            results=Storage(given["results"]),
        )
        return True

    def step(self) -> dict[str, Any]:
        """Learn one task and report."""
        report = self.run.step()
        return {"report": report.to_json(), "done": report.record is not None}

    def cleanup(self) -> None:
        """Let go of the last trial."""
        self.__dict__.pop("run", None)


def job(
    trial: Trial,
    environment: Environment,
    share: Resources,
    data_dir: Path,
    results: Storage,
    about: dict[str, str],
    watch: Watch,
    keep: Keep,
    audit: Audit,
) -> str:
    """Write a trial, its share of a machine, and what is to be seen and kept of it, as JSON.

    One text: Tune copies a config several times, takes it apart, and keeps all of that.
    """
    values = {
        "trial": {
            "id": trial.id,
            "config": trial.config.portable,
            "data": trial.data,
            "code": trial.code,
        },
        "environment": asdict(environment),
        "share": share.canonical(),
        "data_dir": os.fspath(data_dir),
        "results": results.uri,
        "about": about,
        "watch": watch.canonical(),
        "keep": keep.canonical(),
        "audit": audit.canonical(),
    }
    return json.dumps(values)


def hold_to_share_of_gpu(gpus: float) -> None:
    """Keep this process to its share of the memory of its GPU, so that others have theirs.

    Parameters
    ----------
    gpus : float
        A fraction of one; 1 or more means all of it, and 0 that there is none to share.
    """
    if gpus and torch.cuda.is_available():
        torch.cuda.empty_cache()  # what the last trial of this process left
        torch.cuda.set_per_process_memory_fraction(min(1.0, gpus))


def keep_freed_memory() -> None:
    """Stop the C library from giving freed memory back to the system after every step.

    Gradients are freed and allocated again in each step; with glibc's defaults large ones are
    mapped anew each time, page by page. Costs nothing where there is no glibc.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEEP)
        mallopt(_M_MMAP_THRESHOLD, _KEEP)


def return_freed_memory() -> None:
    """Give what the last trial freed back to the system, once, between trials."""
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _glibc(name: str) -> Callable[..., int] | None:
    """Find a function of glibc; None elsewhere."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
