"""What Engram starts on this machine is reached from this machine only."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.local_ray import scratch_folder

SPACE = """\
name: slow
dataset: split-digits
scenario: class-incremental
budget: {iterations: 1, batch_size: 8}
method: [test-slow, test-raises]
"""
PASSING = "http://ann:hunter2@db.example.org/x?token=abc123 AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI"


def processes(root: subprocess.Popen[Any]) -> list[psutil.Process]:
    own = psutil.Process(root.pid)
    return [own, *own.children(recursive=True)]


def open_to_others(root: subprocess.Popen[Any]) -> tuple[set[int], list[str]]:
    """Ports on which a process and its children listen, and those that other machines reach."""
    ports, reached = set(), []
    for process in processes(root):
        try:
            name, connections = process.name(), process.net_connections(kind="inet")
        except psutil.NoSuchProcess:
            continue
        for connection in connections:
            listens = connection.status == psutil.CONN_LISTEN
            if not listens and (connection.type != socket.SOCK_DGRAM or connection.raddr):
                continue
            address = ipaddress.ip_address(connection.laddr.ip)
            inner = getattr(address, "ipv4_mapped", None) or address
            ports.add(connection.laddr.port)
            if not inner.is_loopback:
                reached.append(f"{name} on {connection.laddr}")
    return ports, reached


def until(condition: Callable[[], Any], process: subprocess.Popen[Any]) -> None:
    end = time.monotonic() + 150
    while not condition():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def seen(home: Path, engram: Any, plugin: dict[str, str]) -> Iterator[dict[str, Any]]:
    """A sweep of its own Ray with MLflow, looked at while it runs."""
    (home / "space.yaml").write_text(SPACE)
    (home / ".ray").mkdir(mode=0o755)
    env = engram.environment(plugin | {"HOME": str(home), "PLANTED_VARIABLE": PASSING})
    with open(home / "log", "wb") as log:
        run = subprocess.Popen(
            engram.command("run", home / "space.yaml"),
            cwd=home,
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        notes = Path(plugin["ENGRAM_TEST_NOTES"])
        until(lambda: notes.exists() and "slow 0" in notes.read_text(), run)
        ports, reached = open_to_others(run)
        lines = [process.cmdline() for process in processes(run)]
        folders = [a.partition("=")[2] for line in lines for a in line if "temp_dir=" in a]
        modes = {f: stat.S_IMODE(Path(f).parent.stat().st_mode) for f in folders if f}
        run.wait(150)
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    return {"ports": ports, "reached": reached, "modes": modes}


def test_the_ray_of_a_sweep_is_reached_from_this_machine_only(seen: dict[str, Any]) -> None:
    assert len(seen["ports"]) >= 4  # of Ray's store, its node manager, workers, the driver
    assert seen["reached"] == []


def test_ray_s_folder_is_this_user_s_and_does_not_stay(seen: dict[str, Any]) -> None:
    assert set(seen["modes"].values()) == {0o700}
    assert not [folder for folder in seen["modes"] if Path(folder).exists()]


def test_ray_s_token_is_this_user_s(seen: dict[str, Any], home: Path) -> None:
    token = home / ".ray" / "auth_token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


def test_files_have_ordinary_permissions(seen: dict[str, Any], home: Path) -> None:
    files = [path for path in (home / "results").rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) & 0o133 == 0, path  # no one else writes


def test_nothing_of_the_environment_is_recorded(seen: dict[str, Any], home: Path) -> None:
    for path in [*(home / "results").rglob("*"), *(home / "mlartifacts").rglob("*"), home / "log"]:
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path
    assert b"PLANTED" not in (home / "mlflow.db").read_bytes()


def test_mlflow_s_pages_are_reached_from_this_machine_only(
    seen: dict[str, Any], home: Path, engram: Any
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ui = subprocess.Popen(
        engram.command("ui", "--port", port),
        cwd=home,
        env=engram.environment({"MLFLOW_HOST": "0.0.0.0"}),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert ui.stdout is not None
        assert "MLflow runs on http://127.0.0.1" in ui.stdout.readline()
        ports, reached = open_to_others(ui)
        assert port in ports
        assert reached == []
        lines = [part for process in processes(ui) for part in process.cmdline()]
        assert not [part for part in lines if "sqlite:" in part]  # all users see command lines
    finally:
        ui.send_signal(signal.SIGINT)
        ui.wait(60)
        assert ui.stdout is not None
        ui.stdout.close()


def test_the_folder_of_a_sweep_is_private_and_its_name_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("long" * 20)))
    with scratch_folder() as one, scratch_folder() as other:
        assert one != other
        assert stat.S_IMODE(one.stat().st_mode) == 0o700
        assert len(str(one)) < 30
    assert not one.exists()
