"""Pseudo-rehearsal on task-incremental split MNIST: embeddings stay, and as released they do not.

Runs the packaged search space ``prer-mnist`` with ``--budget small`` as ``engram run`` does, and
checks means of five seeds and their differences, paired by seed. What is in the results folder
already is not run again.

The learning rate at which fine-tuning forgets, and the published weight of 1, were tried on a
quarter of the training images that was held out, with other seeds.
"""

from __future__ import annotations

import sys

import pandas as pd
from _common import Verdict, arguments, records_of, status_of

from orchestrator.leaderboard.paired import paired_differences

SPACE, BUDGET, SEEDS = "prer-mnist", "small", 5
METRIC = "backward_transfer"


def bounds(records: pd.DataFrame, method: str, variant: str, reference: str) -> tuple[float, float]:
    """Return the 95 % interval of a row's backward transfer less that of another."""
    pairs = paired_differences(records, reference, metric=METRIC)
    (row,) = pairs[(pairs["method"] == method) & (pairs["variant"] == variant)].to_dict("records")
    if row["n"] != SEEDS:
        raise SystemExit(f"{method}, {variant}: {row['n']} seeds of {SEEDS} are paired")
    return float(row["low"]), float(row["high"])


def main() -> int:
    options = arguments(__doc__)
    verdict = Verdict(f"prer: backward transfer on split MNIST, mean of {SEEDS} seeds")
    records = records_of(SPACE, options.results, options.data, BUDGET)
    finished = records[records["outcome"] == "finished"]
    mean = finished.groupby(["method", "variant"])[[METRIC, "average_accuracy"]].mean()

    def of(method: str, column: str = METRIC, variant: str = "corrected") -> float:
        return float(mean.loc[(method, variant), column])

    verdict.check("naive", of("naive"), at_most=-0.05)
    verdict.check("prer", of("prer"), at_least=-0.02)
    low, _ = bounds(records, "prer", "corrected", "naive")
    verdict.check("prer less naive, lower bound", low, at_least=0.0)
    verdict.check("prer as released", of("prer", variant="as-released"), at_most=-0.05)
    _, high = bounds(records, "prer", "as-released", "prer")
    verdict.check("as released less prer, upper bound", high, at_most=0.0)
    for method in ("prer", "joint", "replay"):
        accuracy = of(method, "average_accuracy")
        verdict.check(f"average accuracy: {method}", accuracy, at_least=0.97)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
