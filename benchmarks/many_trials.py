"""What a trial costs, and what the driver keeps of it, after thousands of trials in one sweep.

A trial trains 16 hidden units for one step on each of two tasks of scikit-learn's digits. The sweep
runs through `run_plan`, without MLflow, into an empty folder, and its store notes the time and the
memory of the driver as it writes records. The first hundred trials are left out: workers start and
load the data. Memory is what the driver alone holds (USS); its growth is the slope of a straight
line through all notes. `--profile 1` tells in which functions the driver spends its time.
"""

from __future__ import annotations

import cProfile
import pstats
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from _common import Verdict, arguments, progress, status_of, write_space
from rich.console import Console

from orchestrator.plan import make_plan
from orchestrator.results import Record, ResultsStore
from orchestrator.sweep import run_plan

#: Trials that are left out, between two notes, and in what is told.
_WARM_UP, _EVERY, _BLOCK = 100, 100, 1000


class CountingStore(ResultsStore):
    """Notes how many records there are, when, and what memory this process then holds."""

    def __init__(self, where: Path) -> None:
        super().__init__(where)
        self.notes: list[tuple[int, float, float]] = []
        self._written, self._process = 0, psutil.Process()

    def write(self, record: Record) -> str:
        """Write a record, and take a note now and then."""
        name = super().write(record)
        self._written += 1
        if self._written % _EVERY == 0 and self._written >= _WARM_UP:
            uss = self._process.memory_full_info().uss / 2**20
            self.notes.append((self._written, time.perf_counter(), uss))
        if self._written % _BLOCK == _WARM_UP and self._written > _WARM_UP:
            (_, before, _), (count, now, uss) = self.notes[-1 - _BLOCK // _EVERY], self.notes[-1]
            progress(f"{count:6} trials: {1000 * (now - before) / _BLOCK:5.1f} ms, {uss:6.1f} MB")
        return name


def run(trials: int, profile: bool) -> np.ndarray:
    """Run a sweep and return the notes: trials, seconds, MB, a row each."""
    with tempfile.TemporaryDirectory(prefix="engram-benchmark-") as name:
        folder = Path(name)
        space = write_space(
            folder,
            "trivial",
            dataset="split-digits",
            tasks=2,
            network={"name": "mlp", "widths": [16]},
            budget={"iterations": 1, "batch_size": 8},
            method="naive",
            seed=f"0..{trials - 1}",
        )
        store = CountingStore(folder / "results")
        plan = make_plan(space, folder)
        profiler = cProfile.Profile(time.process_time)  # of the driver's own work, not its waiting
        if profile:
            profiler.enable()
        outcome = run_plan(plan, store, folder, Console(quiet=True))
        profiler.disable()
        if profile:
            pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(40)
    if outcome.failed or outcome.pending:
        raise SystemExit(f"the sweep went wrong: {outcome}")
    return np.array(store.notes)


def main() -> int:
    options = arguments(__doc__, trials=10_000, profile=0)
    trials, seconds, megabytes = run(options.trials, bool(options.profile)).T
    block = min(_BLOCK, int(trials[-1] - trials[0]) // 2) // _EVERY
    first = 1000 * (seconds[block] - seconds[0]) / (trials[block] - trials[0])
    last = 1000 * (seconds[-1] - seconds[-1 - block]) / (trials[-1] - trials[-1 - block])
    growth = 1000 * np.polyfit(trials, megabytes, 1)[0]
    verdict = Verdict(f"many_trials: {options.trials:,} trivial trials in one sweep")
    verdict.check("a trial at the start", first, unit="ms")
    verdict.check("a trial at the end", last, unit="ms")
    verdict.check("a trial at the end, relative", last / first, at_most=1.5, unit="×")
    verdict.check("the driver's memory at the end", megabytes[-1], unit="MB")
    verdict.check("its growth per 1,000 trials", growth, at_most=20, unit="MB")
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
