"""A sweep of a method that shows images, on real Ray and real MLflow; its worker is killed once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.results import ResultsStore
from orchestrator.samples import Samples
from orchestrator.storage import Storage
from orchestrator.tracking.sync import sync

SPACE = """\
name: sampled
dataset: split-digits
tasks: 5
network: {name: mlp, widths: [8]}
budget: {iterations: 5, batch_size: 8}
method: [naive, test-shows]
"""


@dataclass(frozen=True)
class Swept:
    """Where the sweep was run."""

    home: Path
    env: dict[str, str]

    @property
    def samples(self) -> Samples:
        return Samples(Storage(self.home / "results"))

    def trial(self, method: str) -> str:
        records = ResultsStore(self.home / "results").records()
        (record,) = (r for r in records if r["method"] == method)
        assert record["outcome"] == "finished"
        name: str = record["id"]
        return name

    def expected(self) -> dict[str, bytes]:
        """The pictures in the results folder, by their names there."""
        trial, samples = self.trial("test-shows"), self.samples
        found = samples.names(trial)
        return {each.path.replace(f"/{trial}/", "/"): samples.read(each.path) for each in found}


def in_mlflow(
    swept: Swept, method: str, database: str = "mlflow.db"
) -> tuple[str, dict[str, bytes]]:
    """The run of a trial, and what is below ``samples/`` of it."""
    client = MlflowClient(tracking_uri=f"sqlite:///{swept.home / database}")
    (experiment,) = (e for e in client.search_experiments() if e.name == "sampled")
    (run,) = client.search_runs(
        [experiment.experiment_id], f"tags.`engram.trial` = '{swept.trial(method)}'"
    )
    identity = run.info.run_id
    folders = [f.path for f in client.list_artifacts(identity, "samples") if f.is_dir]
    files = [f.path for folder in folders for f in client.list_artifacts(identity, folder)]
    local = {path: client.download_artifacts(identity, path) for path in files}
    return identity, {path: Path(file).read_bytes() for path, file in local.items()}


@pytest.fixture(scope="module")
def swept(engram: Any, plugin: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Swept:
    """The sweep, run once."""
    home = tmp_path_factory.mktemp("sampled")
    (home / "space.yaml").write_text(SPACE)
    done = engram("run", "space.yaml", cwd=home, env=plugin)
    assert done.returncode == 0, done.stdout + done.stderr
    return Swept(home, plugin)


def test_the_worker_was_lost_and_every_picture_is_there(swept: Swept) -> None:
    assert Path(swept.env["ENGRAM_TEST_NOTES"]).with_name("shown").exists()
    assert list(swept.expected()) == [
        f"samples/task-{task:02d}/{name}.png"
        for task in range(1, 6)
        for name in ("generator", "generator-step-5")
    ]
    assert swept.samples.names(swept.trial("naive")) == []


def test_mlflow_has_them_as_artifacts_of_the_run(swept: Swept) -> None:
    assert in_mlflow(swept, "test-shows")[1] == swept.expected()
    assert in_mlflow(swept, "naive")[1] == {}


def test_sync_writes_them_once(swept: Swept) -> None:
    store = ResultsStore(swept.home / "results")
    before = in_mlflow(swept, "test-shows")
    files = {path: path.stat().st_mtime_ns for path in swept.home.rglob("mlartifacts/**/*.png")}
    assert len(files) == 10
    (done,) = sync(store, ["sampled"], f"sqlite:///{swept.home}/mlflow.db")
    assert str(done) == "sampled: 2 trials, 0 written, 2 were there"
    assert in_mlflow(swept, "test-shows") == before
    again = {path: path.stat().st_mtime_ns for path in swept.home.rglob("mlartifacts/**/*.png")}
    assert again == files

    (swept.home / "other").mkdir()
    for written, there in ((2, 0), (0, 2)):
        (done,) = sync(store, ["sampled"], f"sqlite:///{swept.home}/other/mlflow.db")
        assert (done.written, done.there) == (written, there)
        assert in_mlflow(swept, "test-shows", "other/mlflow.db")[1] == swept.expected()
