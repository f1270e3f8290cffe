"""Each data set of torchvision's is read from the files in which it is published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.data import Images, MissingData, open_source, prepare
from orchestrator.data.arrow import fingerprint_of
from orchestrator.data.sources import get_source
from orchestrator.data.sources.torchvision_sources import TORCHVISION
from orchestrator.errors import UserError

Publish = Callable[..., Images]
Png = Callable[..., bytes]

NAMES = [source.name for source in TORCHVISION]


def same(dataset: Any, images: Images) -> bool:
    return dataset.fingerprint == fingerprint_of(images) and all(
        np.array_equal(getattr(dataset, part).numpy(), array)
        for part, array in images._asdict().items()
    )


def test_all_of_them_are_here() -> None:
    assert sorted(NAMES) == [
        "cifar10", "cifar100", "emnist-letters", "fashion-mnist",
        "kmnist", "mnist", "qmnist", "svhn",
    ]  # fmt: skip
    assert get_source("emnist-letters").classes == 26
    assert get_source("cifar100").classes == 100


@pytest.mark.parametrize("name", NAMES)
def test_raw_files_are_read(name: str, data_dir: Path, publish: Publish) -> None:
    expected = publish(name, data_dir)
    assert same(open_source(name, data_dir), expected)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_files_of_its_own_are_read(name: str, data_dir: Path, publish: Publish) -> None:
    for other in NAMES:
        if other != name:
            publish(other, data_dir)
    with pytest.raises(MissingData):
        open_source(name, data_dir)


@pytest.mark.parametrize("name", NAMES)
def test_prepare_downloads(name: str, data_dir: Path, publish: Publish) -> None:
    expected = publish(name)
    assert same(prepare(name, data_dir), expected)
    layout = get_source(name).layouts[0]
    assert layout.found_in(data_dir)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files_are_named(name: str, data_dir: Path, publish: Publish) -> None:
    publish(name, data_dir)
    file = data_dir / get_source(name).layouts[0].files[0]
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(UserError, match=f"raw files of {name} .* cannot be read") as error:
        open_source(name, data_dir)
    assert "\n" not in str(error.value)


def test_letters_count_from_0_and_stand_upright(data_dir: Path, publish: Publish) -> None:
    publish("emnist-letters", data_dir)
    # The stroke of an upright L: down the left edge, then along the bottom.
    file = data_dir / "EMNIST" / "raw" / "emnist-letters-train-images-idx3-ubyte"
    upright = np.zeros((28, 28), np.uint8)
    upright[:, 0] = upright[27, :14] = 255
    content = bytearray(file.read_bytes())
    content[16 : 16 + 784] = upright.T.tobytes()
    file.write_bytes(content)
    letters = open_source("emnist-letters", data_dir)
    assert (letters.train_x[0, 0].numpy() == upright).all()
    assert letters.train_y[:2].tolist() == [0, 25]


def test_the_digit_0_of_svhn_is_class_0(data_dir: Path, publish: Publish) -> None:
    expected = publish("svhn", data_dir)
    svhn = open_source("svhn", data_dir)
    assert svhn.train_y.max() == 9
    assert (svhn.train_y.numpy() == 0).tolist() == (expected.train_y == 0).tolist()


def parquet(images: Images, folder: Path, label: str, png: Png) -> None:
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        x, y = getattr(images, f"{part}_x"), getattr(images, f"{part}_y")
        encoded = [{"bytes": png(one.transpose(1, 2, 0)), "path": None} for one in x]
        columns = {"img": encoded, "coarse_label": np.zeros_like(y), label: y}
        pq.write_table(pa.table(columns), folder / f"{part}.parquet")


@pytest.mark.parametrize(("name", "label"), [("cifar10", "label"), ("cifar100", "fine_label")])
def test_cifar_in_either_layout_is_the_same(
    name: str, label: str, data_dir: Path, tmp_path: Path, publish: Publish, png: Png
) -> None:
    expected = publish(name, data_dir)
    parquet(expected, tmp_path / "hub" / name, label, png)
    batches, hub = open_source(name, data_dir), open_source(name, tmp_path / "hub")
    assert same(hub, expected)
    assert hub.fingerprint == batches.fingerprint


def test_the_first_layout_is_read_where_there_are_two(
    data_dir: Path, publish: Publish, png: Png
) -> None:
    expected = publish("cifar10", data_dir)
    other = Images(*(255 - a if a.dtype == np.uint8 else a for a in expected))
    parquet(other, data_dir / "cifar10", "label", png)
    assert same(open_source("cifar10", data_dir), expected)


def test_what_is_missing_is_told_in_all_its_layouts(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingData) as error:
        open_source("cifar10", data_dir)
    assert str(error.value) == (
        f'cifar10 is not in {data_dir}: run "engram data prepare cifar10 --data {data_dir}", or '
        "put torchvision's cifar-10-batches-py folder or Hugging Face's Parquet files in cifar10/ "
        "there"
    )
    with pytest.raises(MissingData, match=r"test_batch, .*\) or .*cifar10/test\.parquet\) should"):
        prepare("cifar10", data_dir, tmp_path / "elsewhere")
