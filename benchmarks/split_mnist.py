"""Accuracy on split MNIST: the baselines reach what the literature leads one to expect.

Runs the packaged search spaces ``split-mnist`` and ``split-mnist-task`` as ``engram run`` does and
checks means of three seeds. What is in the results folder already is not run again.
"""

from __future__ import annotations

import sys

import pandas as pd
from _common import Verdict, arguments, progress, status_of
from rich.console import Console

from orchestrator import api


def mean(table: pd.DataFrame, method: str) -> float:
    """Return a method's final average accuracy; the table holds no other settings of it."""
    (row,) = table[table["method"] == method].to_dict("records")
    if row["n"] != 3:
        raise SystemExit(f"{method}: {row['n']} of 3 seeds finished")
    return float(row["average_accuracy"])


def main() -> int:
    options = arguments(__doc__)
    verdict = Verdict("split_mnist: accuracy, mean of 3 seeds")
    tables = {}
    for space in ("split-mnist", "split-mnist-task"):
        progress(f"{space}:")
        console = Console(stderr=True)
        sweep = api.run(
            space, results=options.results, data=options.data, mlflow=False, console=console
        )
        tables[space] = sweep.leaderboard

    table = tables["split-mnist"]
    verdict.check("class-incremental, joint", mean(table, "joint"), at_least=0.968)
    verdict.check("class-incremental, replay 100 a class", mean(table, "replay"), at_least=0.885)
    verdict.check("class-incremental, naive", mean(table, "naive"), at_least=0.190, at_most=0.200)
    table = tables["split-mnist-task"]
    verdict.check("task-incremental, naive", mean(table, "naive"), at_least=0.90, at_most=0.96)
    verdict.check("task-incremental, replay 100 a class", mean(table, "replay"), at_least=0.985)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
