"""Generators at depth 0 on split MNIST: the figures of docs/generative-replay.md.

Runs the packaged search spaces ``dgr-split-mnist``, ``dgr-split-mnist-long`` and
``dgr-split-mnist-task`` as ``engram run`` does, and checks means of three seeds and differences
that are paired by seed. What is in the results folder already is not run again. Options that had to
be chosen, such as the weights of ``der++``, were found on images held out of training.
"""

from __future__ import annotations

import sys

import pandas as pd
from _common import Verdict, arguments, records_of, status_of

from orchestrator.leaderboard.paired import paired_differences

SEEDS = 3
EXACT = "buffer_size=60000"
BUFFER = "buffer_size=500"


class Figures:
    """Means of a sweep's rows, and paired differences between them."""

    def __init__(self, records: pd.DataFrame, scenario: str) -> None:
        self.records = records[records["scenario"] == scenario]
        finished = self.records[self.records["outcome"] == "finished"]
        mean = finished.groupby(["method", "settings"])["average_accuracy"].agg(["mean", "count"])
        if not (mean["count"] == SEEDS).all():
            raise SystemExit(f"not all seeds finished:\n{mean}")
        self.mean = mean["mean"]

    def accuracy(self, method: str, settings: str | None = None) -> float:
        """Return the mean accuracy of a row; of the method's only one where none is named."""
        rows = self.mean[method]
        return float(rows.iloc[0] if settings is None else rows[settings])

    def lower_bound(self, method: str, reference: str, settings: str | None = None) -> float:
        """Return the lower bound of a row's accuracy less that of another, paired by seed."""
        pairs = paired_differences(self.records, reference)
        rows = pairs[pairs["method"] == method]
        if settings is not None:
            rows = rows[rows["settings"] == settings]
        return float(rows["low"].iloc[0])


def main() -> int:
    options = arguments(__doc__)
    verdict = Verdict(f"dgr: accuracy on split MNIST, mean of {SEEDS} seeds")
    short, long, task = (
        records_of(f"dgr-split-mnist{suffix}", options.results, options.data)
        for suffix in ("", "-long", "-task")
    )

    classes = Figures(short, "class-incremental")
    verdict.check("class-incremental, 500: dgr", classes.accuracy("dgr"), at_least=0.77)
    verdict.check("class-incremental, 500: bi-r", classes.accuracy("bi-r"), at_least=0.78)
    gain = classes.accuracy("der++") - classes.accuracy("replay", BUFFER)
    verdict.check("class-incremental, 500: der++ less replay", gain, at_least=-0.01)

    classes = Figures(long, "class-incremental")
    verdict.check("class-incremental, 2,000: dgr", classes.accuracy("dgr"), at_least=0.87)
    verdict.check("class-incremental, 2,000: bi-r", classes.accuracy("bi-r"), at_least=0.93)
    low = classes.lower_bound("bi-r", "dgr")
    verdict.check("class-incremental, 2,000: bi-r less dgr, lower bound", low, at_least=0.0)

    domains = Figures(short, "domain-incremental")
    verdict.check("domain-incremental, 500: dgr", domains.accuracy("dgr"), at_least=0.90)
    low = domains.lower_bound("dgr", "naive")
    verdict.check("domain-incremental, 500: dgr less none, lower bound", low, at_least=0.0)
    low = domains.lower_bound("replay", "dgr", EXACT)
    verdict.check("domain-incremental, 500: exact less dgr, lower bound", low, at_least=0.0)

    tasks = Figures(task, "task-incremental")
    verdict.check("task-incremental, 200: dgr", tasks.accuracy("dgr"), at_least=0.98)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
