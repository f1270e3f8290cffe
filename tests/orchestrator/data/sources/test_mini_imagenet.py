"""mini-ImageNet is the same in each of the layouts in which it is passed around."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from orchestrator.data import MissingData, StreamConfig, open_source
from orchestrator.errors import UserError

#: Few-shot division of the classes.
PARTS = {"train": range(64), "val": range(64, 80), "test": range(80, 100)}


def names(label: int) -> tuple[str, list[str]]:
    """A class's name and those of its images; names do not follow the division."""
    synset = f"n{(label * 37) % 100:08}"
    return synset, [f"{synset}{i:08}.jpg" for i in range(6)]


@pytest.fixture
def photographs(png: Callable[..., bytes]) -> dict[str, bytes]:
    """Photographs of several sizes, by their names."""
    random = np.random.default_rng(0)
    sizes = [(84, 84), (100, 70), (60, 120)]
    encoded = [png(random.integers(0, 256, (*size, 3), dtype=np.uint8), "JPEG") for size in sizes]
    files = [file for label in range(100) for file in names(label)[1]]
    return {file: encoded[i % 3] for i, file in enumerate(files)}


def write(folder: Path, layout: str, photographs: dict[str, bytes]) -> None:
    for part, labels in PARTS.items():
        rows = ["filename,label"]
        for synset, files in map(names, labels):
            where = {"tables": "images", "parts": f"{part}/{synset}", "classes": synset}[layout]
            (folder / where).mkdir(parents=True, exist_ok=True)
            for file in files:
                (folder / where / file).write_bytes(photographs[file])
                rows.append(f"{file},{synset}")
        if layout == "tables":
            (folder / f"{part}.csv").write_text("\n".join(rows) + "\n")


def test_all_layouts_hold_the_same(tmp_path: Path, photographs: dict[str, bytes]) -> None:
    fingerprints = set()
    for layout in ("tables", "parts", "classes"):
        write(tmp_path / layout / "mini-imagenet", layout, photographs)
        data = open_source("mini-imagenet", tmp_path / layout)
        assert data.shape == (3, 84, 84)
        assert data.train_y.tolist() == [label for label in range(100) for _ in range(5)]
        assert data.test_y.tolist() == list(range(100))
        fingerprints.add(data.fingerprint)
    assert len(fingerprints) == 1


def test_a_part_of_it_is_refused(tmp_path: Path, photographs: dict[str, bytes]) -> None:
    write(tmp_path / "mini-imagenet", "classes", photographs)
    for file in (tmp_path / "mini-imagenet" / "n00000037").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="holds 99 classes, but mini-ImageNet has 100"):
        open_source("mini-imagenet", tmp_path)


def test_what_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingData) as error:
        open_source("mini-imagenet", tmp_path)
    assert str(error.value) == (
        f"mini-imagenet is not in {tmp_path}: put mini-imagenet/images/ with "
        "mini-imagenet/train.csv, val.csv and test.csv or mini-imagenet/{train,val,test}/CLASS/ "
        "or mini-imagenet/CLASS/ there"
    )


def test_its_classes_divide_into_twenty_tasks() -> None:
    config = StreamConfig.model_validate({"dataset": "split-mini-imagenet", "tasks": 20})
    assert config.info().shape == (3, 84, 84)
    assert {len(classes) for classes in config.info().classes_of} == {5}
