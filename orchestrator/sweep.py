"""Runs the pending trials of a plan on Ray Tune and records them."""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from rich.console import Console

from orchestrator.errors import UserError
from orchestrator.plan import Plan
from orchestrator.progress import Progress
from orchestrator.results import ResultsStore
from orchestrator.search_space import Resources
from orchestrator.tracking import Tracker
from orchestrator.trial import Trial
from orchestrator.trial_run import engram_version, identifying_columns

if TYPE_CHECKING:
    from orchestrator.recorder import Recorder

#: How often a trial whose worker died is started again before it is left for the next sweep.
_RETRIES = 2

#: Set before Ray starts, so that its processes inherit it.
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the recorder is the only writer
    "TUNE_GLOBAL_CHECKPOINT_S": "600",  # Tune's own state is not what a sweep resumes from
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # our own ends the sweep at once, and says how to go on
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # Ray's coming default, without its warning
}


@dataclass(frozen=True)
class SweepOutcome:
    """How a sweep ended.

    Attributes
    ----------
    ran : int
        Trials that were recorded in this run.
    outcomes : dict
        Outcome of each trial of the plan that has a record, by id.
    failed : dict
        Outcome of each trial that ended in this run and did not finish, by id;
        ``infrastructure`` where its worker was lost.
    pending : tuple of Trial
        Trials that are still without a record.
    tracking_failure : str, optional
        Why MLflow is incomplete.
    """

    ran: int
    outcomes: dict[str, str]
    failed: dict[str, str]
    pending: tuple[Trial, ...]
    tracking_failure: str | None = None


def run_plan(
    plan: Plan,
    store: ResultsStore,
    data_dir: Path,
    console: Console,
    tracker: Tracker | None = None,
    retry: bool = False,
) -> SweepOutcome:
    """Run what is pending, as many trials at once as the machine has room for, and record it.

    Parameters
    ----------
    retry : bool
        Run trials again whose method raised an error.

    Raises
    ------
    UserError
        If the results folder cannot be written or another run works on it, or the machine has not
        what a trial asks for.
    """
    store.check_writable()
    with _only_run_on(store):
        store.write_sweep(
            plan.space.name, [identifying_columns(t, plan.environment) for t in plan.trials]
        )
        ids = [trial.id for trial in plan.trials]
        before = store.outcomes(ids)
        again = {"error"} if retry else set()
        pending = [t for t in plan.trials if t.id not in before or before[t.id] in again]
        if tracker is not None:
            tracker.start(store.records(set(ids) - {trial.id for trial in pending}))
        ended: dict[str, str] = {}
        if pending:
            progress = Progress(pending, console)
            ended = _run_on_tune(plan, pending, store, data_dir, progress, tracker)
        after = store.outcomes(ids)
    return SweepOutcome(
        ran=sum(outcome != "infrastructure" for outcome in ended.values()),
        outcomes=after,
        failed={trial: outcome for trial, outcome in ended.items() if outcome != "finished"},
        pending=tuple(trial for trial in plan.trials if trial.id not in after),
    )


@contextmanager
def _only_run_on(store: ResultsStore) -> Iterator[None]:
    """Keep a second run off a results folder: it would run the same trials once more."""
    try:
        with FileLock(store.folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise UserError(
            f"{store.folder}: another engram run works on this folder; wait for it, "
            "or give another one with --results"
        ) from None


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

    from orchestrator import recorder as recording
    from orchestrator.trainable import ContinualTrainable, job

    recorder = recording.Recorder(store, progress, tracker)
    about = {"space": plan.space.name, "commit": git_commit()}
    space, folders = plan.space, (data_dir.resolve(), store.folder.resolve())
    jobs = [job(t, plan.environment, *folders, about, space.watch, space.keep) for t in pending]
    resources = space.resources
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
            with _ctrl_c_asks(recorder):
                tuner.fit()
    except tune.TuneError:
        if recorder.failure is not None:
            raise recorder.failure from None
        raise
    finally:
        if started_here:
            ray.shutdown()
    return recorder.outcomes


@contextmanager
def _ctrl_c_asks(recorder: Recorder) -> Iterator[None]:
    """Let the first Ctrl-C ask the recorder to end the sweep; within Ray it could get lost."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return

    def ask(*_: object) -> None:
        recorder.interrupted = True
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_ray(resources: Resources) -> None:
    """Connect to the cluster that ``RAY_ADDRESS`` names, or start Ray on this machine."""
    import ray

    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if not ray.is_initialized() and os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    elif not ray.is_initialized():
        ray.init(include_dashboard=False, **quiet)
        there = ray.cluster_resources()  # type: ignore[no-untyped-call]
        _check_resources(resources, there.get("CPU", 0), there.get("GPU", 0))
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the recorder tells what went wrong


def _check_resources(resources: Resources, cpus: float, gpus: float) -> None:
    """Refuse a trial that Ray could never start here, as in a container: it would wait for ever."""
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
