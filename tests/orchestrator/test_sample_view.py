"""What a trained method remembers, drawn into a file; or one line that says why it cannot be."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import orchestrator as engram
from methods.core.task import Batch
from methods.rehearsal import Rehearsal
from orchestrator.checkpoints import Checkpoints, Keep
from orchestrator.cli import main
from orchestrator.errors import UserError
from orchestrator.pictures import grid_png
from orchestrator.plan import Plan, make_plan
from orchestrator.results import ResultsStore
from orchestrator.sample_view import write_samples
from orchestrator.samples import Samples
from orchestrator.storage import Storage
from orchestrator.trial_run import TrialRun

SPACE = """\
dataset: split-digits
tasks: 5
network: {name: mlp, widths: [16]}
budget: {iterations: 5, batch_size: 16}
method:
  - naive
  - replay: {buffer_size: 60}
  - latent-replay: {buffer_size: 60, freeze_depth: 1}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of three trials: of naive nothing is kept, of the others all states."""
    home = tmp_path_factory.mktemp("kept")
    for trial in planned(home).trials:
        keep = Keep(checkpoints="none" if trial.config.method == "naive" else "all")
        run = TrialRun(
            *(trial, planned(home).environment, home / "data", {"space": "", "commit": ""}),
            keep=keep,
            results=Storage(home / "results"),
        )
        report = run.step()
        while report.record is None:
            report = run.step()
        ResultsStore(home / "results").write(report.record)
        Checkpoints(run.results).tidy(trial.id, keep)
    return home


def planned(home: Path) -> Plan:
    (home / "space.yaml").write_text(SPACE)
    return make_plan(home / "space.yaml", home / "data")


def identity(home: Path, method: str) -> str:
    (found,) = (r for r in ResultsStore(home / "results").records() if r["method"] == method)
    name: str = found["id"]
    return name


def sample(home: Path, output: Path | None, trial: str = "/replay", **options: Any) -> str:
    """Write a picture, and return what is said of it."""
    told = Console(width=300, file=io.StringIO())
    settings: dict[str, Any] = {
        **dict.fromkeys(("task", "label", "after")),
        "per_class": 4,
        "device": "cpu",
        **options,
    }
    store = ResultsStore(home / "results")
    write_samples(trial, store, home / "data", output=output, console=told, **settings)
    assert isinstance(told.file, io.StringIO)
    return told.file.getvalue()


def load(home: Path, task: int | None = None) -> Any:
    return engram.load("/replay", results=home / "results", data=home / "data", task=task)


def expected(method: Any, classes: list[int], task: int | None = None, n: int = 4) -> bytes:
    rows = [method.sample(n, classes=(each,), task=task).x for each in classes]
    return grid_png(torch.cat(rows), n, [f"class {each}" for each in classes], at_least=56)


# Pictures -----------------------------------------------------------------------------------------


def test_each_class_has_its_row(home: Path, tmp_path: Path) -> None:
    said = sample(home, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == expected(load(home), list(range(10)))
    assert said.startswith(
        f"{tmp_path}/out.png: 40 images of classes 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, from split-digits/"
    )
    assert said.endswith("/seed=0 after 5 tasks\n")
    with Image.open(tmp_path / "out.png") as picture:
        shown = np.array(picture)
    assert shown.shape[0] == 10 * 58 + 2
    last = shown[-58 : -2 : 56 // 8, -58 : -2 : 56 // 8]
    stored = load(home).memory
    nines = [item for item, y in zip(stored.x[:, 0], stored.y, strict=True) if y == 9]
    assert any(np.array_equal(last, item.numpy()) for item in nines), "a nine that is stored"


@pytest.mark.parametrize(
    ("options", "classes", "after", "task", "words"),
    [
        ({"label": 3}, [3], None, None, "4 images of class 3, from"),
        ({"task": 2}, [2, 3], None, 1, "8 images of classes 2, 3, of task 2, from"),
        ({"task": 2, "label": 3}, [3], None, 1, "4 images of class 3, of task 2, from"),
        ({"after": 1}, [0, 1], 1, None, "after 1 task\n"),
        ({"after": 3}, [0, 1, 2, 3, 4, 5], 3, None, "after 3 tasks\n"),
    ],
)
def test_of_what_was_asked_for(
    options: dict[str, int],
    classes: list[int],
    after: int | None,
    task: int | None,
    words: str,
    home: Path,
    tmp_path: Path,
) -> None:
    said = sample(home, tmp_path / "out.png", **options)
    assert (tmp_path / "out.png").read_bytes() == expected(load(home, after), classes, task)
    assert words in said


def test_the_same_call_writes_the_same_bytes_and_leaves_the_global_generator(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = torch.get_rng_state()
    said = sample(home, None)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    sample(home, tmp_path / "new" / "again.png")
    (first,) = tmp_path.glob("*-samples.png")
    assert first.name == f"{identity(home, 'replay')}-samples.png"
    assert said.startswith(f"{first.name}: ")
    assert first.read_bytes() == (tmp_path / "new" / "again.png").read_bytes()


# What cannot be chosen ----------------------------------------------------------------------------


def test_a_memory_that_cannot_be_asked_for_a_class_gives_a_grid_of_anything(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Rehearsal.sample

    def any_(self: Any, n: int, *, classes: Any = None, task: Any = None) -> Batch | None:
        if classes is not None or task is not None:
            raise LookupError("this generator cannot be asked for a class or a task")
        return draw(self, n)

    monkeypatch.setattr(Rehearsal, "sample", any_)
    said = sample(home, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == grid_png(load(home).sample(40).x, 4, at_least=56)
    first, second = said.splitlines()
    assert first.startswith(f"{tmp_path}/out.png: 40 images, from split-digits/")
    assert second.startswith("It cannot be asked for a class or a task: ")
    sample(home, tmp_path / "one.png", label=3)
    with Image.open(tmp_path / "one.png") as picture:
        assert picture.height == 58 + 2


def test_a_class_that_was_forgotten_has_no_row(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Rehearsal.sample

    def some(self: Any, n: int, *, classes: Any = None, task: Any = None) -> Batch | None:
        if classes in ((0,), (1,)):
            raise LookupError("nothing of this kind is remembered")
        return draw(self, n, classes=classes, task=task)

    monkeypatch.setattr(Rehearsal, "sample", some)
    said = sample(home, tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes() == expected(load(home), list(range(2, 10)))
    assert said.splitlines()[1] == "Left out: none, or hardly any, are of classes 0, 1."
    with pytest.raises(
        UserError, match=r"of what it remembers none, or hardly any, are of class 1$"
    ):
        sample(home, tmp_path / "out.png", label=1)
    with pytest.raises(UserError, match=r"none, or hardly any, are of classes 0, 1 in task 1$"):
        sample(home, tmp_path / "out.png", task=1)


# What is told in one line -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trial": "xyz"}, "holds no trial 'xyz'"),
        ({"trial": "naive"}, r"naive/seed=0: no trained method was kept; to keep it, delete "),
        ({"trial": "latent-replay"}, "gives no images: it remembers none, or activations"),
        ({"task": 6}, "has learnt 5 tasks, no task 6"),
        ({"task": 2, "after": 1}, "has learnt 1 task, no task 2"),
        ({"task": 0}, "no task 0"),
        ({"label": 10}, "has learnt no class 10 after 5 tasks, only classes 0, 1, 2"),
        ({"label": 2, "after": 1}, "has learnt no class 2 after 1 task, only classes 0, 1$"),
        ({"label": 0, "task": 2}, "has learnt no class 0 in task 2, only classes 2, 3"),
        ({"per_class": 0}, "--per-class 0: give 1 to 100"),
        ({"device": "toaster"}, "device 'toaster' cannot be used here"),
        ({"output": "."}, "is a folder; give a file"),
        ({"output": "space.yaml/out.png"}, r"out\.png: cannot be written \(\w+"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_one_line(
    options: dict[str, Any], message: str, home: Path, tmp_path: Path
) -> None:
    output = home / options.pop("output") if "output" in options else tmp_path / "out.png"
    with pytest.raises(UserError, match=message) as caught:
        sample(home, output, **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("method", ["naive", "latent-replay"])
def test_where_nothing_can_be_drawn_it_is_said_what_was_shown_before(
    method: str, home: Path, tmp_path: Path
) -> None:
    samples = Samples(Storage(home / "results"))
    trial = identity(home, method)
    samples.write(trial, 1, "generator", torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    with pytest.raises(UserError) as caught:
        sample(home, tmp_path / "out.png", trial)
    samples.storage.remove_folder("samples")
    where = f"; what it showed while it learnt is in {home}/results/samples/{trial}/"
    assert str(caught.value).endswith(where)


def test_other_code_is_told(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.loading.trial_code", lambda cls: "other")
    first, second = sample(home, tmp_path / "out.png").splitlines()
    assert "was trained with other code than is installed here" in first
    assert second.startswith(f"{tmp_path}/out.png: 40 images")


# The command --------------------------------------------------------------------------------------


def test_the_command_writes_the_same(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    places = ["--results", home / "results", "--data", home / "data"]
    asked = ["--per-class", 3, "--class", 5, "--task", 3, "--after", 4, "-o", tmp_path / "out.png"]
    for words, status in (([identity(home, "replay")[:8], *asked], 0), (["naive"], 2)):
        monkeypatch.setattr("sys.argv", ["engram", "sample", *map(str, [*words, *places])])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == status
    out, err = capsys.readouterr()
    assert "3 images of class 5, of task 3, from" in out
    assert err.startswith("engram: split-digits/class-incremental/naive/seed=0: no trained method")
    assert err.count("\n") == 1
    assert (tmp_path / "out.png").read_bytes() == expected(load(home, 4), [5], 2, n=3)
