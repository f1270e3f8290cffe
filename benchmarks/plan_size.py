"""The plan of 100,000 grid points: seconds and memory of `engram plan`, from its start to its end.

Two search spaces, each planned by the command line in a process of its own, with an empty results
folder and printed in its short form. They need no data but scikit-learn's digits.

``seeds`` has few configurations and many seeds, as real sweeps do: three kinds of streams with
class orders of their own, axes that collapse for some methods, options that make another published
system of a method, and combinations that repeat each other. ``options`` is the other extreme: each
trial has a configuration that no other has, and must be checked and hashed by itself.

Also measured, though nothing is asked of it: what `engram run` writes and reads again before the
first trial of such a sweep starts, ``sweeps/NAME.json`` with all its trials.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from _common import Verdict, arguments, progress, status_of, write_space

SECONDS, GIGABYTES = 10.0, 1.0

#: Axes of each search space: each spans more than 100,000 unique trials.
SPACES: dict[str, dict[str, Any]] = {
    "seeds": {
        "dataset": ["split-digits", "permuted-digits", "rotated-digits"],
        "scenario": ["domain-incremental", "class-incremental"],
        "class_order": ["natural", "seeded"],
        "stream_seed": "same",
        "network": {"name": "mlp", "widths": [20, 10]},
        "budget": {"iterations": 5},
        "freeze_depth": [0, 1, 2],
        "buffer_size": "1..23",
        "replay_batch": [4, 8],
        "method": ["naive", "joint", "ewc", "replay", "latent-replay", "glr", "rehearsal"],
        "seed": "0..39",
    },
    "options": {
        "dataset": "split-digits",
        "network": {"name": "mlp", "widths": [20, 10]},
        "buffer_size": "1..5000",
        "replay_batch": "1..20",
        "method": ["naive", "replay"],
        "seed": 0,
    },
}

_SWEEP = """
import json, sys, time
from pathlib import Path
from orchestrator.plan import make_plan
from orchestrator.results import ResultsStore
from orchestrator.trial import identifying_columns

plan, store = make_plan(sys.argv[1], Path(sys.argv[2])), ResultsStore(sys.argv[3])
start = time.perf_counter()
store.write_sweep("sweep", identifying_columns(plan.trials, plan.environment))
written = time.perf_counter()
store.read_sweep("sweep")
print(json.dumps({"write": written - start, "read": time.perf_counter() - written}))
"""


class Cost(NamedTuple):
    """What planning took: seconds on the clock and of a core, gigabytes of memory at the peak."""

    trials: int
    seconds: float
    cpu_seconds: float
    gigabytes: float


def planned(space: Path, data: Path, results: Path) -> Cost:
    """Plan a search space in a process of its own."""
    command = [sys.executable, "-m", "orchestrator", "plan", os.fspath(space)]
    command += ["--data", os.fspath(data), "--results", os.fspath(results)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    found = re.search(r"([\d,]+) unique trials", told)
    if process.returncode or found is None:
        sys.exit(f"engram plan {space} failed:\n{told}")
    trials = int(found[1].replace(",", ""))
    return Cost(trials, seconds, used.ru_utime + used.ru_stime, _bytes(used) / 1e9)


def _bytes(used: resource.struct_rusage) -> int:
    """Return the peak of resident memory; Linux counts it in kilobytes."""
    return used.ru_maxrss if sys.platform == "darwin" else used.ru_maxrss * 1024


def main() -> int:
    options = arguments(__doc__)
    verdict = Verdict("plan of 100,000 grid points")
    with tempfile.TemporaryDirectory(prefix="engram-plan-") as folder:
        root = Path(folder)
        for name, axes in SPACES.items():
            space = write_space(root, name, **axes)
            cost = planned(space, options.data, root / "none")
            progress(
                f"{name}: {cost.trials:,} unique trials, {1e6 * cost.seconds / cost.trials:.0f} µs "
                f"each with start-up; {cost.cpu_seconds:.1f} s of a core"
            )
            verdict.check(f"{name}: unique trials", cost.trials, at_least=100_000)
            verdict.check(f"{name}: seconds", cost.seconds, at_most=SECONDS, unit="s")
            verdict.check(f"{name}: peak of memory", cost.gigabytes, at_most=GIGABYTES, unit="GB")
            command = [sys.executable, "-c", _SWEEP, os.fspath(space), os.fspath(options.data)]
            answer = subprocess.run(
                [*command, os.fspath(root / name)], capture_output=True, text=True, check=True
            )
            times = json.loads(answer.stdout)
            size = (root / name / "sweeps" / "sweep.json").stat().st_size / 1e6
            progress(
                f"{name}: sweeps/sweep.json has {size:.0f} MB, written in {times['write']:.1f} s, "
                f"read in {times['read']:.1f} s"
            )
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
