"""What a file or folder holds is told by how it looks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from orchestrator.data.sources.own import read_own
from orchestrator.errors import UserError

Png = Callable[..., bytes]

TRAIN_Y, TEST_Y = [0, 1, 0, 1, 2, 2], [0, 1, 2]


def pixels() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    x = np.random.default_rng(0).integers(0, 256, (9, 6, 5, 3), dtype=np.uint8)
    return x[:6], x[6:]


def write_npz(path: Path, **changes: Any) -> Path:
    train, test = pixels()
    arrays = {"x_train": train, "y_train": TRAIN_Y, "x_test": test, "y_test": TEST_Y} | changes
    np.savez(path, **arrays)
    return path


def write_parquet(folder: Path, png: Png, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, x, y in zip(names, pixels(), (TRAIN_Y, TEST_Y), strict=True):
        table = pa.table({"image": [{"bytes": png(one)} for one in x], "label": y})
        pq.write_table(table, folder / name)


def write_folders(folder: Path, png: Png, *names: str) -> None:
    for name, x, y in zip(names, pixels(), (TRAIN_Y, TEST_Y), strict=False):
        for i, (image, label) in enumerate(zip(x, y, strict=True)):
            file = folder / name / f"class {label}" / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(image))


FORMS: dict[str, Callable[[Path, Png], Any]] = {
    "npz": lambda path, png: write_npz(path / "own.npz"),
    "parquet": lambda path, png: write_parquet(
        path, png, "train-00000-of-00001.parquet", "test-00000-of-00001.parquet"
    ),
    "parquet in a folder": lambda path, png: write_parquet(
        path / "data", png, "train.parquet", "validation.parquet"
    ),
    "folders": lambda path, png: write_folders(path, png, "train", "test"),
    "folders with val": lambda path, png: write_folders(path, png, "train", "val"),
}


@pytest.mark.parametrize("form", FORMS)
def test_divided_data(form: str, png: Png, tmp_path: Path) -> None:
    made = FORMS[form](tmp_path, png)
    images, classes = read_own(made or tmp_path)
    assert classes == 3
    order = np.argsort(TRAIN_Y, kind="stable") if "folders" in form else np.arange(6)
    train, test = pixels()
    assert (images.train_x == train[order].transpose(0, 3, 1, 2)).all()
    assert images.train_y.tolist() == [TRAIN_Y[i] for i in order]
    assert (images.test_x == test.transpose(0, 3, 1, 2)).all()
    assert images.test_y.tolist() == TEST_Y


def test_a_folder_for_each_class(png: Png, tmp_path: Path) -> None:
    write_folders(tmp_path, png, "cats", "dogs")
    images, classes = read_own(tmp_path, (3, 4))
    assert classes == 2
    assert images.train_x.shape == (5 + 2, 3, 3, 4)


def test_tables(png: Png, tmp_path: Path) -> None:
    train, test = pixels()
    (tmp_path / "images").mkdir()
    for part, x, y in (("train", train, TRAIN_Y), ("test", test, TEST_Y)):
        rows = ["filename,label"]
        for i, (image, label) in enumerate(zip(x, y, strict=True)):
            (tmp_path / "images" / f"{part}{i}.png").write_bytes(png(image))
            rows.append(f"{part}{i}.png,{label}")
        (tmp_path / f"{part}.csv").write_text("\n".join(rows))
    images, classes = read_own(tmp_path)
    assert classes == 3
    assert (images.test_x == test.transpose(0, 3, 1, 2)).all()


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "labels from 1": ({"y_train": [1, 2, 1, 2, 3, 3], "y_test": [1, 2, 3]}, "0 does not occur"),
    "a gap": ({"y_train": [0, 1, 0, 1, 3, 3]}, "2 does not occur"),
    "a large gap": ({"y_train": [0, 1, 0, 1, 2**62, 2**62]}, "2 does not occur"),
    "negative": ({"y_train": [0, 1, 0, 1, -1, -1]}, "-1 is one"),
    "one class": ({"y_train": [0] * 6, "y_test": [0] * 3}, "holds only one class"),
    "a test class of its own": ({"y_test": [0, 1, 7]}, "label 7 occurs among the test images"),
    "no test images": (
        {"x_test": np.zeros((0, 6, 5, 3), np.uint8), "y_test": np.zeros(0, int)},
        "should hold images for training and for test",
    ),
    "no pixels": (
        {"x_train": np.zeros((6, 0, 5, 3), np.uint8), "x_test": np.zeros((3, 0, 5, 3), np.uint8)},
        r"images of the shape \[3, 0, 5\] have no pixels",
    ),
    "two shapes": (
        {"x_test": np.zeros((3, 6, 6, 3), np.uint8)},
        r"have the shape \[3, 6, 5\], test images \[3, 6, 6\]",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case: str, tmp_path: Path) -> None:
    changes, message = MISTAKES[case]
    with pytest.raises(UserError, match=rf"own\.npz: .*{message}") as error:
        read_own(write_npz(tmp_path / "own.npz", **changes))
    assert "\n" not in str(error.value)


def test_training_data_without_test_data(png: Png, tmp_path: Path) -> None:
    write_folders(tmp_path, png, "train")
    with pytest.raises(UserError, match="has train/ but no test/"):
        read_own(tmp_path)


def test_what_is_in_no_known_form(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: there is no such file or folder"):
        read_own(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no images in a form that is known; give an \.npz"):
        read_own(tmp_path)
    (tmp_path / "image.png").touch()
    with pytest.raises(UserError, match=r"image\.png: cannot be read as images; give an \.npz"):
        read_own(tmp_path / "image.png")
