"""Memory of a worker: flat from trial to trial, and the data shared with the other workers.

Two Ray actors hold the product's trainable. The second one runs a trial and stays; the first one
runs 50, of four methods in turn, and its unique set size (USS: what would become free if the
process ended) is read when a trial has been replaced by the next and that one has not begun: what
counts is what trials leave behind. From the 10th to the 50th 5 MB may be added, 128 kB a trial:
more than the allocator's noise, and less than the least that a trial could forget to free, which is
a network of 1.9 MB. Then both processes tell, from ``/proc/self/smaps``, how much of the mapped
data they share.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import ray
from _common import Verdict, arguments, progress, status_of, write_space

from orchestrator.audit.config import Audit
from orchestrator.checkpoints import Keep
from orchestrator.local_ray import scratch_folder, start_local_ray
from orchestrator.plan import make_plan
from orchestrator.storage import Storage
from orchestrator.trainable import ContinualTrainable, job
from orchestrator.watch import Watch

TRIALS, FIRST = 50, 10
METHODS = ["naive", {"replay": {"buffer_size": [200, 2000]}}, "joint"]


class Worker(ContinualTrainable):
    """The trainable, with a look at its own process."""

    def run_trial(self, config: dict[str, Any]) -> float:
        """Run a whole trial as Tune has it run; return the process's USS in bytes before it."""
        self.reset(config)
        uss = psutil.Process().memory_full_info().uss
        while not (result := self.train())["done"]:
            pass
        if '"outcome": "finished"' not in result["report"]:
            raise RuntimeError(result["report"])
        return float(uss)

    def mapped(self, file: str) -> dict[str, int]:
        """Return the kilobytes of a mapped file by kind: Rss, Pss, Shared_Clean and so on."""
        kinds: dict[str, int] = {}
        inside = False
        for line in Path("/proc/self/smaps").read_text().splitlines():
            if entry := re.match(r"(\w+): +(\d+) kB", line):
                if inside:
                    kinds[entry[1]] = kinds.get(entry[1], 0) + int(entry[2])
            elif re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                inside = line.endswith(file)
        return kinds


def jobs(data: Path, results: Storage) -> list[dict[str, Any]]:
    """Return what Tune hands to a worker, for 50 short trials whose methods take turns."""
    with tempfile.TemporaryDirectory() as folder:
        space = write_space(
            Path(folder),
            "memory",
            dataset="split-mnist",
            budget={"iterations": 2, "batch_size": 128},
            method=METHODS,
            seed=f"0..{TRIALS // 4}",
        )
        plan = make_plan(space, data)
    trials = sorted(plan.trials, key=lambda trial: trial.config.seed)
    about = {"space": "", "commit": ""}
    more = plan.space.resources, data, results, about, Watch(), Keep(), Audit()
    return [{"trial": t.id, "job": job(t, plan.environment, *more)} for t in trials]


def main() -> int:
    options = arguments(__doc__)
    with scratch_folder() as scratch:
        todo = jobs(options.data.resolve(), Storage(scratch / "results"))
        start_local_ray(scratch, log_to_driver=False, logging_level="ERROR")
        try:
            worker, other = (ray.remote(num_cpus=1)(Worker).remote(todo[0]) for _ in range(2))
            ray.get(other.run_trial.remote(todo[-1]))
            uss = []  # uss[i] is left behind by i trials
            for i, config in enumerate(todo[: TRIALS + 1]):
                uss.append(ray.get(worker.run_trial.remote(config)))
                if i % FIRST == 0:
                    progress(f"after {i} trials: {uss[i] / 1e6:.1f} MB")
            maps = ray.get([w.mapped.remote("mnist.arrow") for w in (worker, other)])
        finally:
            ray.shutdown()

    growth = (uss[TRIALS] - uss[FIRST]) / 1e6
    verdict = Verdict("memory: one worker, 50 trials; two workers, one mapping")
    verdict.check(f"USS from trial {FIRST} to trial {TRIALS}", growth, at_most=5, unit="MB")
    for i, kinds in enumerate(maps, start=1):
        progress(f"mapping in worker {i}, kB: {kinds['Rss']} resident, {kinds['Pss']} charged")
        rss = kinds["Rss"] or 1
        verdict.check(f"worker {i}: mapping resident", kinds["Rss"] / 1e3, at_least=40, unit="MB")
        shared = kinds["Shared_Clean"] / rss
        verdict.check(f"worker {i}: share of it that is shared", shared, at_least=0.95)
        copied = kinds["Private_Dirty"] / 1e3
        verdict.check(f"worker {i}: copied by a write", copied, at_most=0.1, unit="MB")
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
