"""A user's own data: added to a folder once, known to every process that works on the folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from orchestrator.data import (
    MissingData,
    StreamConfig,
    add_source,
    discover,
    fingerprint,
    list_sources,
    open_source,
    open_stream,
    prepare,
    stream_names,
)
from orchestrator.data.added import added_sources
from orchestrator.data.sources import SOURCES
from orchestrator.errors import UserError

REPOSITORY = Path(__file__).parents[3]


def write(path: Path, classes: int = 4, shape: tuple[int, ...] = (6, 5), seed: int = 0) -> Path:
    """Write an archive with ten training images and two test images of each class."""
    random = np.random.default_rng(seed)
    parts = {"train": 10, "test": 2}
    arrays: dict[str, Any] = {}
    for part, each in parts.items():
        y = np.arange(each * classes) % classes
        arrays[f"x_{part}"] = random.integers(0, 256, (len(y), *shape), dtype=np.uint8)
        arrays[f"y_{part}"] = y
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


@pytest.fixture
def pets(data_dir: Path, tmp_path: Path) -> Path:
    """A data folder to which a source was added."""
    add_source("pets", data_dir, write(tmp_path / "pets.npz"))
    return data_dir


def config(dataset: str = "split-pets", **options: Any) -> StreamConfig:
    return StreamConfig.model_validate({"dataset": dataset, "tasks": 2, **options})


def test_streams_are_made_of_it(pets: Path, tmp_path: Path) -> None:
    assert {"split-pets", "permuted-pets", "rotated-pets"} <= set(stream_names())
    arrays = np.load(tmp_path / "pets.npz")
    data = open_source("pets", pets)
    assert (data.train_x[:, 0].numpy() == arrays["x_train"]).all()
    assert (data.test_y.numpy() == arrays["y_test"]).all()
    stream = open_stream(config(), pets)
    assert stream.info.classes_of == ((0, 1), (2, 3))
    assert stream.info.shape == (1, 6, 5)
    assert len(stream.task(1).train) == 20
    with pytest.raises(ValidationError, match=r"4 classes .* cannot be divided evenly"):
        config(tasks=3)


def test_the_raw_files_are_not_needed_any_more(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "pets.npz").unlink()
    assert len(open_source("pets", pets).train_x) == 40
    assert len(prepare("pets", pets).train_x) == 40
    assert [path.name for path in pets.iterdir()] == ["arrow"]


def test_it_is_listed(pets: Path) -> None:
    (row,) = (row for row in list_sources(pets) if row.name == "pets")
    assert (row.classes, row.shape, row.state, row.command) == (4, (1, 6, 5), "added", None)
    assert row.title == "your own, from pets.npz (48 images)"
    assert "pets" not in {row.name for row in list_sources(pets.parent)}


def test_another_process_knows_it_by_the_folder(pets: Path) -> None:
    code = f"""
from pathlib import Path
from orchestrator.data import StreamConfig, discover, open_stream, stream_names
assert "split-pets" not in stream_names()
discover(Path({str(pets)!r}))
config = StreamConfig.model_validate({{"dataset": "split-pets", "tasks": 4}})
print(len(open_stream(config, Path({str(pets)!r})).task(3).train))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "10\n", done.stderr


def test_adding_again_replaces(pets: Path, tmp_path: Path) -> None:
    before = open_source("pets", pets)
    add_source("pets", pets, write(tmp_path / "more.npz", classes=6, shape=(8, 8, 3)))
    after = open_source("pets", pets)
    assert (before.classes, after.classes, after.shape) == (4, 6, (3, 8, 8))
    assert config(tasks=6).info().shape == (3, 8, 8)
    assert fingerprint("pets", pets) == after.fingerprint != before.fingerprint


def test_data_that_were_replaced_elsewhere_are_noticed(pets: Path, tmp_path: Path) -> None:
    add_source("pets", tmp_path / "other", write(tmp_path / "more.npz", classes=6))
    discover(pets)
    shutil.copy(tmp_path / "other" / "arrow" / "pets.arrow", pets / "arrow")  # by another process
    with pytest.raises(UserError) as error:
        open_stream(config(), pets)
    assert str(error.value) == (
        f"pets in {pets} is no longer what was planned with (4 classes of 1 × 6 × 5), but "
        "6 classes of 1 × 6 × 5: plan anew"
    )
    discover(pets)
    assert open_source("pets", pets).classes == 6


