"""Search spaces in temporary folders, the command line, and methods that misbehave."""

from __future__ import annotations

import logging
import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.identity import Environment
from orchestrator.metrics import METRICS
from orchestrator.plan import Plan, make_plan
from orchestrator.results import SCHEMA, SCHEMA_VERSION
from orchestrator.trial import Trial, identifying_columns

#: A plug-in as a package brings it: each method fails in its own way, or tells what it sees.
PLUGIN = '''
"""Methods that misbehave."""

import os
import signal
import time
from pathlib import Path

import torch

from methods.core.registry import register
from methods.naive import Naive


def note(line):
    """Tell the test something: one short line is appended as a whole."""
    with open(os.environ["ENGRAM_TEST_NOTES"], "a") as file:
        file.write(line + "\\n")


@register("test-raises")
class Raises(Naive):
    """Fail in the second task."""

    def before_task(self, task):
        if task.index == 1:
            note("raises")
            raise ZeroDivisionError("as planned")


@register("test-diverges")
class Diverges(Naive):
    """Lose the loss in the second task."""

    def loss_terms(self, batch, logits):
        terms = super().loss_terms(batch, logits)
        return {"new": terms["new"] * float("nan")} if self.tasks_learned == 1 else terms


@register("test-dies")
class Dies(Naive):
    """Kill the whole worker in the second task, as a machine does that runs out of memory."""

    def before_task(self, task):
        if task.index == 1 and not Path(os.environ["ENGRAM_TEST_CURE"]).exists():
            note("dies")
            os.kill(os.getpid(), signal.SIGKILL)


@register("test-dies-once")
class DiesOnce(Naive):
    """Kill the worker in the second task, the first time only."""

    def before_task(self, task):
        scar = Path(os.environ["ENGRAM_TEST_NOTES"]).with_name("scar")
        if task.index == 1 and not scar.exists():
            scar.touch()
            os.kill(os.getpid(), signal.SIGKILL)


@register("test-shows")
class Shows(Naive):
    """Show images of each task, and kill the worker in the second one, the first time only."""

    def after_task(self, task, log):
        x = task.train.gather(torch.arange(20)).x
        log.image("generator, step 5", x.flip(0))
        log.image("generator", x)
        scar = Path(os.environ["ENGRAM_TEST_NOTES"]).with_name("shown")
        if task.index == 1 and not scar.exists():
            scar.touch()
            os.kill(os.getpid(), signal.SIGKILL)


@register("test-tells")
class Tells(Naive):
    """Tell where it runs."""

    def before_task(self, task):
        note(f"process {os.getpid()} threads {torch.get_num_threads()}")


@register("test-slow")
class Slow(Naive):
    """Take half a second a task."""

    def before_task(self, task):
        note(f"slow {task.index}")
        time.sleep(0.5)
'''


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a search space: ``write("name: …")``, indented as the test likes."""

    def write_file(text: str, name: str = "space.yaml") -> Path:
        path = tmp_path / name
        path.write_text(dedent(text), encoding="utf-8")
        return path

    return write_file


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], dict[str, str]]:
    """Installs a package with more methods, with notes of its own: ``install()``.

    What is returned is the environment of a process in which it is installed.
    """

    def make() -> dict[str, str]:
        root = tmp_path_factory.mktemp("plugin")
        site = root / "site"
        info = site / "misbehaving-1.0.dist-info"
        info.mkdir(parents=True)
        (site / "misbehaving.py").write_text(PLUGIN)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: misbehaving\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[engram.methods]\nmisbehaving = misbehaving\n")
        path = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            "PYTHONPATH": os.pathsep.join(path),
            "ENGRAM_TEST_NOTES": str(root / "notes.txt"),
            "ENGRAM_TEST_CURE": str(root / "cure"),
        }

    return make


@pytest.fixture(scope="module")
def plugin(install: Callable[[], dict[str, str]]) -> dict[str, str]:
    """The environment of a process in which a package with more methods is installed."""
    return install()


class Engram:
    """The command line in a process of its own."""

    @staticmethod
    def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of this process without what would lead Engram elsewhere."""
        ours = ("ENGRAM_", "MLFLOW_", "RAY_", "TUNE_")
        own = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
        return own | dict(more or {})

    def command(self, *arguments: object) -> list[str]:
        return [sys.executable, "-m", "orchestrator", *map(str, arguments)]

    def __call__(
        self, *arguments: object, cwd: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=cwd,
            env=self.environment(env),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )


@pytest.fixture(scope="session")
def engram() -> Engram:
    """Runs the command line: ``engram("plan", "quickstart", cwd=folder)``."""
    return Engram()


@pytest.fixture
def plan(write: Callable[..., Path], tmp_path: Path) -> Callable[[str], Plan]:
    """Plans a search space given as text."""
    return lambda text: make_plan(write(text), tmp_path / "data")


@pytest.fixture
def record_of() -> Callable[..., dict[str, Any]]:
    """Makes the record of a planned trial: ``record_of(trial, environment, outcome="error")``."""

    def make(trial: Trial, environment: Environment, **changed: Any) -> dict[str, Any]:
        columns: dict[str, Any] = {}
        for field in SCHEMA:
            empty = {} if pa.types.is_map(field.type) else [] if pa.types.is_list(field.type) else 0
            columns[field.name] = "" if field.type == pa.string() else empty
        columns |= {
            "schema": SCHEMA_VERSION,
            **identifying_columns([trial], environment)[0],
            **asdict(environment),
            **dict.fromkeys(METRICS, 0.5),
            "tasks": trial.config.stream.tasks,
            "stream_seed": trial.config.stream.stream_seed,
            "config": trial.config.text,
            "data": trial.data,
            "code": trial.code,
            "outcome": "finished",
            "started": int(datetime(2026, 11, 20, 14, 4, tzinfo=UTC).timestamp() * 1000),
            "seconds": 60.0,
            "host": "bench",
        }
        return columns | changed

    return make


class S3:
    """A server on this machine that speaks S3, from the package moto."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        self.address = f"{host}:{port}"

    def ask(self, path: str, content: bytes | None = None, method: str = "POST") -> None:
        request = urllib.request.Request(f"http://{self.address}/{path}", content, method=method)
        request.add_header("Content-Type", "text/plain")
        urllib.request.urlopen(request).close()

    def bucket(self) -> str:
        """Make a bucket, and return its name."""
        name = f"bucket-{secrets.token_hex(8)}"
        self.ask(name, method="PUT")
        return name

    def uri(self, folder: str, key: str = "anybody:secret") -> str:
        return f"s3://{key}@{folder}?endpoint_override={self.address}&scheme=http"

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Let nobody in."""
        self.ask("moto-api/reset-auth", b"0")
        try:
            yield
        finally:
            self.ask("moto-api/reset-auth", b"inf")


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """A server that speaks S3: ``s3.uri(f"{s3.bucket()}/results")``."""
    pytest.importorskip("moto.server", reason="moto is not installed")
    server = S3()
    yield server
    server.server.stop()
