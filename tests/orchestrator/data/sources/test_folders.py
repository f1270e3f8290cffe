"""Folders of images: classes by name, and a division that is given or made by one rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from orchestrator.data.sources import Images
from orchestrator.data.sources.folders import class_files, read_divided, read_pooled, read_tables
from orchestrator.errors import UserError

Png = Callable[..., bytes]


@pytest.fixture
def write(png: Png) -> Callable[..., None]:
    """Writes images of one grey level: ``write(folder, {"cat/1.png": 7})``."""

    def write_files(folder: Path, levels: Mapping[str, int]) -> None:
        for name, level in levels.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            form = "PNG" if name.lower().endswith("png") else "JPEG"
            (folder / name).write_bytes(png(np.full((4, 4), level, np.uint8), form))

    return write_files


def levels(images: Images) -> dict[str, list[tuple[int, int]]]:
    """Grey level and label of each image."""
    return {
        part: [(int(x[0, 0, 0]), int(y)) for x, y in zip(xs, ys, strict=True)]
        for part, xs, ys in (
            ("train", images.train_x, images.train_y),
            ("test", images.test_x, images.test_y),
        )
    }


def divided(folder: Path) -> Images:
    return read_divided(class_files(folder / "train"), class_files(folder / "test"), folder)


def test_a_division_that_is_given(write: Callable[..., None], tmp_path: Path) -> None:
    write(tmp_path / "train", {"dog/b.png": 3, "dog/a.JPG": 2, "cat/x.jpeg": 1, "cow/1.png": 4})
    write(tmp_path / "test", {"dog/c.png": 7, "cat/y.png": 6})
    assert levels(divided(tmp_path)) == {
        "train": [(1, 0), (4, 1), (2, 2), (3, 2)],
        "test": [(6, 0), (7, 2)],
    }


def test_what_is_hidden_or_no_image_does_not_count(
    write: Callable[..., None], tmp_path: Path
) -> None:
    for part in ("train", "test"):
        write(tmp_path / part, {"cat/images/deep/1.png": 1, "dog/1.png": 2, ".git/1.png": 3})
        write(tmp_path / part, {"cat/._1.png": 9, "empty/.hidden.png": 9})
        (tmp_path / part / "cat" / "notes.txt").write_text("no image")
        (tmp_path / part / "list.csv").write_text("no folder")
    assert levels(divided(tmp_path)) == {"train": [(1, 0), (2, 1)], "test": [(1, 0), (2, 1)]}


def test_a_class_without_training_images(write: Callable[..., None], tmp_path: Path) -> None:
    write(tmp_path / "train", {"cat/1.png": 1})
    write(tmp_path / "test", {"dog/1.png": 1})
    with pytest.raises(UserError, match=r"class dog has test images but none for training"):
        divided(tmp_path)


@pytest.mark.parametrize(("count", "tests"), [(2, 1), (6, 1), (11, 1), (12, 2), (30, 5)])
def test_the_last_sixth_of_a_class_is_test_data(
    count: int, tests: int, write: Callable[..., None], tmp_path: Path
) -> None:
    write(tmp_path, {f"a/{i:03}.png": i for i in range(count)})
    write(tmp_path, {f"b/{i:03}.png": 100 + i for i in range(12)})
    found = levels(read_pooled([class_files(tmp_path)], tmp_path))
    cut = count - tests
    assert found == {
        "train": [(i, 0) for i in range(cut)] + [(100 + i, 1) for i in range(10)],
        "test": [(i, 0) for i in range(cut, count)] + [(110, 1), (111, 1)],
    }


def test_a_class_in_several_parts_is_pooled(write: Callable[..., None], tmp_path: Path) -> None:
    write(tmp_path / "b", {f"cat/{i}.png": 10 + i for i in range(3)})
    write(
        tmp_path / "a", {f"cat/{i}.png": i for i in range(3)} | {"dog/1.png": 20, "dog/2.png": 21}
    )
    parts = [class_files(tmp_path / part) for part in ("b", "a")]
    assert levels(read_pooled(parts, tmp_path)) == {
        "train": [(0, 0), (1, 0), (2, 0), (10, 0), (11, 0), (20, 1)],
        "test": [(12, 0), (21, 1)],
    }


def test_a_class_of_one_image_cannot_be_divided(write: Callable[..., None], tmp_path: Path) -> None:
    write(tmp_path, {"a/1.png": 1, "a/2.png": 1, "b/1.png": 1})
    with pytest.raises(UserError, match="class b has one image only"):
        read_pooled([class_files(tmp_path)], tmp_path)


def tables(folder: Path, **rows: str) -> None:
    for part, content in rows.items():
        (folder / f"{part}.csv").write_text(content)


def test_tables_without_a_common_class_are_pooled(
    write: Callable[..., None], tmp_path: Path
) -> None:
    names = [f"{label}{i}" for label in "abc" for i in range(6)]
    write(tmp_path / "images", {f"{name}.jpg": 10 * i for i, name in enumerate(names)})
    rows = {
        label: [f"{name}.jpg,{label}\n" for name in names if name[0] == label] for label in "abc"
    }
    tables(
        tmp_path,
        train="filename,label\n" + "".join(reversed(rows["c"])),  # of no order in particular
        val="\ufefffilename, label\r\n" + "".join(rows["a"]).replace("\n", "\r\n"),
        test="label,filename\n" + "".join(f"b,{row.split(',')[0]}\n" for row in rows["b"]),
    )
    found = levels(read_tables(tmp_path))
    expected = [(10 * i, i // 6) for i in range(18)]
    assert found["test"] == expected[5::6]
    assert found["train"] == [pair for i, pair in enumerate(expected) if i % 6 != 5]
    (tmp_path / "val.csv").unlink()
    assert {label for _, label in levels(read_tables(tmp_path))["train"]} == {0, 1}


def test_tables_with_common_classes_say_what_is_for_test(
    write: Callable[..., None], tmp_path: Path
) -> None:
    write(tmp_path / "images", {"a/1.png": 1, "a/2.png": 2, "b/1.png": 3, "b/2.png": 4, "v.png": 5})
    tables(
        tmp_path,
        train="filename,label\na/2.png,a\nb/1.png,b\n",
        val="filename,label\nv.png,a\n",
        test="filename,label\na/1.png,a\nb/2.png,b\n",
    )
    assert levels(read_tables(tmp_path)) == {"train": [(2, 0), (3, 1)], "test": [(1, 0), (4, 1)]}
    tables(tmp_path, test="filename,label\na/1.png,a\nb/2.png,c\n")
    with pytest.raises(UserError, match="class c has test images but none for training"):
        read_tables(tmp_path)


def test_mistakes_in_tables(write: Callable[..., None], tmp_path: Path) -> None:
    write(tmp_path / "images", {"1.png": 1})
    tables(tmp_path, train="file,class\n1.png,a\n", test="filename,label\n1.png,a\n")
    with pytest.raises(UserError, match=r"train\.csv: should have the columns filename and label"):
        read_tables(tmp_path)
    (tmp_path / "train.csv").write_bytes(b"filename,label\n\xff\xfe,a\n")
    with pytest.raises(UserError, match=r"train\.csv: is not a table that can be read"):
        read_tables(tmp_path)
    tables(tmp_path, train="filename,label\n1.png,a\nnowhere.png,a\n")
    with pytest.raises(UserError, match=r"images/nowhere\.png: is not an image that can be read"):
        read_tables(tmp_path)
