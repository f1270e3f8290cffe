"""Sweeps of methods that tell what they learn, in processes that are killed at named moments."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.results import DETERMINISTIC, ResultsStore

PLUGIN = Path(__file__).with_name("plugin")
#: Metrics that are not the same in a second run.
VOLATILE = re.compile(r"seconds.*|samples_per_second|system/.*")


@dataclass(frozen=True)
class Home:
    """A folder in which a sweep is run."""

    folder: Path
    env: dict[str, str]
    engram: Any

    def start(self, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start ``engram run space.yaml``; its output goes to the file ``output.txt``."""
        with open(self.folder / "output.txt", "a") as output:
            return subprocess.Popen(
                [*before, *self.engram.command("run", "space.yaml", *arguments)],
                cwd=self.folder,
                env=self.engram.environment(self.env),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def run(self, *arguments: str) -> int:
        """Run it to its end and return its status."""
        return self.start(*arguments).wait(300)

    def wait_for(self, condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
        """Wait until something is the case, while a process runs."""
        deadline = time.monotonic() + 200
        while not condition():
            assert process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.02)

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text()

    @property
    def notes(self) -> list[list[str]]:
        path = Path(self.env["SURVIVAL_FOLDER"], "notes.txt")
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def learnt(self) -> Counter[tuple[str, int]]:
        """How often each task of each trial was begun."""
        return Counter((note[1], int(note[2])) for note in self.notes if note[0] == "learns")

    @property
    def learnt_again(self) -> list[int]:
        """The tasks that were begun more than once, from 1, as often as they were begun again."""
        return sorted(task + 1 for (_, task), times in self.learnt.items() for _ in range(1, times))

    @property
    def store(self) -> ResultsStore:
        return ResultsStore(self.folder / "results")

    @property
    def scars(self) -> set[str]:
        """Names of the faults that have happened."""
        return {path.name.removeprefix("scar-") for path in self.folder.glob("scar-*")}

    def deterministic(self) -> bytes:
        """The deterministic columns of all records, as the bytes of an Arrow file."""
        table = self.store.read().select(DETERMINISTIC).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        content: bytes = sink.getvalue().to_pybytes()
        return content

    def mlflow(self) -> tuple[Counter[tuple[str, ...]], list[tuple[Any, ...]]]:
        """How often MLflow has each trial with each status, and all metrics in their order.

        Read with SQL, so that nothing that MLflow's client leaves out is missed.
        """
        with sqlite3.connect(self.folder / "mlflow.db") as database:
            runs = database.execute(
                "SELECT coalesce(t.value, 'parent'), status FROM runs r LEFT JOIN tags t"
                " ON t.run_uuid = r.run_uuid AND t.key = 'engram.trial'"
                " WHERE r.lifecycle_stage = 'active'"
            ).fetchall()
            metrics = database.execute(
                "SELECT t.value, m.key, m.step, m.is_nan, m.value FROM metrics m"
                " JOIN runs r ON r.run_uuid = m.run_uuid AND r.lifecycle_stage = 'active'"
                " JOIN tags t ON t.run_uuid = m.run_uuid AND t.key = 'engram.trial'"
                " ORDER BY 1, 2, 3, 5"
            ).fetchall()
        return Counter(runs), [row for row in metrics if not VOLATILE.fullmatch(row[1])]

    def leftovers(self) -> list[str]:
        """Checkpoints; half-written files of killed processes have hidden names, and may stay."""
        return sorted(map(str, (self.folder / "results" / "checkpoints").rglob("*")))


@pytest.fixture(scope="package")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which the methods of this package are installed."""
    site = tmp_path_factory.mktemp("site")
    info = site / "survivors-1.0.dist-info"
    info.mkdir()
    shutil.copy(PLUGIN / "survivors.py", site)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: survivors\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[engram.methods]\nsurvivors = survivors\n")
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path}


@pytest.fixture(scope="package")
def scratch() -> Iterator[str]:
    """A folder for what killed processes leave behind, with a name short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="s", ignore_cleanup_errors=True) as folder:
        yield folder


@pytest.fixture(scope="package")
def home(
    engram: Any,
    installed: dict[str, str],
    scratch: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Home]:
    """Makes a home for a sweep: ``home("name: …", [{"name": "a", "at": "in-task"}])``."""

    def make(space: str, faults: list[dict[str, Any]] | None = None, **env: str) -> Home:
        folder = tmp_path_factory.mktemp("home")
        (folder / "space.yaml").write_text(space)
        ours = {
            "TMPDIR": scratch,
            "SURVIVAL_FOLDER": str(folder),
            "SURVIVAL_RESULTS": str(folder / "results"),
            "SURVIVAL_FAULTS": json.dumps(faults or []),
        }
        return Home(folder, installed | ours | env, engram)

    return make
