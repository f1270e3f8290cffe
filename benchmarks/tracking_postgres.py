"""A sweep goes on and MLflow has all of it in the end, though its database was killed meanwhile.

An MLflow server over PostgreSQL runs on this machine, as it does on the head of a cluster, both on
the loopback address. A small sweep is recorded there with ``engram run``; once some of its trials
are in MLflow, PostgreSQL is stopped in the way of a crash (``SIGQUIT``: no clean shutdown, its log
is replayed on start) and started again some seconds later. Then everything is counted through
MLflow's own API: each trial once, each step of each metric once. The database has a password, which
must not turn up in what is printed.

Skipped, with the reason, where ``initdb`` and ``postgres`` or the driver ``psycopg2`` are missing.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _common import Verdict, arguments, progress, status_of, write_space

_PASSWORD = "not-to-be-shown-4711"


def missing() -> str:
    """Say what this machine lacks; empty if it has everything."""
    programs = [name for name in ("initdb", "postgres") if shutil.which(name) is None]
    if programs:
        return f"{' and '.join(programs)} not on PATH: install PostgreSQL"
    if importlib.util.find_spec("psycopg2") is None:
        return "no driver for PostgreSQL: pip install 'engram-bench[cluster]'"
    return ""


def unprivileged() -> dict[str, Any]:
    """Return as whom PostgreSQL is started: it refuses to be run by root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(what: str, condition: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(0.1)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Postgres:
    """A database server with files of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.identity = folder / "postgres", free_port(), unprivileged()
        self.folder.mkdir()
        password = self.folder / "password"
        password.write_text(_PASSWORD)
        if self.identity:
            for path in (self.folder, password):
                os.chown(path, self.identity["user"], self.identity["group"])
        self._run(
            *("initdb", "--pgdata", self.folder / "data", "--username", "engram"),
            *("--auth", "scram-sha-256", "--pwfile", password, "--encoding", "UTF8"),
        )
        # The driver is named: SQLAlchemy 2.1 takes another one for plain postgresql://.
        address = f"127.0.0.1:{self.port}/postgres"
        self.uri = f"postgresql+psycopg2://engram:{_PASSWORD}@{address}"

    def _run(self, *command: object) -> None:
        done = subprocess.run(
            [str(word) for word in command],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            **self.identity,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = ["postgres", "-D", "data", "-p", str(self.port), "-h", "127.0.0.1", "-k", ""]
        with open(self.folder.parent / "postgres.log", "ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, **self.identity
            )
        wait_until("PostgreSQL", lambda: listens(self.port))

    def crash(self) -> None:
        """End it at once, without a clean shutdown."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()


@contextmanager
def mlflow_server(folder: Path, database: str) -> Iterator[str]:
    """Run `mlflow server` over a database, and yield its address."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1"),
        *("--backend-store-uri", database),
        *("--artifacts-destination", str(folder / "artifacts")),
        *("--host", "127.0.0.1", "--port", str(port)),
    ]
    with open(folder / "mlflow.log", "wb") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until("the MLflow server", lambda: server.poll() is not None or listens(port))
        if server.poll() is not None:
            raise RuntimeError(f"mlflow server: {(folder / 'mlflow.log').read_text()[-2000:]}")
        yield f"http://127.0.0.1:{port}"
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def children(client: Any, sweep: str) -> list[Any]:
    """Return the runs of trials that MLflow has."""
    experiment = client.get_experiment_by_name(sweep)
    if experiment is None:
        return []
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    return [run for run in runs if "engram.trial" in run.data.tags]


def run_sweep(folder: Path, postgres: Postgres, address: str, options: Any) -> tuple[str, float]:
    """Run the sweep, with the database away for a while; return what was printed, and how long."""
    from orchestrator.tracking.client import connect

    write_space(
        folder,
        "postgres",
        dataset="split-digits",
        tasks=5,
        network={"name": "mlp", "widths": [64]},
        budget={"iterations": options.iterations, "batch_size": 32},
        method=["naive"],
        seed=list(range(options.trials)),
    )
    here = {"MLFLOW_TRACKING_URI": address, "ENGRAM_DATA": str(folder / "data")}
    with open(folder / "sweep.log", "w+", encoding="utf-8") as log:
        sweep = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", "run", "postgres.yaml"],
            cwd=folder,
            env=os.environ | here,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            client = connect(address)
            wait_until("the first trials in MLflow", lambda: len(children(client, "postgres")) >= 3)
            postgres.crash()
            left, since = time.monotonic(), len(list((folder / "results/trials").glob("*.arrow")))
            progress(f"PostgreSQL killed, {since} trials recorded")
            time.sleep(options.away)
            postgres.start()
            away = time.monotonic() - left
            recorded = len(list((folder / "results/trials").glob("*.arrow")))
            progress(f"PostgreSQL back after {away:.1f} s, {recorded} trials recorded")
            if sweep.wait(timeout=300):
                raise RuntimeError(f"engram run: {Path(log.name).read_text()[-2000:]}")
        finally:
            if sweep.poll() is None:
                sweep.terminate()
                sweep.wait()
    return Path(log.name).read_text(), away


def main() -> int:
    options = arguments(__doc__, trials=24, iterations=400, away=8)
    lacks = missing()
    if lacks:
        print(f"skipped: {lacks}")
        return 0
    from orchestrator.results import ResultsStore
    from orchestrator.tracking.client import connect

    with tempfile.TemporaryDirectory(prefix="engram-benchmark-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # for whom PostgreSQL runs as
        postgres = Postgres(folder)
        postgres.start()
        try:
            with mlflow_server(folder, postgres.uri) as address:
                printed, away = run_sweep(folder, postgres, address, options)
                client = connect(address)
                runs = children(client, "postgres")
                histories = {
                    (run.info.run_id, metric): [
                        entry.step for entry in client.get_metric_history(run.info.run_id, metric)
                    ]
                    for run in runs
                    for metric in run.data.metrics
                }
        finally:
            postgres.crash()
        records = ResultsStore(folder / "results").records()
    tasks = [steps for (_, metric), steps in histories.items() if metric == "average_accuracy"]
    trials = Counter(run.data.tags["engram.trial"] for run in runs)
    whole = [run for run in runs if run.info.status == "FINISHED"]
    doubled = sum(len(steps) - len(set(steps)) for steps in histories.values())
    lost = sum(len(set(range(1, 6)) - set(steps)) for steps in tasks)

    verdict = Verdict(f"MLflow over PostgreSQL, which was away for {away:.0f} s")
    every = {"at_least": options.trials, "at_most": options.trials}
    verdict.check("trials in the results store", len(records), **every)
    verdict.check("trials in MLflow", len(trials), **every)
    verdict.check("their runs, completed", len(whole), **every)
    verdict.check("steps that are there twice", doubled, at_most=0)
    verdict.check("tasks without their metrics", lost, at_most=0)
    verdict.check(
        "times it was said that MLflow is away",
        printed.count("does not answer"),
        at_least=1,
        at_most=1,
    )
    verdict.check(
        "times it was said that MLflow is back",
        printed.count("answers again"),
        at_least=1,
        at_most=1,
    )
    verdict.check("times the password was printed", printed.count(_PASSWORD), at_most=0)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
