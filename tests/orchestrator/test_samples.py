"""Images that methods report: collected, kept as pictures, and of no effect on results."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor

from methods.core import registry
from methods.core.log import Log
from methods.core.task import Task
from methods.core.training import Diverged
from methods.naive import Naive
from orchestrator.checkpoints import Keep
from orchestrator.machine import NotKept
from orchestrator.pictures import grid_png
from orchestrator.plan import Plan
from orchestrator.results import DETERMINISTIC, Record, ResultsStore
from orchestrator.samples import Sample, Samples, TaskImages, picture_name
from orchestrator.storage import Storage
from orchestrator.trial_log import TrialLog
from orchestrator.trial_run import Report, TrialRun
from orchestrator.trial_view import print_trial

MakePlan = Callable[[str], Plan]
SPACE = """\
dataset: split-digits
tasks: 5
network: {name: mlp, widths: [8]}
budget: {iterations: 4, batch_size: 8}
method: [test-shows]
"""


def images(value: int = 0, n: int = 3, side: int = 8) -> Tensor:
    return torch.full((n, 1, side, side), value, dtype=torch.uint8)


# Names --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("generator, step 250", "generator-step-250"),
        ("Generator", "generator"),
        ("β = 0.5", "0.5"),
        ("../../trials/Réponse", "trials-reponse"),
        (".hidden", "hidden"),
        ("a/../b\\c\0d\n", "a-b-c-d"),
        ("x" * 500, "x" * 80),
    ],
)
def test_a_name_is_made_that_any_disk_takes(name: str, file: str) -> None:
    assert picture_name(name) == file


def test_names_without_letters_are_told_apart() -> None:
    names = {picture_name(name) for name in ("", "..", "/", "生成器", "データ")}
    assert len(names) == 5
    assert all(name.startswith("images-") for name in names)


def test_a_methods_name_does_not_leave_the_folder(tmp_path: Path) -> None:
    samples = Samples(Storage(tmp_path / "results"))
    for name in ("../../../../out", "/etc/out", "..", "a/b", "\0"):
        samples.write("aa", 1, name, images())
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 5
    assert {path.parent for path in written} == {tmp_path / "results/samples/aa/task-01"}


# Collecting ---------------------------------------------------------------------------------------


def test_the_last_images_of_a_name_win_and_are_a_copy() -> None:
    log = TrialLog()
    x = images(1)
    log.image("generator", x)
    log.image("other", x, columns=2)
    x.fill_(2)
    log.image("Generator", x)
    x.fill_(3)
    found = dict(log.images)
    assert {name: (int(grid.x[0, 0, 0, 0]), grid.columns) for name, grid in found.items()} == {
        "other": (1, 2),
        "generator": (2, 3),
    }
    assert log.images.left_out == []


def test_images_are_there_until_another_task_begins() -> None:
    log = TrialLog()
    log.begin(1, dict)
    log.image("generator", images())
    log.end()
    assert len(log.images) == 1
    log.begin(2, dict)
    assert len(log.images) == 0
    silent = TrialLog(pictures=False)
    silent.image("generator", images())
    assert len(silent.images) == 0


def test_of_many_pictures_the_latest_are_kept_and_the_rest_is_counted() -> None:
    collected = TaskImages()
    for step in range(50):
        collected.add(f"generator, step {step}", images())
    collected.add("generator", images())
    assert [name for name, _ in collected] == [
        *(f"generator-step-{step}" for step in range(31, 50)),
        "generator",
    ]
    assert collected.left_out == ["31 earlier pictures: the last 20 of a task are kept"]


def test_of_very_many_images_the_first_rows_are_kept() -> None:
    collected = TaskImages()
    collected.add("many", images(n=2005, side=2), columns=30)
    collected.add("large", torch.zeros(40, 3, 200, 200, dtype=torch.uint8), columns=3)
    collected.add("huge", torch.zeros(4, 3, 400, 400, dtype=torch.uint8), columns=4)
    assert {name: len(grid.x) for name, grid in collected} == {"many": 990, "large": 6}
    assert collected.left_out == [
        "many: the first 990 of 2005 images",
        "large: the first 6 of 40 images",
        "huge: a row of them is too large",
    ]
    stored = [grid.x.untyped_storage().nbytes() for _, grid in collected]
    assert sum(stored) <= 2_000_000


def test_what_cannot_be_drawn_is_left_out_and_hurts_nobody() -> None:
    collected = TaskImages()
    wrong: list[Any] = [images().float(), images()[0], images()[:0], None]
    for i, x in enumerate(wrong):
        collected.add(f"wrong {i}", x)
    assert len(collected) == 0
    assert collected.left_out[0] == "wrong-0: these are no images, uint8 [N, C, H, W]"
    for i, _ in enumerate(wrong):
        collected.add(f"wrong {i}", images(), columns=-5)
    assert len(collected) == 4
    assert collected.left_out == []


# In a results folder ------------------------------------------------------------------------------


@pytest.fixture(params=["folder", "s3"])
def samples(request: pytest.FixtureRequest, tmp_path: Path) -> Samples:
    if request.param == "folder":
        return Samples(Storage(tmp_path / "results"))
    s3 = request.getfixturevalue("s3")
    return Samples(Storage(s3.uri(f"{s3.bucket()}/my results")))


def test_pictures_come_back_by_task_and_step(samples: Samples) -> None:
    assert samples.names("aa") == []
    for task, name in ((10, "generator"), (2, "step 1000"), (2, "step 250"), (2, "generator")):
        samples.write("aa", task, name, images(task), columns=2)
    samples.write("bb", 1, "generator", images())
    samples.storage.write("samples/aa/task-02/left-out.txt", b"")
    samples.storage.write("samples/aa/other/generator.png", b"")
    found = samples.names("aa")
    assert [(sample.task, sample.name) for sample in found] == [
        *((2, "generator"), (2, "step-250"), (2, "step-1000"), (10, "generator")),
    ]
    assert found[1] == Sample(2, "step-250", "samples/aa/task-02/step-250.png")
    assert samples.read(found[1].path) == grid_png(images(2), 2)
    samples.write("aa", 2, "step, 250", images(9))
    assert samples.read(found[1].path) == grid_png(images(9))
    assert len(samples.names("aa")) == 4


def test_what_is_missing_of_a_task_is_told_beside_it(samples: Samples) -> None:
    collected = TaskImages()
    for step in range(22):
        collected.add(f"step {step}", images())
    samples.write_task("aa", 3, collected)
    assert len(samples.names("aa")) == 20
    text = samples.read("samples/aa/task-03/left-out.txt").decode()
    assert text == "Not here:\n2 earlier pictures: the last 20 of a task are kept\n"


# In a trial ---------------------------------------------------------------------------------------


class Shows(Naive):
    """Show some of what it was given, as a generator shows its draws."""

    def after_task(self, task: Task, log: Log) -> None:
        """Show images."""
        x = task.train.gather(torch.arange(20, device=self.device)).x
        log.image("generator, step 4", x.flip(0), columns=5)
        log.image("generator", x)


class ShowsAndDiverges(Shows):
    """Lose the loss in the second task, after showing what it has."""

    def after_task(self, task: Task, log: Log) -> None:
        """Show images."""
        super().after_task(task, log)
        if task.index == 1:
            raise Diverged("as planned")


@pytest.fixture
def made(plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> Plan:
    return planned(Shows, plan, monkeypatch)


def planned(cls: type[Naive], plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(cls, "name", "test-shows")
    monkeypatch.setitem(registry._registered, "test-shows", cls)
    return plan(SPACE)


def start(made: Plan, folder: Path, **keep: Any) -> TrialRun:
    (trial,) = made.trials
    about, results = {"space": "", "commit": ""}, Storage(folder / "results")
    return TrialRun(trial, made.environment, folder, about, keep=Keep(**keep), results=results)


def to_the_end(run: TrialRun) -> Record:
    report = run.step()
    while report.record is None:
        report = Report.from_json(run.step().to_json())
    return report.record


def pictures(folder: Path) -> dict[str, bytes]:
    found = (folder / "results" / "samples").rglob("*.png")
    return {path.relative_to(folder / "results").as_posix(): path.read_bytes() for path in found}


def deterministic(record: Record) -> str:
    return json.dumps({name: record[name] for name in DETERMINISTIC})


def test_a_trial_writes_its_images_after_each_task(made: Plan, tmp_path: Path) -> None:
    run = start(made, tmp_path)
    for task in range(1, 6):
        report = run.step()
        assert len(pictures(tmp_path)) == 2 * task
    assert report.record is not None
    assert report.record["outcome"] == "finished"
    assert report.record["seconds_by_phase"]["keep"] > 0
    trial = made.trials[0].id
    assert [(s.task, s.name) for s in Samples(run.results).names(trial)] == [
        (task, name) for task in range(1, 6) for name in ("generator", "generator-step-4")
    ]
    x = run.stream.task(3).train.gather(torch.arange(20)).x
    path = f"samples/{trial}/task-04/generator-step-4.png"
    assert pictures(tmp_path)[path] == grid_png(x.flip(0), 5)
    with Image.open(io.BytesIO(pictures(tmp_path)[path])) as picture:
        shown = np.array(picture)[2:34:4, 2:34:4]
    np.testing.assert_array_equal(shown, x[19, 0].numpy())


def test_whether_images_are_kept_changes_no_result(made: Plan, tmp_path: Path) -> None:
    kept = to_the_end(start(made, tmp_path / "kept"))
    not_kept = to_the_end(start(made, tmp_path / "not", samples=False))
    assert deterministic(kept) == deterministic(not_kept)
    assert len(pictures(tmp_path / "kept")) == 10
    assert not (tmp_path / "not" / "results" / "samples").exists()
    assert "keep" in not_kept["seconds_by_phase"], "states are kept all the same"


def test_a_trial_that_goes_on_has_the_pictures_of_one_that_never_stopped(
    made: Plan, tmp_path: Path
) -> None:
    to_the_end(start(made, tmp_path / "whole"))
    for tasks in (2, 1):
        interrupted = start(made, tmp_path / "parts")
        for _ in range(tasks):
            interrupted.step()
    before = pictures(tmp_path / "parts")
    assert len(before) == 6
    times = {name: (tmp_path / "parts/results" / name).stat().st_mtime_ns for name in before}
    to_the_end(start(made, tmp_path / "parts"))
    assert pictures(tmp_path / "parts") == pictures(tmp_path / "whole")
    for name, written in times.items():
        assert (tmp_path / "parts/results" / name).stat().st_mtime_ns == written


def test_a_method_that_diverges_leaves_what_it_showed(
    plan: MakePlan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    record = to_the_end(start(planned(ShowsAndDiverges, plan, monkeypatch), tmp_path))
    assert (record["outcome"], record["cause"]) == ("diverged", "as planned")
    assert len(pictures(tmp_path)) == 4


def test_images_that_cannot_be_stored_are_the_machines_doing(made: Plan, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "samples").write_text("a file where a folder has to be")
    run = start(made, tmp_path)
    with pytest.raises(NotKept, match=r"the images of \w+ could not be stored: "):
        run.step()
    assert not (tmp_path / "results" / "checkpoints").exists(), "the task is learnt again"
    assert to_the_end(start(made, tmp_path, samples=False))["outcome"] == "finished"


def test_show_says_where_the_pictures_are(made: Plan, tmp_path: Path) -> None:
    run = start(made, tmp_path)
    store = ResultsStore(run.results)
    store.write(to_the_end(run))
    console = Console(width=200, record=True, quiet=False, file=io.StringIO())
    trial = made.trials[0].id
    print_trial(trial[:8], store, console)
    text = console.export_text()
    assert f"{tmp_path}/results/samples/{trial}/ (10 pictures of what" in text
