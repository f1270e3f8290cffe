"""Pictures of a trial become artifacts of its run: from an object store, to a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mlflow import MlflowClient

from orchestrator.samples import Samples
from orchestrator.tracking.sync import sync


def show(samples: Samples, trial: str) -> dict[str, bytes]:
    """Write pictures of two tasks of a trial; return them as MLflow is to have them."""
    for task in (1, 2):
        for step in (5, 10):
            x = torch.full((3, 1, 8, 8), 16 * task + step, dtype=torch.uint8)
            samples.write(trial, task, f"generator, step {step}", x)
    found = samples.names(trial)
    return {each.path.replace(f"/{trial}/", "/"): samples.read(each.path) for each in found}


def uploaded(client: MlflowClient, run: Any, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    client.download_artifacts(run.info.run_id, "", str(folder))
    found = (folder / "samples").rglob("*")
    files = {path.relative_to(folder): path.read_bytes() for path in found if path.is_file()}
    return {path.as_posix(): content for path, content in files.items()}


def test_a_server_that_comes_up_late_gets_pictures_from_an_object_store(
    world: Any, s3: Any, tmp_path: Path
) -> None:
    world.server.kill()
    store = world.store(s3.uri(f"{s3.bucket()}/results"), name="pictured")
    first, second = world.ids[:2]
    shown = show(Samples(store.storage), first)
    assert len(shown) == 4
    tracker = world.tracker("pictured", store, world.server.uri)
    tracker.start()
    for trial in (first, second):
        world.tell(tracker, store, trial)
    world.server.start()
    assert tracker.close("FINISHED") is None
    found, client = world.assert_whole("pictured", [first, second]), MlflowClient(world.server.uri)
    assert uploaded(client, found.children[first], tmp_path / "first") == shown
    assert uploaded(client, found.children[second], tmp_path / "second") == {}

    (done,) = sync(store, ["pictured"], world.server.uri)
    assert (done.written, done.there) == (0, 2)
    again = world.found("pictured").children[first]
    assert again.info.run_id == found.children[first].info.run_id


def test_a_picture_that_cannot_be_read_is_tried_again(world: Any, tmp_path: Path) -> None:
    store = world.store(tmp_path / "results", name="again")
    trial = world.ids[0]
    shown = show(Samples(store.storage), trial)
    broken = tmp_path / "results" / "samples" / trial / "task-02" / "generator-step-5.png"
    content = broken.read_bytes()
    broken.unlink()
    broken.symlink_to(broken)
    said: list[str] = []
    tracker = world.tracker("again", store)
    runs, write = tracker.runs, tracker.runs.write_record

    def mended(*told: Any) -> None:
        try:
            write(*told)
        except OSError as error:
            said.append(str(error))
            broken.unlink()
            broken.write_bytes(content)
            raise

    runs.write_record = mended
    tracker.start()
    world.tell(tracker, store, trial)
    assert tracker.close("FINISHED") is None
    found = world.assert_whole("again", [trial])
    assert uploaded(found.client, found.children[trial], tmp_path / "got") == shown
    assert len(said) == 1
