"""Sweeps that are killed at the worst moments end as one that nobody touched."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

TRIALS, TASKS, CORES = 6, 5, psutil.cpu_count() or 1

SPACE = f"""\
name: disturbed
dataset: split-digits
tasks: {TASKS}
network: {{name: mlp, widths: [8]}}
budget: {{iterations: 10, batch_size: 8}}
buffer_size: 10
method:
  - test-survivor: {{optimizer.weight_decay: [0.0, 0.1, 0.2]}}
seed: 0..1
"""

#: What strikes in the processes of a sweep themselves, see plugin/survivors.py.
FAULTS: dict[str, list[dict[str, Any]]] = {
    "workers": [
        {"name": "before", "at": "before-rename", "file": "checkpoints/*/task-01.pt"},
        {"name": "within", "at": "in-write", "file": "checkpoints/*/task-02.pt"},
        {"name": "after", "at": "after-rename", "file": "checkpoints/*/task-03.pt"},
        {"name": "mid-task", "at": "in-task", "task": 3},
    ],
    "driver": [
        {"name": "before", "at": "before-rename", "file": "trials/*.arrow", "nth": 2},
        {"name": "after", "at": "after-rename", "file": "trials/*.arrow", "nth": 3},
    ],
    "node": [{"name": "node", "at": "in-task", "task": 2, "does": "kill-node"}],
    "disk": [{"name": "full", "at": "in-task", "task": 1, "does": "fill-disk"}],
}
#: How many tasks may be interrupted: in one process, or in all of them.
MOST_AGAIN = {
    "undisturbed": 0,
    "workers": 3,
    "driver": 2 * CORES,
    "node": 2 * CORES,
    "interrupted": 2,
    "disk": 1,
}
#: Where several trials are to be under way when something strikes; for the rest, one will do, and
#: saves the start of further workers.
SEVERAL = ("driver", "node")
ONE_WORKER = {"RAY_OVERRIDE_RESOURCES": '{"CPU": 1}'}
INTERRUPTED = "engram: interrupted; what has finished is kept, and the same command goes on"
#: Gives a command a folder of results on a small disk of its own, and takes them from there.
ON_A_SMALL_DISK = """
mkdir results && mount -t tmpfs -o size=4m small results || exit 99
"$@"
status=$?
cp -r results kept && umount results && cp -r kept/. results && rm -r kept
exit $status
"""


# What happens to a sweep --------------------------------------------------------------------------


def undisturbed(here: Any) -> None:
    assert here.run() == 0, here.output


def workers(here: Any) -> None:
    """Workers die around the rename of a checkpoint, and in the middle of a task."""
    assert here.run() == 0, here.output
    told = [line for line in here.output.splitlines() if line.startswith("interrupted: ")]
    assert len(told) == len(FAULTS["workers"])
    assert all("its worker was lost; runs again in 1 s" in line for line in told)
    assert here.learnt_again == [1, 2, 4], "the one after the rename is not"


def driver(here: Any) -> None:
    """The driver dies between curves and record, then between results store and MLflow."""
    assert here.run() == -signal.SIGKILL, here.output
    assert len(here.store.ids()) == 1
    assert here.run() == -signal.SIGKILL, here.output
    assert len(here.store.ids()) == 4
    assert here.run() == 0, here.output


def node(here: Any) -> None:
    """The node dies, then the driver at a random moment."""
    assert here.run() == 2, here.output
    assert here.output.splitlines()[-1] == (
        "engram: Ray has ended on this machine (its raylet was killed, or failed); what has "
        "finished is kept, and the same command goes on"
    )
    assert "(raylet)" not in here.output
    process, before = here.start(), len(here.notes)
    here.wait_for(lambda: len(here.notes) > before, process)
    time.sleep(random.Random(0).uniform(0, 1))
    process.kill()
    process.wait()
    assert here.run() == 0, here.output


def interrupted(here: Any) -> None:
    """A user ends it with Ctrl-C, then whoever takes a machine away."""
    for sent in (signal.SIGINT, signal.SIGTERM):
        process, before = here.start(), here.learnt
        here.wait_for(lambda: any(task for _, task in here.learnt - before), process)  # noqa: B023
        started = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(sent)
        begin = time.monotonic()
        assert process.wait(60) == 130, here.output
        assert time.monotonic() - begin < 20
        assert here.output.splitlines()[-1].startswith(INTERRUPTED)
        assert psutil.wait_procs(started, timeout=20)[1] == []
    assert here.run() == 0, here.output


def disk(here: Any) -> None:
    """The disk runs full in the middle of a task, and somebody makes room again."""
    if (reason := why_no_disk()) is not None:
        pytest.skip(reason)
    process = here.start(before=("unshare", "--mount", "sh", "-c", ON_A_SMALL_DISK, "sh"))
    here.wait_for(lambda: "No space left on device" in here.output, process)
    # Nobody else sees that disk, but for the way through the process.
    Path(f"/proc/{process.pid}/root{here.folder}/results/ballast").unlink()
    assert process.wait(100) == 0, here.output
    told = [line for line in here.output.splitlines() if line.startswith("interrupted: ")]
    assert told
    assert all("could not be stored: [Errno 28] No space left" in line for line in told)
    assert all("runs again in" in line for line in told)


def why_no_disk() -> str | None:
    """Return why no small disk can be made here; None where one can."""
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=4m", "small", "/mnt"]
    try:
        made = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"a disk of its own cannot be made here: {error}"
    return f"a disk of its own cannot be made here: {made.stderr}" if made.returncode else None


PLAYS = {play.__name__: play for play in (undisturbed, workers, driver, node, interrupted, disk)}


# What comes of it ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sweeps(home: Callable[..., Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    """All sweeps that tests were chosen of, several at once: where each is, and how it went."""
    chosen = " ".join(["undisturbed", *(item.name for item in request.session.items)])
    homes = {
        name: home(SPACE, FAULTS.get(name), **({} if name in SEVERAL else ONE_WORKER))
        for name in PLAYS
        if name in chosen
    }
    with ThreadPoolExecutor(CORES + 1) as several:
        plays = {name: several.submit(PLAYS[name], here) for name, here in homes.items()}
    return {name: (homes[name], play) for name, play in plays.items()}


@pytest.fixture(params=list(PLAYS))
def here(request: pytest.FixtureRequest, sweeps: dict[str, Any]) -> Any:
    """A sweep that has ended; a test is skipped where it could not be disturbed as planned."""
    folder, play = sweeps[request.param]
    play.result()
    return folder


@pytest.fixture
def untouched(sweeps: dict[str, Any]) -> Any:
    return sweeps["undisturbed"][0]


def test_the_columns_that_count_are_those_of_an_undisturbed_sweep(
    here: Any, untouched: Any
) -> None:
    assert list(here.store.outcomes().values()) == ["finished"] * TRIALS
    assert here.deterministic() == untouched.deterministic()


def test_at_most_the_interrupted_tasks_are_learnt_again(
    here: Any, request: pytest.FixtureRequest
) -> None:
    assert len(here.learnt) == TRIALS * TASKS
    # Of all that are under way, where the driver ends or the node.
    assert len(here.learnt_again) <= MOST_AGAIN[request.node.callspec.params["here"]]


def test_mlflow_has_each_trial_once_and_whole(here: Any, untouched: Any) -> None:
    runs, metrics = here.mlflow()
    trials = {(trial, "FINISHED"): 1 for trial in here.store.ids()}
    assert runs == {("parent", "FINISHED"): 1} | trials
    points = [row[:3] for row in metrics]
    assert len(points) == len(set(points)), "no step of a metric twice"
    assert metrics == untouched.mlflow()[1]


def test_nothing_is_left_lying_about(here: Any) -> None:
    assert here.leftovers() == []


def test_users_read_plain_words(here: Any) -> None:
    assert f"disturbed: {TRIALS} of {TRIALS} trials done" in here.output
    assert "Traceback" not in here.output


def test_what_was_to_strike_did(sweeps: dict[str, Any]) -> None:
    for name, (here, play) in sweeps.items():
        if not isinstance(play.exception(), pytest.skip.Exception):
            assert here.scars == {fault["name"] for fault in FAULTS.get(name, [])}