def test_one_name_in_two_folders(pets: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    add_source("pets", other, write(tmp_path / "else.npz", seed=1))
    # Of one form, they differ in their fingerprint, and so in the identity of every trial.
    assert fingerprint("pets", pets) != fingerprint("pets", other)
    assert open_source("pets", pets) is not open_source("pets", other)
    add_source("pets", other, write(tmp_path / "more.npz", classes=6))
    with pytest.raises(UserError, match="no longer what was planned with"):
        open_source("pets", pets)
    discover(pets)
    assert open_source("pets", pets).classes == 4


def test_what_another_folder_holds_is_not_here(pets: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with pytest.raises(MissingData) as error:
        open_source("pets", other)
    assert str(error.value) == (
        f'pets is not in {other}: run "engram data add pets --from PATH --data {other}"'
    )
    discover(other)
    assert "pets" not in SOURCES
    with pytest.raises(UserError, match="unknown source 'pets'"):
        open_source("pets", other)
    with pytest.raises(ValidationError, match="unknown dataset 'split-pets'"):
        config()
    # A folder that is named is enough, where no stream is to be checked.
    assert len(open_source("pets", pets).train_x) == 40


@pytest.mark.parametrize("name", ["Pets", "my pets", "-pets", "pets-", "a+b", "../pets", "", "a.b"])
def test_names_that_cannot_be_had(name: str, data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be a source's name"):
        add_source(name, data_dir, write(tmp_path / "pets.npz"))
    assert not data_dir.exists()


def test_a_name_has_a_length_that_files_can_have(data_dir: Path, tmp_path: Path) -> None:
    archive = write(tmp_path / "pets.npz")
    with pytest.raises(UserError, match="too long a name: give at most 50 characters"):
        add_source("p" * 300, data_dir, archive)
    assert add_source("p" * 50, data_dir, archive).classes


def test_the_names_of_engram_are_taken(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mnist comes with Engram: give your data another name"):
        add_source("mnist", data_dir, write(tmp_path / "pets.npz"))


def test_a_mistake_leaves_what_was_there(pets: Path, tmp_path: Path) -> None:
    content = (pets / "arrow" / "pets.arrow").read_bytes()
    np.savez(tmp_path / "bad.npz", x_train=np.zeros(3))
    sizes = (0, 5), (5, 100_000)
    for path, size in ((tmp_path / "bad.npz", None), *((tmp_path / "pets.npz", s) for s in sizes)):
        with pytest.raises(UserError):
            add_source("pets", pets, path, size)
    assert (pets / "arrow" / "pets.arrow").read_bytes() == content


def test_only_what_was_added_is_discovered(pets: Path) -> None:
    before = dict(SOURCES)
    open_source("digits", pets)
    # Of a source that some package registers, in a process without that package.
    content = (pets / "arrow" / "digits.arrow").read_bytes()
    (pets / "arrow" / "elsewhere.arrow").write_bytes(content)
    assert [source.name for source in discover(pets)] == ["pets"]
    assert before == SOURCES
    assert [*added_sources(pets / "nowhere")] == []


def test_a_damaged_file_is_named(pets: Path) -> None:
    file = pets / "arrow" / "pets.arrow"
    file.write_bytes(file.read_bytes()[:-100])
    for use in (discover, list_sources, lambda folder: open_source("pets", folder)):
        with pytest.raises(UserError) as error:
            use(pets)
        assert f"{file} is damaged" in str(error.value)
        assert "engram data add pets --from PATH" in str(error.value)


def test_a_folder_that_cannot_be_written(tmp_path: Path, cache_home: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "data"
    add_source("pets", folder, write(tmp_path / "pets.npz"))
    assert list(cache_home.glob("engram/*/pets.arrow"))
    assert [source.name for source in discover(folder)] == ["pets"]
    assert len(open_stream(config(), folder).task(0).train) == 20


def test_raw_files_are_not_given_to_prepare(pets: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is data of your own: .*engram data add pets --from"):
        prepare("pets", pets, tmp_path)


def test_the_command_adds_and_a_plan_knows_it(
    tmp_path: Path, engram: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    write(tmp_path / "pets.npz")
    added = engram("data", "add", "pets", "--from", "pets.npz", "--size", 4, 3, cwd=tmp_path)
    assert added.returncode == 0, added.stderr
    assert added.stdout == (
        "pets is ready: 40 training and 8 test images of 1 × 4 × 3, 4 classes\n"
        "Use it in a search space: dataset: split-pets, permuted-pets or rotated-pets\n"
    )
    (tmp_path / "pets.yaml").write_text("dataset: split-pets\ntasks: 2\nmethod: naive\n")
    planned = engram("plan", "pets.yaml", cwd=tmp_path)
    assert "1 unique trial" in planned.stdout, planned.stderr
    elsewhere = engram("plan", "pets.yaml", "--data", "elsewhere", cwd=tmp_path)
    assert elsewhere.returncode == 2
    assert "unknown dataset 'split-pets'" in elsewhere.stderr
