"""The one Ray Tune trainable that hosts every method: one step learns one task."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ray import tune

from orchestrator.checkpoints import Keep
from orchestrator.data.added import discover
from orchestrator.identity import Environment
from orchestrator.trial import Trial, TrialConfig
from orchestrator.trial_run import TrialRun
from orchestrator.watch import Watch

#: mallopt's parameters (malloc.h), and a size that no tensor of ours exceeds.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _KEEP = -1, -3, 1 << 30


class ContinualTrainable(tune.Trainable):
    """Runs one :class:`TrialRun` after another in the same process.

    Tune's config holds a :func:`job`. Each result carries one JSON string under ``report``: Tune
    keeps statistics of every number it can see, which costs more than a small trial.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Start the first trial of this process."""
        keep_freed_memory()
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in the same process, once the last one has let go of its memory."""
        self.cleanup()
        return_freed_memory()
        given = new_config["job"]
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
            Path(given["results"]),
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
    data_dir: Path,
    results: Path,
    about: dict[str, str],
    watch: Watch,
    keep: Keep,
) -> dict[str, Any]:
    """Write a trial, and what is to be seen and kept of it, as plain values for a worker."""
    return {
        "trial": {
            "id": trial.id,
            "config": trial.config.portable,
            "data": trial.data,
            "code": trial.code,
        },
        "environment": asdict(environment),
        "data_dir": os.fspath(data_dir),
        "results": os.fspath(results),
        "about": about,
        "watch": watch.canonical(),
        "keep": keep.canonical(),
    }


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
