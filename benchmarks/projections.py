"""Stored images without replay: gradients are projected, or embeddings are held in place.

Runs the packaged search space ``projections-split-mnist-task`` as ``engram run`` does, checks that
``gem`` forgets hardly anything, and prints by how much each method differs from fine-tuning, paired
by seed. What is in the results folder already is not run again. All methods store 500 images.
"""

from __future__ import annotations

import sys

from _common import Verdict, arguments, records_of, status_of

from orchestrator.leaderboard.paired import paired_differences

SEEDS = 5


def main() -> int:
    options = arguments(__doc__)
    verdict = Verdict(f"projections: accuracy on split MNIST, mean of {SEEDS} seeds")
    records = records_of("projections-split-mnist-task", options.results, options.data)
    finished = records[records["outcome"] == "finished"]
    mean = finished.groupby("method")["average_accuracy"].agg(["mean", "count"])
    if not (mean["count"] == SEEDS).all():
        raise SystemExit(f"not all seeds finished:\n{mean}")
    pairs = paired_differences(records, "naive").set_index("method")
    verdict.check("gem", float(mean.loc["gem", "mean"]), at_least=0.98)
    for method in ("naive", "a-gem", "embedding-reg", "replay"):  # as found
        verdict.check(method, float(mean.loc[method, "mean"]))
    for method in ("gem", "a-gem", "embedding-reg", "replay"):
        row = pairs.loc[method]
        interval = f"95 %: {row['low']:+.3f} to {row['high']:+.3f}"
        verdict.check(f"{method} less naive ({interval})", float(row["difference"]))
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
