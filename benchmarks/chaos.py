"""Sweeps that are killed again and again: nothing is lost, doubled or changed.

Each sweep has 12 trials of 5 tasks and is killed three times, at random moments from its start on:
the driver, a worker, or the node (Ray's raylet) of the one machine, always with SIGKILL. When the
command has ended, it is given again, until all kills have happened, and then once more to the end.
Where a sweep is done before that, the command that finds nothing to do is killed too. The records
are then compared with those of sweeps that nobody touched, as are the runs in MLflow's database,
which is in each sweep's folder and, as on a user's first day, not yet there when it begins.
"""

from __future__ import annotations

import os
import random
import re
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
from _common import Verdict, arguments, progress, status_of, write_space

from orchestrator.results import DETERMINISTIC, ResultsStore

TRIALS = 12
VICTIMS = ("driver", "worker", "node")
#: Seconds after which a command that was to end counts as hanging.
PATIENCE = 180
#: Metrics in MLflow that are not the same in a second run.
VOLATILE = re.compile(r"seconds.*|samples_per_second|system/.*")


@dataclass
class Sweep:
    """A sweep in a folder of its own, and what was done to it."""

    folder: Path
    kills: list[str] = field(default_factory=list)
    commands: int = 0
    problems: list[str] = field(default_factory=list)
    _process: subprocess.Popen[bytes] | None = None

    def begin(self) -> subprocess.Popen[bytes]:
        """Give the command, unless it is running."""
        if self._process is None or self._process.poll() is not None:
            self.commands += 1
            with open(self.folder / f"output-{self.commands}.txt", "wb") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "orchestrator", "run", "chaos.yaml", "--data", "data"],
                    cwd=self.folder,
                    env=os.environ | {"TMPDIR": os.fspath(self.folder.parent)},  # what Ray leaves
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
        return self._process

    def end(self) -> int | None:
        """Wait for the command; one that hangs is a problem, and is killed."""
        assert self._process is not None
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.problems.append(f"command {self.commands} hung after {self.kills}")
            self._process.kill()
            self._process.wait()
            return None

    @property
    def done(self) -> int:
        """Number of records."""
        return len(list((self.folder / "results" / "trials").glob("*.arrow")))

    def records(self) -> bytes:
        """Deterministic columns of all records, as the bytes of an Arrow file."""
        table = ResultsStore(self.folder / "results").read().select(DETERMINISTIC).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        content: bytes = sink.getvalue().to_pybytes()
        return content

    def mlflow(self) -> tuple[Counter[tuple[str, ...]], list[tuple[Any, ...]]]:
        """How often MLflow has each trial with each status, and all metrics in order."""
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

    def leftovers(self) -> list[Path]:
        """Checkpoints; half-written files of killed processes have hidden names, and may stay."""
        return list((self.folder / "results" / "checkpoints").glob("*"))


def make(root: Path, name: str) -> Sweep:
    """Make a folder with the search space; a task of a trial takes a few tenths of a second."""
    folder = root / name
    folder.mkdir()
    write_space(
        folder,
        "chaos",
        dataset="split-digits",
        tasks=5,
        network={"name": "mlp", "widths": [64, 32]},
        budget={"iterations": 150, "batch_size": 32},
        buffer_size=100,
        method=["naive", "replay", {"glr": {"freeze_depth": 1}}, {"ewc": {"strength": 100}}],
        seed="0..2",
    )
    return Sweep(folder)


def undisturbed(root: Path, name: str) -> tuple[Sweep, float]:
    """Run a sweep that nobody touches; also return how many seconds it took."""
    sweep, start = make(root, name), time.monotonic()
    sweep.begin()
    if sweep.end() != 0:
        raise SystemExit((sweep.folder / "output-1.txt").read_text())
    return sweep, time.monotonic() - start


def kill(victim: str, driver: subprocess.Popen[bytes], rng: random.Random) -> bool:
    """Kill a process of a command; False if it has none of that kind now."""
    try:
        if victim == "driver":
            found = [psutil.Process(driver.pid)]
        else:
            children = psutil.Process(driver.pid).children(recursive=True)
            start = {"worker": "ray::", "node": "raylet"}[victim]
            found = [child for child in children if child.name().startswith(start)]
        if not found:
            return False
        rng.choice(sorted(found, key=lambda process: process.pid)).kill()
    except psutil.NoSuchProcess:
        return False
    return True


