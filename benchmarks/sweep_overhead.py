"""What a trial costs beyond its own computation: 200 trivial trials, without MLflow and with it.

A trial trains 16 hidden units for one step on each of two tasks of scikit-learn's digits. Each
sweep runs through the Python API in a process of its own, into an empty folder. The clock runs from
the first trial's record to the last one's or, with MLflow, to the end of the last trial's run if
that is later; what planning and the leaderboard take for all trials is added. Start-up is apart,
and it lies before the first record: importing, starting Ray and two workers, loading the data.
Timing whole sweeps and subtracting a small one would count MLflow's start-up wrongly, because a
large sweep hides it behind its trials. MLflow's database exists already, as it does from a user's
second sweep on.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _common import Verdict, arguments, progress, status_of, write_space

_RUN = """
import json, os, sys, time
from pathlib import Path
from orchestrator import api
from orchestrator.plan import make_plan

space, results, data, uri = map(Path, sys.argv[1:])
mlflow = str(uri) != "."
if mlflow:
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{uri}"
sweep = api.run(space, results=results, data=data, mlflow=mlflow)
outcome = sweep.outcome
if outcome.failed or outcome.pending or outcome.tracking_failure:
    sys.exit(f"the sweep went wrong: {outcome}")
ends = [path.stat().st_mtime for path in (results / "trials").glob("*.arrow")]
first, last = min(ends), max(ends)
if mlflow:
    from mlflow import search_runs
    runs = search_runs(
        experiment_names=[sweep.plan.space.name], filter_string="tags.`engram.trial` != ''"
    )
    assert len(runs) == len(ends)
    last = max(last, runs["end_time"].max().timestamp())
start = time.perf_counter()
make_plan(space, data)
api.read_leaderboard(results, sweep.plan.space.name)
around = time.perf_counter() - start
print(json.dumps({"trials": last - first, "around": around}))
"""


def trial_ms(trials: int, database: Path | None) -> float:
    """Return the cost of a trial in milliseconds, start-up apart."""
    with tempfile.TemporaryDirectory(prefix="engram-benchmark-") as name:
        folder = Path(name)
        space = write_space(
            folder,
            f"trivial-{folder.name}",  # an experiment of its own in MLflow
            dataset="split-digits",
            tasks=2,
            network={"name": "mlp", "widths": [16]},
            budget={"iterations": 1, "batch_size": 8},
            method="naive",
            seed=f"0..{trials - 1}",
        )
        places = [space, folder / "results", folder, database or Path()]
        answer = subprocess.run(
            [sys.executable, "-c", _RUN, *map(str, places)],
            check=True,
            cwd=folder,
            stdout=subprocess.PIPE,
            text=True,
        )
    seconds = json.loads(answer.stdout.splitlines()[-1])
    cost = 1000 * (seconds["trials"] / (trials - 1) + seconds["around"] / trials)
    around = 1000 * seconds["around"] / trials
    progress(
        f"{'MLflow' if database else 'no MLflow'}: {cost:.1f} ms a trial, "
        f"of which plan and leaderboard {around:.1f} ms"
    )
    return cost


def main() -> int:
    options = arguments(__doc__, trials=200, repeats=3)
    verdict = Verdict(f"sweep_overhead: {options.trials} trivial trials, start-up apart")

    def check(figure: str, limit: float, database: Path | None) -> None:
        costs = [trial_ms(options.trials, database) for _ in range(options.repeats)]
        figure = f"{figure}, median of {len(costs)} sweeps"
        verdict.check(figure, statistics.median(costs), at_most=limit, unit="ms a trial")

    check("without MLflow", 40, None)
    with tempfile.TemporaryDirectory(prefix="engram-benchmark-") as folder:
        database = Path(folder, "mlflow.db")
        progress("MLflow makes its database:")
        trial_ms(2, database)
        check("with MLflow", 110, database)
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
