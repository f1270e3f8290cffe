"""Methods that keep no data on split MNIST: they learn what they should, and no more.

Runs the packaged search spaces ``regularisers-split-mnist`` and ``regularisers-split-mnist-task``
as ``engram run`` does and checks means of five seeds and differences to fine-tuning, paired by
seed. What is in the results folder already is not run again.

Strengths were found on 1,000 training images of each task that were held out, with other seeds.
"""

from __future__ import annotations

import sys

import pandas as pd
from _common import Verdict, arguments, records_of, status_of

from orchestrator.leaderboard.paired import paired_differences

SPACES = ("regularisers-split-mnist", "regularisers-split-mnist-task")
SEEDS = 5
METHODS = ("lwf", "si", "ewc")
#: Least mean accuracy of each; where the task is known or its classes are shared they help.
LEAST = {
    "domain-incremental": {"lwf": 0.68, "si": 0.70, "ewc": 0.64},
    "task-incremental": {"lwf": 0.985, "si": 0.975, "ewc": 0.98},
}


def main() -> int:
    options = arguments(__doc__)
    verdict = Verdict(f"regularisers: accuracy on split MNIST, mean of {SEEDS} seeds")
    tables = [records_of(space, options.results, options.data) for space in SPACES]
    records = pd.concat(tables, ignore_index=True)
    finished = records[records["outcome"] == "finished"]
    mean = finished.groupby(["scenario", "method"])["average_accuracy"].agg(["mean", "count"])
    if not (mean["count"] == SEEDS).all():
        raise SystemExit(f"not all seeds finished:\n{mean}")
    pairs = paired_differences(records, "naive").set_index(["scenario", "method"])

    def accuracy(scenario: str, method: str) -> float:
        return float(mean.loc[(scenario, method), "mean"])

    for scenario, bounds in LEAST.items():
        naive = accuracy(scenario, "naive")
        for method, least in bounds.items():
            figure = f"{scenario}, {method} (naive: {naive:.3f})"
            verdict.check(figure, accuracy(scenario, method), at_least=least)
            low = float(pairs.loc[(scenario, method), "low"])
            verdict.check(f"{scenario}, {method} less naive, lower bound", low, at_least=0.0)
    for method in METHODS:
        figure, measured = f"class-incremental, {method}", accuracy("class-incremental", method)
        verdict.check(figure, measured, at_least=0.19, at_most=0.30)  # above: a leak
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
