"""Runs the pending trials of a plan on Ray Tune and records them."""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from orchestrator.checkpoints import Checkpoints, Keep
from orchestrator.errors import UserError
from orchestrator.local_ray import scratch_folder, start_local_ray
from orchestrator.plan import Plan
from orchestrator.progress import Progress
from orchestrator.results import ResultsStore
from orchestrator.space.config import Resources
from orchestrator.storage.lock import only_run_on
from orchestrator.tracking.tracker import Tracker
from orchestrator.trial import Trial, identifying_columns
from orchestrator.trial_code import write_code
from orchestrator.trial_run import engram_version

if TYPE_CHECKING:
    from orchestrator.recorder import Recorder

#: Set before Ray starts, so that its processes inherit it.
_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the recorder is the only writer
    "TUNE_GLOBAL_CHECKPOINT_S": "600",  # Tune's own state is not what a sweep resumes from
    "TUNE_MAX_PENDING_TRIALS_PG": "64",  # enough for a cluster to see that it should grow
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # our own ends the sweep at once, and says how to go on
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # The recorder tells of lost workers and nodes, in a line each.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "worker died or was killed|Raylet is terminated|marked dead",
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
    about: Mapping[str, str] = MappingProxyType({}),
) -> SweepOutcome:
    """Run what is pending, as many trials at once as the machine has room for, and record it.

    Parameters
    ----------
    retry : bool
        Run trials again whose method raised an error.
    about : mapping
        What the sweep says of itself, for its report.

    Raises
    ------
    UserError
        If the results folder cannot be written or another run works on it, or the machine has not
        what a trial asks for.
    """
    store.check_writable()
    with only_run_on(store.storage, f"engram run {plan.space.name}"):
        store.write_sweep(plan.space.name, identifying_columns(plan.trials, plan.environment))
        store.write_about(plan.space.name, dict(about))
        write_code(store.storage, plan)
        ids = [trial.id for trial in plan.trials]
        again = {"error"} if retry else set()
        done = {trial: how for trial, how in store.outcomes(ids).items() if how not in again}
        pending = [trial for trial in plan.trials if trial.id not in done]
        _tidy(store, set(done), plan.space.keep)
        ended: dict[str, str] = {}
        progress = Progress(pending, console)
        if tracker is not None:
            tracker.start(done, progress.note)
        if pending:
            ended = _run_on_tune(plan, pending, store, data_dir, progress, tracker)
        after = store.outcomes(ids)
    return SweepOutcome(
        ran=sum(outcome != "infrastructure" for outcome in ended.values()),
        outcomes=after,
        failed={trial: outcome for trial, outcome in ended.items() if outcome != "finished"},
        pending=tuple(trial for trial in plan.trials if trial.id not in after),
    )


def _tidy(store: ResultsStore, ended: set[str], keep: Keep) -> None:
    """Remove what trials went on from, where a sweep was killed after it had their records."""
    checkpoints = Checkpoints(store.storage)
    for trial in ended.intersection(checkpoints.under_way()):
        checkpoints.tidy(trial, keep)


def _run_on_tune(
    plan: Plan,
    pending: Sequence[Trial],
    store: ResultsStore,
    data_dir: Path,
    progress: Progress,
    tracker: Tracker | None,
) -> dict[str, str]:
    os.environ.update(_ENVIRONMENT)
    from ray import tune

    from orchestrator import recorder as recording
    from orchestrator.cost import longest_first
    from orchestrator.trainable import ContinualTrainable, job
    from orchestrator.trial_queue import InOrder, TrialQueue

    space, about = plan.space, {"space": plan.space.name, "commit": git_commit()}

    def job_of(trial: Trial, share: Resources) -> str:
        rest = about, space.watch, space.keep, space.audit
        return job(trial, plan.environment, share, data_dir.resolve(), store.storage, *rest)

    queue = TrialQueue(
        longest_first(pending, data_dir),
        space.resources,
        job_of,
        largest_machine,
        lambda: recorder.check(),
    )
    recorder = recording.Recorder(store, progress, queue, space.keep, tracker)
    with scratch_folder() as scratch, _ray(space.resources, scratch), progress.shown():
        tuner = tune.Tuner(
            ContinualTrainable,
            tune_config=tune.TuneConfig(
                reuse_actors=True,
                search_alg=queue,
                scheduler=InOrder(),  # type: ignore[no-untyped-call]
                num_samples=-1,
            ),
            run_config=tune.RunConfig(
                name="sweep",
                storage_path=os.fspath(scratch / "tune"),
                callbacks=[recorder],
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        )
        try:
            with _signals_ask(recorder):
                tuner.fit()
        except tune.TuneError:
            if recorder.failure is not None:
                raise recorder.failure from None
            raise
    return recorder.outcomes


@contextmanager
def _signals_ask(recorder: Recorder) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM ask the recorder to end the sweep.

    Within Ray an exception could get lost; the second one is as it was before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(*_: object) -> None:
        recorder.interrupted = True
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        restore()


@contextmanager
def _ray(resources: Resources, scratch: Path) -> Iterator[None]:
    """Connect to the cluster that ``RAY_ADDRESS`` names, or start Ray on this machine alone."""
    import ray

    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    started_here = not ray.is_initialized()
    try:
        if started_here and os.environ.get("RAY_ADDRESS"):
            ray.init(**quiet)
        elif started_here:
            start_local_ray(scratch, **quiet)
            there = ray.cluster_resources()  # type: ignore[no-untyped-call]
            _check_resources(resources, there.get("CPU", 0), there.get("GPU", 0))
        # The recorder tells what went wrong.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        yield
    finally:
        if started_here:
            ray.shutdown()


def largest_machine() -> Resources:
    """Return the most CPUs, and the most GPUs, that a machine of the running cluster has."""
    import ray

    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    alive = [node["Resources"] for node in nodes if node["Alive"]]
    cpus, gpus = (max((n.get(kind, 0.0) for n in alive), default=0.0) for kind in ("CPU", "GPU"))
    return Resources(cpus=max(1, int(cpus)), gpus=gpus)


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
