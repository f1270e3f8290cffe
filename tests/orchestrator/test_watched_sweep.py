"""A sweep that is watched, on real Ray and real MLflow: curves, pictures and models."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

import orchestrator as engram_api
from orchestrator.results import DETERMINISTIC, ResultsStore, record_name

SPACE = """\
name: watched
dataset: split-digits
tasks: 2
network: {name: mlp, widths: [8]}
budget: {iterations: 30, batch_size: 8}
method: [naive, test-dies-once]
watch: {every: 10, images: 50}
"""
CURVES = {"curve/average_accuracy", "curve/accuracy/task 1", "curve/accuracy/task 2", "loss/new"}


@dataclass(frozen=True)
class Ran:
    """A folder in which the sweep was run, as it was then: what MLflow held of each method."""

    home: Path
    out: str
    curves: dict[str, dict[str, list[tuple[int, float]]]]
    metrics: dict[str, dict[str, float]]
    files: dict[str, set[str]]

    @classmethod
    def of(cls, home: Path, done: subprocess.CompletedProcess[str], uri: str) -> Ran:
        assert done.returncode == 0, done.stdout + done.stderr
        client = MlflowClient(tracking_uri=uri)
        (experiment,) = (e for e in client.search_experiments() if e.name == "watched")
        runs = client.search_runs([experiment.experiment_id])
        runs = [run for run in runs if "engram.trial" in run.data.tags]
        method = {run.info.run_id: run.data.params["method"] for run in runs}
        assert sorted(method.values()) == ["naive", "test-dies-once"]

        def history(run: str, key: str) -> list[tuple[int, float]]:
            points = client.get_metric_history(run, key)
            return sorted((point.step, point.value) for point in points)

        return cls(
            home,
            done.stdout,
            {method[run]: {key: history(run, key) for key in CURVES} for run in method},
            {method[run.info.run_id]: run.data.metrics for run in runs},
            {
                method[run]: {
                    file.path
                    for folder in (None, "model")
                    for file in client.list_artifacts(run, folder)
                }
                for run in method
            },
        )

    @property
    def store(self) -> ResultsStore:
        return ResultsStore(self.home / "results")

    def record(self, method: str) -> dict[str, Any]:
        (record,) = (r for r in self.store.records() if r["method"] == method)
        return record


@pytest.fixture(scope="module")
def ran(engram: Any, plugin: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The sweep, run once."""
    home = tmp_path_factory.mktemp("watched")
    (home / "space.yaml").write_text(SPACE)
    done = engram("run", "space.yaml", cwd=home, env=plugin)
    return Ran.of(home, done, f"sqlite:///{home / 'mlflow.db'}")


@pytest.fixture(scope="module")
def again(engram: Any, plugin: dict[str, str], ran: Ran) -> tuple[Ran, dict[str, Any]]:
    """Once more with --keep-model and another MLflow, after one record was lost; that record."""
    lost = ran.record("naive")
    ran.store.storage.remove(record_name(lost["id"]))
    uri = f"sqlite:///{ran.home / 'other.db'}"
    env = plugin | {"MLFLOW_TRACKING_URI": uri}
    done = engram("run", "space.yaml", "--keep-model", cwd=ran.home, env=env)
    return Ran.of(ran.home, done, uri), lost


@pytest.mark.parametrize("method", ["naive", "test-dies-once"])
def test_mlflow_has_the_curves_over_all_iterations(ran: Ran, method: str) -> None:
    """Once, also where a worker was lost and the trial began again."""
    curves = ran.curves[method]
    whole = [10, 20, 30, 40, 50, 60]
    for name in ("curve/average_accuracy", "curve/accuracy/task 1", "loss/new"):
        assert [step for step, _ in curves[name]] == whole, name
    assert [step for step, _ in curves["curve/accuracy/task 2"]] == whole[3:]
    one, two = (dict(curves[f"curve/accuracy/task {j}"]) for j in (1, 2))
    for step, average in curves["curve/average_accuracy"]:
        seen = [one[step], two[step]] if step > 30 else [one[step]]
        assert average == pytest.approx(sum(seen) / len(seen), abs=1e-5)


def test_mlflow_has_the_pooled_measures_by_task_and_in_the_end(ran: Ran) -> None:
    record = ran.record("naive")
    for name in ("union_accuracy", "macro_f1"):
        assert ran.metrics["naive"][name] == pytest.approx(record[name])
    assert ran.metrics["naive"]["seconds/watch"] > 0


def test_mlflow_has_the_pictures_and_no_model_that_was_not_asked_for(ran: Ran) -> None:
    assert ran.files["naive"] == ran.files["test-dies-once"]
    assert {
        *("accuracy_curves.svg", "confusion_matrix.svg", "confusion_matrix.csv"),
        *("accuracy_matrix.svg", "accuracy_matrix.csv", "config.yaml"),
    } == ran.files["naive"]
    assert "Trained methods kept" not in ran.out


def test_curves_are_in_the_results_folder_too(ran: Ran) -> None:
    frame = engram_api.read_curves("naive", results=ran.home / "results")
    assert list(frame.columns) == ["name", "task", "iteration", "value"]
    for name, points in ran.curves["naive"].items():
        own = frame[frame["name"] == name.removeprefix("curve/")]
        assert list(own["iteration"]) == [step for step, _ in points]
        assert list(own["value"]) == pytest.approx([value for _, value in points])
    assert list(frame[frame["name"] == "loss/new"]["task"]) == [1, 1, 1, 2, 2, 2]


def test_show_draws_the_curves_and_names_the_files(ran: Ran, engram: Any, again: Any) -> None:
    shown = engram("show", "naive", cwd=ran.home).stdout
    for line in ("accuracy/task 2  ", "average_accuracy  ", "loss/new  "):
        assert line in shown
    assert "█" in shown
    trial = ran.record("naive")["id"]
    assert f"results/curves/{trial}.arrow" in shown
    assert f"results/models/{trial}.pt" in shown


def test_keep_model_keeps_what_is_run_and_says_what_was_done_before(
    again: tuple[Ran, dict[str, Any]],
) -> None:
    ran, _ = again
    kept, done = ran.record("naive")["id"], ran.record("test-dies-once")["id"]
    assert [path.stem for path in (ran.home / "results" / "models").iterdir()] == [kept]
    assert "Trained methods kept: results/models/ID.pt; in Python: engram.load(ID)" in ran.out
    assert "Finished trials that were done before, without a model: 1; to run one again" in ran.out
    assert f"results/trials/{done}.arrow" in ran.out
    assert f"model/{kept}.pt" in ran.files["naive"]
    assert not any(file.startswith("model") for file in ran.files["test-dies-once"])
    method = engram_api.load(kept[:8], results=ran.home / "results", data=ran.home / "data")
    assert method.tasks_learned == 2


def test_a_trial_that_is_run_again_to_be_kept_is_the_same(
    again: tuple[Ran, dict[str, Any]],
) -> None:
    ran, lost = again
    found = ran.record("naive")
    for name in DETERMINISTIC:
        assert repr(found[name]) == repr(lost[name])


def test_what_another_mlflow_lacks_is_written_from_the_results_folder(
    ran: Ran, again: tuple[Ran, dict[str, Any]]
) -> None:
    late = again[0]
    assert late.curves == ran.curves
    assert late.metrics["test-dies-once"] == ran.metrics["test-dies-once"]
    assert late.files["test-dies-once"] == ran.files["test-dies-once"]
