"""Several machines: one is lost, one has a GPU to share, and some are too small for a trial."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from methods.core.rng import Rng
from orchestrator.data.streams import open_stream
from orchestrator.evaluation import evaluate
from orchestrator.plan import make_plan

SPACE = """\
name: machines
dataset: split-digits
tasks: {tasks}
network: {{name: mlp, widths: [8]}}
budget: {{iterations: 10, batch_size: 8}}
buffer_size: 10
method:
  - {method}
seed: {seed}
"""
LONG, SHORT = 30, 10
#: In a process of its own: the plan of a machine without GPUs, and trials with a share of one.
QUARTERS = """
import sys
from dataclasses import replace
from pathlib import Path
from rich.console import Console
from orchestrator.plan import make_plan
from orchestrator.results import ResultsStore
from orchestrator.space.config import Resources
from orchestrator.sweep import run_plan

plan, share = make_plan("space.yaml", Path("data")), Resources(cpus=1, gpus=0.25)
plan = replace(plan, space=replace(plan.space, resources=share))
outcome = run_plan(plan, ResultsStore("results"), Path("data"), Console())
sys.exit(bool(outcome.failed or outcome.pending))
"""


class Machines:
    """A Ray cluster of several nodes on this machine, whose workers tell what they do."""

    def __init__(self, home: Callable[..., Any], folder: Path) -> None:
        self.cluster, self._home, self._folder = Cluster(), home, folder
        self.cluster.add_node(num_cpus=0, include_dashboard=False)
        self._told = 0

    def home(self, space: str) -> Any:
        """Make a home for a sweep that runs there."""
        (self._folder / "notes.txt").unlink(missing_ok=True)
        return self._home(
            space, RAY_ADDRESS=self.cluster.address, SURVIVAL_FOLDER=str(self._folder)
        )


@pytest.fixture(scope="module")
def machines(
    home: Callable[..., Any],
    installed: dict[str, str],
    scratch: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Machines]:
    folder = tmp_path_factory.mktemp("machines")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("RAY_", "ENGRAM_"))]:
            patch.delenv(name)
        ours = {"SURVIVAL_FOLDER": str(folder), "SURVIVAL_STEP": "0.05"}
        # Where Ray notes which cluster runs on this machine, others must not find this one.
        for name, value in {**installed, **ours, "RAY_TMPDIR": scratch}.items():
            patch.setenv(name, value)
        made = Machines(home, folder)
        try:
            yield made
        finally:
            made.cluster.shutdown()


def accuracies(here: Any) -> dict[tuple[int, int], str]:
    """Compute what each trial of a sweep must come to, without any of what runs sweeps."""
    text = (here.folder / "space.yaml").read_text().replace("test-survivor", "replay")
    (here.folder / "replay.yaml").write_text(text)
    plan = make_plan(here.folder / "replay.yaml", here.folder / "data")
    found = {}
    for trial in plan.trials:
        config = trial.config
        stream = open_stream(config.stream, here.folder / "data", "cpu")
        method = config.cls(config.options, stream.info, Rng(config.seed))
        rows = [evaluate(method, stream, 0).accuracies.tolist()]
        for index in range(stream.info.tasks):
            method.learn(stream.task(index))
            rows.append(evaluate(method, stream, index + 1).accuracies.tolist())
        found[config.options.budget.iterations, config.seed] = repr(rows)
    return found


def test_a_trial_that_runs_out_of_memory_goes_on_in_a_larger_share(machines: Machines) -> None:
    large = machines.cluster.add_node(num_cpus=2)
    here = machines.home(
        SPACE.format(tasks=2, method="test-hungry: {replay_batch: [2, 64]}", seed=0)
    )
    assert here.run("--no-mlflow") == 1, here.output
    machines.cluster.remove_node(large)
    (record,) = here.store.records()
    assert record["outcome"] == "finished"
    assert '"replay_batch":2' in record["config"]
    told = [line for line in here.output.splitlines() if "out of memory, as planned" in line]
    again = [line.rpartition("; ")[2] for line in told if line.startswith("interrupted: ")]
    assert again == ["runs again with cpus: 2"] * 2
    (left,) = (line for line in told if line.startswith("infrastructure: "))
    assert "seed=0" in left
    assert "machines: 1 of 2 trials done" in here.output
    shares = [note[1:] for note in here.notes if note[0] == "share"]
    for needed in ("2", "64"):
        # The first task was learnt once, in the first share.
        assert [share[1:] for share in shares if share[0] == needed] == [
            ["0", "1.0"],
            ["1", "1.0"],
            ["1", "2.0"],
        ]


def test_what_ran_on_a_lost_machine_goes_on_elsewhere_and_the_longest_trials_began_first(
    machines: Machines,
) -> None:
    nodes = [machines.cluster.add_node(num_cpus=1) for _ in range(3)]
    method = f"test-survivor: {{budget.iterations: [{SHORT}, {LONG}]}}"
    here = machines.home(SPACE.format(tasks=5, method=method, seed="0..2"))
    process = here.start("--no-mlflow")
    here.wait_for(lambda: sum(task == 1 for _, task in here.learnt) >= 3, process)
    machines.cluster.remove_node(nodes[1], allow_graceful=False)
    assert process.wait(200) == 0, here.output
    for node in (nodes[0], nodes[2]):
        machines.cluster.remove_node(node)
    (told,) = (line for line in here.output.splitlines() if line.startswith("interrupted: "))
    assert re.search("the machine it ran on (was lost|does not answer); runs again in 1 s", told)
    assert len(here.learnt) == 6 * 5
    assert len(here.learnt_again) <= 1
    records = here.store.records()
    assert {record["outcome"] for record in records} == {"finished"}
    assert {repr(record["accuracy"]) for record in records} == set(accuracies(here).values())
    began = [note[1] for note in here.notes if (note[0], note[-1]) == ("learns", "0")]
    assert [trial.split("/")[0] for trial in began[:6]] == [str(LONG)] * 3 + [str(SHORT)] * 3


def test_four_quarters_of_a_gpu_are_in_use_at_once_and_a_fifth_trial_waits(
    machines: Machines,
) -> None:
    node = machines.cluster.add_node(num_cpus=8, num_gpus=1)
    here = machines.home(SPACE.format(tasks=2, method="test-together", seed="0..4"))
    done = subprocess.run(
        [sys.executable, "-c", QUARTERS],
        cwd=here.folder,
        env=here.engram.environment(here.env),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    machines.cluster.remove_node(node)
    assert done.returncode == 0, done.stdout + done.stderr
    running, most = set[str](), 0
    for kind, trial, *_ in here.notes:
        if kind == "from":
            running.add(trial)
        elif kind == "to":
            running.remove(trial)
        most = max(most, len(running))
    assert most == 4
    assert len(here.store.ids()) == 5
