"""The sweep is mirrored to MLflow: nothing lost, nothing twice, whatever happens to either."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from orchestrator.curves import TaskCurves
from orchestrator.storage import Storage
from orchestrator.tracking.report_queue import MOST_WAITING, TrackingQueue
from orchestrator.tracking.run_page import RunHead
from orchestrator.tracking.sync import sync
from orchestrator.trial_run import TrialRun

# A server that comes and goes ---------------------------------------------------------------------


def test_mlflow_that_comes_up_late_gets_everything(world: Any, tmp_path: Path) -> None:
    world.server.kill()
    said: list[str] = []
    store = world.store(tmp_path, world.ids[:1])
    tracker = world.tracker("late", store, world.server.uri)
    start = time.monotonic()
    tracker.start({world.ids[0]: "finished"}, said.append)
    world.server.launch()
    for trial in world.ids[1:3]:
        world.tell(tracker, store, trial)
    assert time.monotonic() - start < 3, "the sweep never waits"
    world.server.start()
    world.tell(tracker, store, world.ids[3])
    assert tracker.close("FINISHED", {"leaderboard.md": "best"}) is None
    found = world.assert_whole("late")
    assert found.parents[0].info.status == "FINISHED"
    assert len(said) == 2
    assert said[0].startswith(f"MLflow does not answer ({world.server.uri}: ")
    assert said[1].startswith("MLflow answers again")


def test_mlflow_that_is_killed_in_the_middle_gets_what_it_missed(
    world: Any, tmp_path: Path, until: Any
) -> None:
    world.server.start()
    said: list[str] = []
    store = world.store(tmp_path, name="killed")
    tracker = world.tracker("killed", store, world.server.uri)
    tracker.start({}, said.append)
    first, second, third, fourth = world.ids
    for trial in (first, second):
        world.tell(tracker, store, trial, [1, 2])
    until(lambda: set(world.found("killed").children) == {first, second})
    before = world.found("killed").children[first].info.run_id
    world.server.kill()
    world.tell(tracker, store, first, [3, 4])
    world.tell(tracker, store, second, [3, 4, 5])
    world.tell(tracker, store, third)
    until(lambda: said)
    world.server.start()
    until(lambda: len(said) == 2)
    world.tell(tracker, store, first, [5])
    world.tell(tracker, store, fourth)
    assert tracker.close("FINISHED") is None
    found = world.assert_whole("killed")
    assert found.steps(first, "average_accuracy") == [1, 2, 3, 4, 5]
    assert found.children[first].info.run_id == before, "who looks at it can go on looking"
    assert len(said) == 2
    (again,) = sync(store, ["killed"], world.server.uri)
    assert str(again) == "killed: 4 trials, 0 written, 4 were there"


@pytest.fixture
def lossy(world: Any) -> Iterator[str]:
    """The server behind a line that loses the first and the third answer to each kind of order."""
    world.server.start()
    orders: Counter[str] = Counter()

    class Line(BaseHTTPRequestHandler):
        def order(self) -> None:
            kind = self.path.partition("?")[0].partition("/artifacts/")[0]
            content = self.rfile.read(int(self.headers["Content-Length"] or 0))
            request = Request(world.server.uri + self.path, content or None, method=self.command)
            request.add_header("Content-Type", self.headers["Content-Type"] or "text/plain")
            try:
                with urlopen(request) as answer:
                    status, said = answer.status, answer.read()
            except HTTPError as error:
                status, said = error.code, error.read()
            changes = self.command != "GET" and "search" not in kind
            orders[kind] += changes
            if changes and orders[kind] in (1, 3):
                return  # done, but nobody will know
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST = do_PUT = do_PATCH = order  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Line) as line:
        Thread(target=line.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{line.server_port}"
        line.shutdown()
    lost = {kind.rpartition("/mlflow/")[2] for kind, times in orders.items() if times >= 3}
    assert lost >= {"runs/create", "runs/log-batch", "runs/update"}


def test_answers_that_are_lost_double_nothing(
    world: Any, lossy: str, tmp_path: Path, until: Any
) -> None:
    store = world.store(tmp_path, world.ids[:1])
    tracker = world.tracker("lossy", store, lossy, (0,))
    tracker.start({world.ids[0]: "finished"})
    for trial in world.ids[1:]:
        world.tell(tracker, store, trial)
    until(lambda: set(world.found("lossy").children) == set(world.ids))
    assert tracker.close("FINISHED") is None
    assert world.assert_whole("lossy").parents[0].info.status == "FINISHED"


def test_what_mlflow_lacks_at_the_end_is_told_and_synced(world: Any, tmp_path: Path) -> None:
    store = world.store(tmp_path, name="away")
    said: list[str] = []
    tracker = world.tracker("away", store, "http://me:hidden@127.0.0.1:9", (60,))
    tracker.start({}, said.append)
    for trial in world.ids:
        world.tell(tracker, store, trial)
    start = time.monotonic()
    failure = tracker.close("FINISHED")
    assert time.monotonic() - start < 8, "it does not sit out the pause"
    assert failure == "http://127.0.0.1:9: Connection refused"
    assert "hidden" not in "".join(said)
    assert world.found("away").children == {}
    (done,) = sync(store, ["away"], world.server.database)
    assert str(done) == "away: 4 trials, 4 written, 0 were there"
    world.assert_whole("away")


def test_a_server_that_answers_nothing_is_given_up(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.tracker._LAST_ATTEMPT", 1)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        uri = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        tracker = world.tracker("deaf", world.store(tmp_path), uri)
        tracker._away = "as it was before"
        tracker.start()
        start = time.monotonic()
        assert tracker.close("FINISHED") == "as it was before"
        assert time.monotonic() - start < 5


# Drivers and workers that are killed --------------------------------------------------------------


def test_a_driver_that_was_killed_between_store_and_mlflow(world: Any, tmp_path: Path) -> None:
    store = world.store(tmp_path, world.ids[:2])
    killed = world.runs("driver", store)
    killed.connect()
    first, second, *others = world.ids
    for trial in (first, others[0]):
        head = RunHead.of_record(world.record(trial))
        for task in (1, 2, 3):
            killed.write_report(head, world.reports[trial][task - 1], 1_000 + task)

    tracker = world.tracker("driver", store)
    tracker.start({first: "finished", second: "finished"})
    for trial in others:
        world.tell(tracker, store, trial)
    assert tracker.close("FINISHED") is None
    world.assert_whole("driver")


def test_a_worker_that_is_lost_leaves_no_step_twice(world: Any, tmp_path: Path) -> None:
    store = world.store(tmp_path)
    tracker = world.tracker("worker", store)
    tracker.start()
    first, second, third, fourth = world.ids
    world.tell(tracker, store, first, [1, 2, 3, 1, 2, 3, 4, 5])  # began again
    world.tell(tracker, store, second, [1, 2, 3, 4, 3, 4, 5])  # without what it had reported
    world.tell(tracker, store, third, [2, 4, 5])  # some of it never came
    earlier = world.reports[fourth][:3]
    world.tell(tracker, store, fourth, [1, 2, 3])
    tracker.report(fourth, replace(world.reports[fourth][3], earlier=earlier))
    world.tell(tracker, store, fourth, [5])
    assert tracker.close("FINISHED") is None
    found = world.assert_whole("worker")
    assert found.steps(fourth, "average_accuracy") == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("told", [0, 2, 3])
def test_a_trial_that_goes_on_is_told_whole(world: Any, tmp_path: Path, told: int) -> None:
    trial = world.plan.trials[0]
    run = trial, world.plan.environment, tmp_path / "data", {"space": "told", "commit": ""}
    storage = Storage(tmp_path / "states")
    interrupted, resumed = TrialRun(*run, results=storage), TrialRun(*run, results=storage)
    before = [interrupted.step() for _ in range(3)]
    after = [resumed.step() for _ in range(2)]
    assert [part.task for part in after[0].earlier] == [1, 2, 3]

    store, name = world.store(tmp_path / "results"), f"goes on {told}"
    runs = world.runs(name, store)
    tracker = world.tracker(name, store)
    tracker.start()
    for report in (*before[:told], after[0]):
        tracker.report(trial.id, report)
    assert tracker.close("KILLED") is None
    found = world.found(name)
    assert found.children[trial.id].info.status == "KILLED"
    assert found.steps(trial.id, "average_accuracy") == [1, 2, 3, 4]
    assert found.steps(trial.id, "loss/new") == sorted(set(found.steps(trial.id, "loss/new")))
    runs.connect()
    assert runs.outcomes() == {}, "it is to be written again"


# What MLflow does not take ------------------------------------------------------------------------


def test_a_trial_that_mlflow_refuses_holds_up_no_other(world: Any, tmp_path: Path) -> None:
    store = world.store(tmp_path)
    tracker = world.tracker("refused", store)
    tracker.start()
    odd = replace(world.reports[world.ids[0]][0], curves=TaskCurves(1, {"a*b": [(1, 0.5)]}))
    tracker.report(world.ids[0], odd)
    world.tell(tracker, store, world.ids[0], [2, 3, 4, 5])
    world.tell(tracker, store, world.ids[1])
    failure = tracker.close("FINISHED")
    assert failure is not None
    assert failure.startswith(f"trial {world.ids[0]} could not be written: ")
    found = world.found("refused")
    assert found.parents[0].info.status == "FINISHED"
    assert found.children[world.ids[0]].info.status == "KILLED"
    assert found.children[world.ids[1]].info.status == "FINISHED"

    tracker = world.tracker("refused", store)
    tracker.start(dict.fromkeys(world.ids[:2], "finished"))
    assert tracker.close("FINISHED") is None
    world.assert_whole("refused", world.ids[:2])


def test_runs_that_two_processes_made_at_once_become_one(world: Any, tmp_path: Path) -> None:
    runs = world.runs("twins", world.store(tmp_path))
    runs.connect()
    (parent,), client = world.found("twins").parents, world.found("twins").client
    experiment = parent.info.experiment_id
    twin = client.create_run(experiment, tags={"engram.sweep": runs.key})
    for of, trial in ((parent, 0), (twin, 0), (twin, 1)):
        tags = {"mlflow.parentRunId": of.info.run_id, "engram.trial": world.ids[trial]}
        client.create_run(experiment, tags=tags)
    runs.connect()
    found = world.found("twins")
    assert found.parents[0].info.run_id == parent.info.run_id
    assert set(found.children) == set(world.ids[:2])


# What waits ---------------------------------------------------------------------------------------


def test_little_waits_however_long_mlflow_is_away(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.report_queue.MOST_WAITING", 8)
    store = world.store(tmp_path)
    tracker = world.tracker("backlog", store)
    first, *others = world.ids
    world.tell(tracker, store, first, [1, 2])
    world.tell(tracker, store, others[0])
    world.tell(tracker, store, first, [1, 2, 3, 4, 3, 4])
    for trial in others[1:]:
        world.tell(tracker, store, trial)
    world.tell(tracker, store, first, [5])
    assert len(tracker._queue) == 8
    tracker.start()
    assert tracker.close("FINISHED") is None
    world.assert_whole("backlog")


def test_what_was_let_go_is_not_forgotten(world: Any) -> None:
    queue, (first, second, ended, _) = TrackingQueue(), world.ids
    for task in (1, 2, 1):
        queue.put(first, world.reports[first][task - 1])
    queue.put(ended, world.reports[ended][-1])
    for task in range(1, MOST_WAITING):
        queue.put(second, replace(world.reports[second][0], task=task))
    queue.put(first, world.reports[first][1])
    assert len(queue) == MOST_WAITING
    queue.close()
    items = []
    while (item := queue.next()) is not None:
        items.append(item)
    (begun,) = (item for item in items if item.trial == first)
    assert begun.again
    assert items[-1].trial == ended
    assert items[-1].report is None, "it is read from its record"
    assert len(items) == MOST_WAITING + 1
