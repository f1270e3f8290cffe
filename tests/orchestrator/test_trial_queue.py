"""Trials in their order, and again where a machine failed them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cost import cost, longest_first
from orchestrator.failures import PAUSES, Failure, Kind, read_failure
from orchestrator.plan import Plan
from orchestrator.space.config import Resources
from orchestrator.trial_queue import TrialQueue

MakePlan = Callable[[str], Plan]
SPACE = """\
dataset: split-digits
tasks: 5
network: {name: mlp, widths: [8]}
budget: {iterations: 10, batch_size: 8}
method: [naive]
seed: 0..2
"""
LOST = """\
Failure # 1 (occurred at 2026-01-01_00-00-00)
The actor died unexpectedly before finishing this task.
\tpid: 5176
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
"""
NODE = """\
Failure # 1 (occurred at 2026-01-01_00-00-00)
The actor died unexpectedly before finishing this task.
The actor died because its node has died. Node Id: 5f
\tthe actor's node was terminated unexpectedly: health check failed due to missing too many
"""
SILENT = """\
Failure # 1 (occurred at 2026-01-01_00-00-00)
The actor 5f is unavailable: The actor is temporarily unavailable: RpcError: Socket closed.
"""
RAISED = """\
Failure # 3 (occurred at 2026-01-01_00-00-00)
\x1b[36mray::ContinualTrainable.train()\x1b[39m (pid=4461)
  File "trial_run.py", line 192, in _keep
{error}
"""


def stop_never() -> None:
    """Never end a sweep."""


def queue_of(
    plan: Plan, share: Resources, largest: Resources, stopped: Callable[[], None] = stop_never
) -> TrialQueue:
    def job(trial: Any, share: Resources) -> dict[str, Any]:
        return {"trial": {"id": trial.id}, "share": share}

    return TrialQueue(plan.trials, share, job, lambda: largest, stopped)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """A clock that the test sets."""
    time = {"now": 100.0}
    monkeypatch.setattr("orchestrator.trial_queue.time.monotonic", lambda: time["now"])
    return time


def taken(queue: TrialQueue) -> list[str]:
    ids = []
    while isinstance(found := queue.suggest("x"), dict):
        ids.append(found["job"]["trial"]["id"])
    return ids


def test_trials_start_in_their_order_and_the_end_comes_when_all_have_ended(plan: MakePlan) -> None:
    made = plan(SPACE)
    queue = queue_of(made, Resources(), Resources(cpus=8))
    ids = [trial.id for trial in made.trials]
    assert taken(queue) == ids
    assert queue.suggest("x") is None
    for identity in ids:
        assert queue.suggest("x") is None
        queue.ended(identity)
    assert queue.suggest("x") == TrialQueue.FINISHED


def test_a_lost_trial_waits_longer_each_time_and_then_has_no_attempt_left(
    plan: MakePlan, clock: dict[str, float]
) -> None:
    made = plan(SPACE)
    queue = queue_of(made, Resources(), Resources(cpus=8))
    first, *others = taken(queue)
    for pause in PAUSES[Kind.WORKER]:
        assert queue.again(first, Failure(Kind.WORKER, "lost")) == f"runs again in {pause:g} s"
        clock["now"] += pause - 0.1
        assert taken(queue) == []
        clock["now"] += 0.2
        assert taken(queue) == [first]
    assert queue.again(first, Failure(Kind.WORKER, "lost")) is None
    for identity in others:
        queue.ended(identity)
    assert queue.suggest("x") == TrialQueue.FINISHED


def test_a_trial_that_gets_on_has_all_its_attempts_again(
    plan: MakePlan, clock: dict[str, float]
) -> None:
    made = plan(SPACE)
    queue = queue_of(made, Resources(), Resources(cpus=8))
    first = taken(queue)[0]
    for _ in range(10):
        assert queue.again(first, Failure(Kind.WORKER, "lost")) == "runs again in 1 s"
        clock["now"] += 2
        assert taken(queue) == [first]
        queue.progressed(first)


@pytest.mark.parametrize(
    ("share", "largest", "shares"),
    [
        (Resources(cpus=1), Resources(cpus=8), [(2, 0), (4, 0), (8, 0)]),
        (Resources(cpus=3), Resources(cpus=8), [(6, 0), (8, 0)]),
        (Resources(cpus=2), Resources(cpus=2), []),
        (Resources(cpus=1, gpus=0.25), Resources(cpus=8, gpus=4), [(1, 0.5), (1, 1.0)]),
        (Resources(cpus=1, gpus=0.4), Resources(cpus=8, gpus=1), [(1, 0.8), (1, 1.0)]),
        (Resources(cpus=1, gpus=1), Resources(cpus=8, gpus=4), []),
    ],
)
def test_a_trial_without_memory_runs_in_twice_the_share_up_to_a_whole_machine(
    share: Resources, largest: Resources, shares: list[tuple[int, float]], plan: MakePlan
) -> None:
    made = plan(SPACE)
    queue = queue_of(made, share, largest)
    first = taken(queue)[0]
    for cpus, gpus in shares:
        kind, much = ("gpus", gpus) if gpus else ("cpus", cpus)
        again = queue.again(first, Failure(Kind.MEMORY, "no memory"))
        assert again == f"runs again with {kind}: {much:g}"
        found = queue.suggest("x")
        assert isinstance(found, dict)
        assert found["job"] == {"trial": {"id": first}, "share": Resources(cpus=cpus, gpus=gpus)}
    assert queue.again(first, Failure(Kind.MEMORY, "no memory")) is None


def test_a_sweep_can_be_ended_while_it_waits(plan: MakePlan) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queue_of(plan(SPACE), Resources(), Resources(cpus=8), stop).suggest("x")


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("", Kind.WORKER, "its worker was lost"),
        (LOST, Kind.WORKER, "its worker was lost"),
        (NODE, Kind.NODE, "the machine it ran on was lost"),
        (SILENT, Kind.NODE, "the machine it ran on does not answer"),
        (
            RAISED.format(error="orchestrator.machine.NotKept: a: /results: no space"),
            Kind.STORAGE,
            "a: /results: no space",
        ),
        (
            RAISED.format(error="orchestrator.machine.OutOfMemory: a: CUDA out of memory"),
            Kind.MEMORY,
            "a: CUDA out of memory",
        ),
        (
            RAISED.format(error="orchestrator.machine.OtherCode: a: other code"),
            Kind.MACHINE,
            "a: other code",
        ),
        (
            "Task was killed due to the node running low on memory.\nMemory on the node was 9 GB",
            Kind.MEMORY,
            "its worker was ended because the machine ran out of memory",
        ),
        (RAISED.format(error="ImportError: no torch"), Kind.WORKER, "ImportError: no torch"),
        (
            RAISED.format(error="OSError: s3://key:secret@bucket is gone"),
            Kind.WORKER,
            "OSError: s3://bucket is gone",
        ),
    ],
)
def test_what_tune_wrote_tells_what_happened(text: str, kind: Kind, told: str) -> None:
    assert read_failure(text) == Failure(kind, told)


def test_what_is_told_of_a_failure_is_not_endless() -> None:
    assert len(read_failure(RAISED.format(error=f"OSError: {'x' * 9000}")).cause) == 500


def test_the_longest_trials_start_first(plan: MakePlan, tmp_path: Path) -> None:
    small = "network: {name: mlp, widths: [8]}"
    made = plan(
        f"""\
        dataset: split-digits
        tasks: 5
        method:
          - naive: {{budget: {{iterations: 10}}, {small}}}
          - joint: {{budget: {{epochs: 1, batch_size: 4}}, {small}}}
          - replay: {{budget: {{iterations: 10}}, {small}}}
          - ewc: {{budget: {{iterations: 10}}, network: {{name: cnn, widths: [8, 8]}}}}
        """
    )
    costs = {trial.config.method: cost(trial.config, tmp_path) for trial in made.trials}
    order = [trial.config.method for trial in longest_first(made.trials, tmp_path)]
    assert order == ["ewc", "replay", "naive", "joint"]
    # 64 inputs x 8 outputs, in 5 tasks 10 steps of 128 images; replay adds as many old ones.
    assert costs["naive"] == 64 * 8 * 10 * 128 * 5
    assert costs["replay"] == 2 * costs["naive"]
    # Each of about 1,437 training images once.
    assert costs["joint"] == pytest.approx(64 * 8 * 1437, rel=0.03)
    # Kernels of 3 x 3 at each of the places of the output.
    assert costs["ewc"] > 5 * costs["naive"]


def test_trials_that_cost_the_same_stay_in_their_order(plan: MakePlan, tmp_path: Path) -> None:
    made = plan(SPACE)
    assert longest_first(made.trials, tmp_path) == list(made.trials)
