"""Parquet files as they are on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from orchestrator.data.sources.parquet import read_parquet
from orchestrator.errors import UserError

Png = Callable[..., bytes]


def pixels(seed: int, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 5, 4, 3), dtype=np.uint8)


def write(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def structs(images: list[bytes]) -> list[dict[str, Any]]:
    return [{"bytes": image, "path": f"{i}.png"} for i, image in enumerate(images)]


@pytest.mark.parametrize("image", ["image", "img"])
@pytest.mark.parametrize("label", ["label", "fine_label"])
@pytest.mark.parametrize("form", ["struct", "binary", "large binary"])
def test_columns(image: str, label: str, form: str, png: Png, tmp_path: Path) -> None:
    x, y = pixels(0, 5), [2, 0, 1, 2, 0]
    encoded = [png(one) for one in x]
    column: Any = {
        "struct": lambda: structs(encoded),
        "binary": lambda: pa.array(encoded, pa.binary()),
        "large binary": lambda: pa.array(encoded, pa.large_binary()),
    }[form]()
    columns = {"coarse_label": [9] * 5, image: column, label: pa.array(y, pa.int32())}
    file = write(tmp_path / "train.parquet", columns)
    images = read_parquet([file], [file])
    assert (images.train_x == x.transpose(0, 3, 1, 2)).all()
    assert images.train_y.tolist() == y
    assert images.train_y.dtype == np.int64
    assert (images.test_x == images.train_x).all()


def test_several_files_are_one(png: Png, tmp_path: Path) -> None:
    x = pixels(0, 9)
    files = [
        write(
            tmp_path / f"{start}.parquet",
            {"image": structs([png(i) for i in x[start : start + 3]]), "label": [start] * 3},
        )
        for start in (0, 3, 6)
    ]
    images = read_parquet(files[:2], files[2:])
    assert (images.train_x == x[:6].transpose(0, 3, 1, 2)).all()
    assert (images.test_x == x[6:].transpose(0, 3, 1, 2)).all()
    assert images.train_y.tolist() == [0] * 3 + [3] * 3
    assert images.test_y.tolist() == [6] * 3


def test_the_real_cifar_10(shared: Path) -> None:
    images = read_parquet([shared / "cifar10" / "test.parquet"], [])
    assert images.train_x.shape == (10_000, 3, 32, 32)
    assert np.bincount(images.train_y).tolist() == [1000] * 10
    mean = images.train_x.mean(axis=(0, 2, 3)) / 255
    # The known means of its training images; those of the test images differ by less than this.
    assert mean == pytest.approx([0.4914, 0.4822, 0.4465], abs=0.005)


def columns_of(png: Png, **changes: Any) -> dict[str, Any]:
    encoded = structs([png(one) for one in pixels(0, 2)])
    columns = {"image": encoded, "label": [0, 1]} | changes
    return {name: column for name, column in columns.items() if column is not None}


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no image": (
        {"image": None, "picture": [1, 2]},
        "should have a column image or img and a column label or fine_label; it has label, picture",
    ),
    "no label": ({"label": None}, "should have a column image or img .* it has image"),
    "words for labels": ({"label": ["cat", "dog"]}, "column label should hold whole numbers, not"),
    "no label in one row": ({"label": [0, None]}, "every row should have an image and a label"),
    "image elsewhere": (
        {"image": [{"bytes": b"x", "path": "0"}, {"bytes": None, "path": "1.png"}]},
        "every row should have an image and a label",
    ),
    "paths only": ({"image": ["0.png", "1.png"]}, "column image should hold encoded images"),
    "not an image": ({"image": [b"x", b"y"]}, "image 0: is not an image that can be read"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case: str, png: Png, tmp_path: Path) -> None:
    changes, message = MISTAKES[case]
    file = write(tmp_path / "train.parquet", columns_of(png, **changes))
    with pytest.raises(UserError, match=rf"train\.parquet: {message}") as error:
        read_parquet([file], [file])
    assert "\n" not in str(error.value)


def test_what_is_no_parquet(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    for content in (b"PAR1 and no more", b""):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"train\.parquet: is not a Parquet file that can be"):
            read_parquet([file], [file])