def torment(root: Path, number: int, kills: int, seed: int, seconds: float) -> Sweep:
    """Kill a sweep so many times, then let it end."""
    rng = random.Random(f"{seed}, {number}")
    sweep = make(root, f"sweep-{number}")
    while len(sweep.kills) < kills:
        driver = sweep.begin()
        # Mostly in the midst of what is left to do; one that is done ends after a tenth of it.
        delay = rng.uniform(0, seconds * (0.1 + 0.6 * (1 - sweep.done / TRIALS)))
        try:
            driver.wait(delay)
            continue  # it was done before
        except subprocess.TimeoutExpired:
            victim = rng.choice(VICTIMS)
        while not kill(victim, driver, rng) and driver.poll() is None:
            time.sleep(0.05)  # there is none yet
        if driver.poll() is None or victim == "driver":
            sweep.kills.append(f"{victim} at {sweep.done}")
        if victim != "worker":
            sweep.end()
    sweep.begin()
    if sweep.end() != 0:  # it was running when the last worker was killed, and left something
        sweep.begin()
        status = sweep.end()
        if status != 0:
            sweep.problems.append(f"the last command ended with status {status}")
    return sweep


def inspect(sweep: Sweep, untouched: Sweep) -> dict[str, int]:
    """Count what came out of a sweep, and note what is wrong with it."""
    outcomes = ResultsStore(sweep.folder / "results").outcomes()
    finished = sum(outcome == "finished" for outcome in outcomes.values())
    runs, metrics = sweep.mlflow()
    expected = {(trial, "FINISHED"): 1 for trial in outcomes} | {("parent", "FINISHED"): 1}
    points = Counter(row[:3] for row in metrics)
    wrong = {
        f"{finished} of {TRIALS} finished": finished != TRIALS,
        "records differ": sweep.records() != untouched.records(),
        f"MLflow has {runs - Counter(expected)} too much": bool(runs - Counter(expected)),
        f"MLflow lacks {Counter(expected) - runs}": bool(Counter(expected) - runs),
        "points of metrics are doubled": max(points.values()) > 1,
        "metrics in MLflow differ": metrics != untouched.mlflow()[1],
        f"left lying about: {sweep.leftovers()}": bool(sweep.leftovers()),
    }
    sweep.problems += [problem for problem, there in wrong.items() if there]
    for path in sweep.folder.glob("output-*.txt"):
        if "Traceback" in path.read_text():
            sweep.problems.append(f"a traceback in {path.name}")
    return {
        "finished": finished,
        "equal": not wrong["records differ"],
        "doubled": sum(times - 1 for times in (*runs.values(), *points.values())),
        "mlflow": metrics == untouched.mlflow()[1],
    }


def main() -> int:
    options = arguments(__doc__, sweeps=50, kills=3, seed=0, parallel=2)
    with (
        tempfile.TemporaryDirectory(prefix="c", ignore_cleanup_errors=True) as name,
        ThreadPoolExecutor(options.parallel) as several,
    ):
        root = Path(name)
        names = [f"undisturbed-{i}" for i in range(options.parallel)]
        (untouched, seconds), *others = several.map(lambda name: undisturbed(root, name), names)
        assert all(other.records() == untouched.records() for other, _ in others)
        progress(f"undisturbed: {seconds:.0f} s")
        total: Counter[str] = Counter()

        def one(number: int) -> None:
            start = time.monotonic()
            sweep = torment(root, number, options.kills, options.seed, seconds)
            found = inspect(sweep, untouched)
            total.update(found, kills=len(sweep.kills), problems=len(sweep.problems))
            told = "; ".join(sweep.problems) or "all well"
            kills = ", ".join(sweep.kills)
            progress(
                f"sweep {number}: {found['finished']} of {TRIALS} finished in {sweep.commands} "
                f"commands, {time.monotonic() - start:.0f} s; killed: {kills}; {told}"
            )

        list(several.map(one, range(options.sweeps)))
    asked = options.sweeps * TRIALS
    kills = options.sweeps * options.kills
    verdict = Verdict(f"chaos: {options.sweeps} sweeps of {TRIALS} trials, {kills} random SIGKILLs")
    verdict.check("SIGKILLs", total["kills"], at_least=kills)
    verdict.check("trials finished", total["finished"], at_least=asked)
    verdict.check("sweeps with byte-equal records", total["equal"], at_least=options.sweeps)
    verdict.check(
        "sweeps with the same metrics in MLflow", total["mlflow"], at_least=options.sweeps
    )
    verdict.check("runs or points of metrics doubled", total["doubled"], at_most=0)
    verdict.check("other problems", total["problems"], at_most=0)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
