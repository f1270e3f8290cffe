"""Runs the pending trials of a plan on Ray Tune and records them."""

from __future__ import annotations

import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from orchestrator.errors import UserError
from orchestrator.plan import Plan
from orchestrator.progress import Progress
from orchestrator.results import ResultsStore
from orchestrator.search_space import Resources
from orchestrator.tracking import Tracker
from orchestrator.trial import Trial
from orchestrator.trial_run import engram_version, identifying_columns

#: How often a trial whose worker died is started again before it is left for the next sweep.
_RETRIES = 2

#: Set before Ray starts, so that its processes inherit it.
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the recorder is the only writer
    "TUNE_GLOBAL_CHECKPOINT_S": "600",  # Tune's own state is not what a sweep resumes from
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's coming default, without its warning
}


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended.

    Attributes
    ----------
    ran : int
        Trials that were run and recorded.
    failed : dict
        Outcome of each trial that was run and did not finish, by id.
    pending : tuple of Trial
        Trials that are still without a record.
    tracking_failure : str, optional
        Why MLflow is incomplete.
    """

    ran: int
    failed: dict[str, str]
    pending: tuple[Trial, ...]
    tracking_failure: str | None = None


def pending_trials(plan: Plan, store: ResultsStore, retry: bool = False) -> list[Trial]:
    """Return the trials of a plan that have no record, and with ``retry`` the failed ones too."""
    outcomes = store.outcomes()
    again = {"error"} if retry else set()
    return [t for t in plan.trials if t.id not in outcomes or outcomes[t.id] in again]


def run_plan(
    plan: Plan,
    store: ResultsStore,
    data_dir: Path,
    console: Console,
    tracker: Tracker | None = None,
    retry: bool = False,
) -> Outcome:
    """Run what is pending, as many trials at once as the machine has room for, and record it.

    Raises
    ------
    UserError
        If the results folder cannot be written, or the machine has not what a trial asks for.
    """
    if not os.environ.get("RAY_ADDRESS"):
        _check_resources(plan.space.resources, os.cpu_count() or 1, torch.cuda.device_count())
    store.check_writable()
    store.write_sweep(
        plan.space.name, [identifying_columns(t, plan.environment) for t in plan.trials]
    )
    pending = pending_trials(plan, store, retry)
    if tracker is not None:
        done = {trial.id for trial in plan.trials} - {trial.id for trial in pending}
        tracker.start(store.records(done))
    progress = Progress(pending, console)
    outcomes: dict[str, str] = {}
    if pending:
        outcomes = _run_on_tune(plan, pending, store, data_dir, progress, tracker)
    failed = {trial: outcome for trial, outcome in outcomes.items() if outcome != "finished"}
    left = pending_trials(plan, store)
    recorded = [outcome for outcome in outcomes.values() if outcome != "infrastructure"]
    return Outcome(len(recorded), failed, tuple(left))


def _run_on_tune(
    plan: Plan,
    pending: Sequence[Trial],
    store: ResultsStore,
    data_dir: Path,
    progress: Progress,
    tracker: Tracker | None,
) -> dict[str, str]:
    os.environ.update(_ENVIRONMENT)
    import ray
    from ray import tune

    from orchestrator.recorder import Recorder
    from orchestrator.trainable import ContinualTrainable, job

    recorder = Recorder(store, progress, tracker)
    about = {"space": plan.space.name, "commit": git_commit()}
    jobs = [job(t, plan.environment, data_dir.resolve(), about) for t in pending]
    resources = plan.space.resources
    started_here = not ray.is_initialized()
    _start_ray(resources)
    try:
        with tempfile.TemporaryDirectory(prefix="engram-") as scratch, progress.shown():
            tuner = tune.Tuner(
                tune.with_resources(
                    ContinualTrainable, {"cpu": resources.cpus, "gpu": resources.gpus}
                ),
                param_space={"job": tune.grid_search(jobs)},
                tune_config=tune.TuneConfig(reuse_actors=True),
                run_config=tune.RunConfig(
                    name="sweep",
                    storage_path=scratch,
                    callbacks=[recorder],
                    verbose=0,
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                    failure_config=tune.FailureConfig(max_failures=_RETRIES),
                ),
            )
            tuner.fit()
    finally:
        if started_here:
            ray.shutdown()
    return recorder.outcomes


def _start_ray(resources: Resources) -> None:
    """Connect to the cluster that ``RAY_ADDRESS`` names, or start Ray on this machine."""
    import ray

    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if not ray.is_initialized() and os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    elif not ray.is_initialized():
        ray.init(include_dashboard=False, **quiet)
        there = ray.cluster_resources()  # type: ignore[no-untyped-call]
        _check_resources(resources, there.get("CPU", 0), there.get("GPU", 0))  # in a container
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the recorder tells what went wrong


def _check_resources(resources: Resources, cpus: float, gpus: float) -> None:
    """Refuse a trial that this machine could never start: it would wait for ever."""
    for kind, wanted, there in (
        ("cpus", resources.cpus, cpus),
        ("gpus", resources.gpus, gpus),
    ):
        if wanted > there:
            raise UserError(
                f"resources: a trial asks for {kind}: {wanted}, but this machine has {there:g}"
            )


def git_commit() -> str:
    """Return the commit of the working folder, with ``+`` if files differ; empty outside git."""
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip()


def environment_report() -> str:
    """Describe the machine and the installed packages, as JSON."""
    packages = sorted(
        {f"{d.metadata['Name']}=={d.version}" for d in distributions()}, key=str.lower
    )
    facts = {
        "engram": engram_version(),
        "commit": git_commit(),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": packages,
    }
    return json.dumps(facts, indent=1)
