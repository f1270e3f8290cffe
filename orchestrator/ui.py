"""MLflow's pages on this machine, opened at a sweep's comparison."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from rich.console import Console

from orchestrator.credentials import without_credentials
from orchestrator.errors import UserError, did_you_mean
from orchestrator.search_space import sweep_name
from orchestrator.terminal import say
from orchestrator.tracking.client import connect, reason, shown_uri, tracking_uri
from orchestrator.tracking.search import SWEEP_TAG

#: Seconds that a server may take to answer for the first time.
_PATIENCE = 60


def serve(space: str | None, port: int, console: Console) -> None:
    """Start MLflow's server, print the link to a sweep, and wait until interrupted.

    Where ``MLFLOW_TRACKING_URI`` names a server, nothing is started and its link is printed.

    Raises
    ------
    UserError
        If nothing was recorded, there is no such sweep, the port is taken, or a server does not
        answer.
    """
    from mlflow.exceptions import MlflowException

    uri = tracking_uri()
    running = uri.startswith(("http://", "https://"))
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).is_file():
        raise UserError(
            f"{uri}: nothing is recorded here yet; run a search space first, "
            "or go to the folder where it was run"
        )
    base = shown_uri(uri).rstrip("/") if running else f"http://127.0.0.1:{port}"
    try:
        link = sweep_link(base, uri, space)
    except MlflowException as error:
        raise UserError(f"{shown_uri(uri)}: cannot be asked ({reason(error)})") from None
    if running:
        say(console, link)
        return
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(
                f"port {port} is taken; choose another one: engram ui --port {port + 1}"
            )
    _run_server(uri, port, base, link, console)


def sweep_link(base: str, uri: str, space: str | None) -> str:
    """Return the address of the page that compares a sweep's trials.

    Parameters
    ----------
    base : str
        Address of the server.
    uri : str
        Where the sweep is recorded.
    space : str, optional
        Name or file of the search space; the latest sweep by default.
    """
    client = connect(uri)
    parents: dict[str, Any] = {}
    for experiment in client.search_experiments():
        for run in client.search_runs(
            [experiment.experiment_id], f"tags.`{SWEEP_TAG}` != ''", max_results=1
        ):
            parents[experiment.name] = run
    if not parents:
        raise UserError(
            f"{shown_uri(uri)}: holds no sweep; run a search space first: engram run quickstart"
        )
    if space is None:
        parent = max(parents.values(), key=lambda run: run.info.start_time)
    else:
        name = sweep_name(space)
        if name not in parents:
            near = did_you_mean(name, parents)
            raise UserError(f"{shown_uri(uri)}: holds no sweep {name!r}{near}")
        parent = parents[name]
    query = {
        "workflowType": "machine_learning",  # MLflow opens on its pages for chat models otherwise
        "compareRunsMode": "CHART",
        "searchFilter": f"tags.mlflow.parentRunId = '{parent.info.run_id}'",
        "orderByKey": "metrics.`average_accuracy`",
        "orderByAsc": "false",
    }
    return f"{base}/#/experiments/{parent.info.experiment_id}/runs?{urlencode(query)}"


def _run_server(uri: str, port: int, base: str, link: str, console: Console) -> None:
    command = [
        *(sys.executable, "-m", "mlflow", "server"),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--workers", "1"),
    ]
    # As it comes, the server also starts workers for jobs that nobody here asks for.
    quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    # Not an argument: all users of a machine see those, and a database's address has its password.
    quiet |= {"MLFLOW_BACKEND_STORE_URI": uri}
    server = subprocess.Popen(
        command,
        env=os.environ | quiet,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        _wait_for(f"{base}/health", server)
        say(console, f"MLflow runs on {base}; this sweep's comparison:\n{link}\nCtrl-C stops it.")
        server.communicate()
    except KeyboardInterrupt:
        say(console, "stopped")
    finally:
        if server.poll() is None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait()


def _wait_for(address: str, server: subprocess.Popen[str]) -> None:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        if server.poll() is not None:
            message = (server.stderr.read() if server.stderr else "").strip().splitlines()
            reason = without_credentials(message[-1]) if message else "no reason"
            raise UserError(f"MLflow's server did not start: {reason}")
        try:
            with urllib.request.urlopen(address, timeout=2):  # noqa: S310 - our own server
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise UserError(f"MLflow's server did not answer within {_PATIENCE} s")
