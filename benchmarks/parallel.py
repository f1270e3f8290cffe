"""Two trials on two cores take as long as one, on one thread each.

A trial of about five seconds (``naive`` on split MNIST, its iterations found by a short trial
first) runs alone in one sweep and beside another in the next. Compared are the seconds of the
trials as their records have them, the slower one of the pair against the one alone; so that this
says something, the two also have to overlap. A plug-in method, made for the occasion and found
through its entry point, tells how many threads PyTorch has inside a trial.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

import pandas as pd
from _common import Verdict, arguments, progress, status_of, write_space

_PROBE = '''
import torch

from methods.core.registry import register
from methods.core.training import Diverged
from methods.naive import Naive


@register("probe")
class Probe(Naive):
    """End the trial by telling how many threads it has."""

    def fit(self, task, log):
        raise Diverged(str(torch.get_num_threads()))
'''


def install_probe(folder: Path) -> None:
    """Lay out the plug-in as pip would, where this process and its workers find it."""
    (folder / "engram_probe.py").write_text(_PROBE, encoding="utf-8")
    information = folder / "engram_probe-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: engram-probe\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[engram.methods]\nprobe = engram_probe\n")
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(folder), os.environ.get("PYTHONPATH")])
    )


def run(folder: Path, data: Path, seeds: list[int], iterations: int, method: str) -> pd.DataFrame:
    """Run a sweep into an empty folder and return its records."""
    from orchestrator import api

    with tempfile.TemporaryDirectory(dir=folder) as results:
        space = write_space(
            Path(results),
            "busy",
            dataset="split-mnist",
            budget={"iterations": iterations, "batch_size": 128},
            method=method,
            seed=seeds,
        )
        api.run(space, results=results, data=data, mlflow=False)
        return api.read_results(results)


def overlap(records: pd.DataFrame) -> float:
    """Return the share of the shorter trial during which both ran."""
    start = records["started"].astype("int64[pyarrow]").astype("int64") / 1000
    end = start + records["seconds"]
    return float((end.min() - start.max()) / records["seconds"].min())


def main() -> int:
    options = arguments(__doc__, seconds=5, pairs=3)
    verdict = Verdict("parallel: two trials on two cores")
    with tempfile.TemporaryDirectory(prefix="engram-benchmark-") as name:
        folder, data = Path(name), options.data.resolve()
        install_probe(folder)
        told = run(folder, data, [0], 1, "probe")["cause"].item()

        short, long = (run(folder, data, [0], n, "naive")["seconds"].item() for n in (20, 220))
        iterations = 20 + round(200 * (options.seconds - short) / max(long - short, 0.1))
        ratios, overlaps = [], []
        for pair in range(options.pairs):
            alone = run(folder, data, [0], iterations, "naive")["seconds"].item()
            both = run(folder, data, [1, 2], iterations, "naive")
            ratios.append(both["seconds"].max() / alone)
            overlaps.append(overlap(both))
            progress(
                f"pair {pair + 1}: one trial {alone:.2f} s, the slower of two "
                f"{both['seconds'].max():.2f} s, together for {overlaps[-1]:.0%}"
            )
    verdict.check("two against one, median", statistics.median(ratios), at_most=1.15, unit="×")
    verdict.check("share of the time that both ran", statistics.median(overlaps), at_least=0.75)
    verdict.check("torch.get_num_threads() in a trial", float(told), at_least=1, at_most=1)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
