"""Elastic weight consolidation on split MNIST: it learns what it should, and no more.

Runs the packaged search spaces ``ewc-split-mnist`` and ``ewc-split-mnist-task`` as ``engram run``
does and checks means of five seeds and their differences to fine-tuning, paired by seed. What is
in the results folder already is not run again.

The strengths were found on 1,000 training images of each task that were held out, with other seeds.
"""

from __future__ import annotations

import sys

import pandas as pd
from _common import Verdict, arguments, records_of, status_of

from orchestrator.leaderboard.paired import paired_differences

SPACES = ("ewc-split-mnist", "ewc-split-mnist-task")
SEEDS = 5


def main() -> int:
    options = arguments(__doc__)
    verdict = Verdict(f"ewc: accuracy on split MNIST, mean of {SEEDS} seeds")
    tables = [records_of(space, options.results, options.data) for space in SPACES]
    records = pd.concat(tables, ignore_index=True)
    finished = records[records["outcome"] == "finished"]
    mean = finished.groupby(["scenario", "method"])["average_accuracy"].agg(["mean", "count"])
    if not (mean["count"] == SEEDS).all():
        raise SystemExit(f"not all seeds finished:\n{mean}")
    pairs = paired_differences(records, "naive").set_index("scenario")

    def check(scenario: str, at_least: float, at_most: float = 1.0) -> None:
        naive, ewc = (float(mean.loc[(scenario, name), "mean"]) for name in ("naive", "ewc"))
        verdict.check(
            f"{scenario}, ewc (naive: {naive:.3f})", ewc, at_least=at_least, at_most=at_most
        )

    check("domain-incremental", 0.64)
    low = float(pairs.loc["domain-incremental", "low"])
    verdict.check("domain-incremental, ewc less naive, lower bound", low, at_least=0.0)
    check("task-incremental", 0.98)
    low = float(pairs.loc["task-incremental", "low"])
    verdict.check("task-incremental, ewc less naive, lower bound", low, at_least=0.0)
    check("class-incremental", 0.19, at_most=0.30)  # above: a leak
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
