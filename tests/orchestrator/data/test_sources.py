"""Sources give the pixels and labels that they should, and say so when they cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from orchestrator.data import MissingData, Source, list_sources, open_source, prepare
from orchestrator.data import sources as registry
from orchestrator.data.sources import Images, Layout, get_source, register_source
from orchestrator.errors import UserError, unknown


def rows(x: torch.Tensor, y: torch.Tensor) -> list[tuple[bytes, int]]:
    return sorted((image.numpy().tobytes(), int(label)) for image, label in zip(x, y, strict=True))


def test_digits_are_those_of_scikit_learn(data_dir: Path) -> None:
    digits = open_source("digits", data_dir)
    images, labels = load_digits(return_X_y=True)
    scaled = np.round(images * 255 / 16).astype(np.uint8)
    expected = sorted((x.tobytes(), int(y)) for x, y in zip(scaled, labels, strict=True))
    # Every image once: the two parts are disjoint and cover the whole.
    assert (
        sorted(rows(digits.train_x, digits.train_y) + rows(digits.test_x, digits.test_y))
        == expected
    )
    assert digits.train_x.shape == (1438, 1, 8, 8)
    assert digits.test_x.shape == (359, 1, 8, 8)
    assert digits.train_x.dtype == torch.uint8
    assert digits.train_y.dtype == torch.int64
    assert digits.train_x.max() == 255
    share = digits.test_y.bincount() / (digits.train_y.bincount() + digits.test_y.bincount())
    assert ((share - 0.2).abs() < 0.01).all()


def test_mnist_files_are_read_through_torchvision(
    data_dir: Path, raw: dict[str, NDArray[np.uint8]]
) -> None:
    mnist = open_source("mnist", data_dir)
    assert (mnist.train_x.numpy()[:, 0] == raw["train-images-idx3"]).all()
    assert (mnist.train_y.numpy() == raw["train-labels-idx1"]).all()
    assert (mnist.test_x.numpy()[:, 0] == raw["t10k-images-idx3"]).all()
    assert (mnist.test_y.numpy() == raw["t10k-labels-idx1"]).all()


def test_real_mnist(shared: Path, data_dir: Path) -> None:
    mnist = prepare("mnist", data_dir, shared)
    assert mnist.train_x.shape == (60_000, 1, 28, 28)
    assert mnist.test_x.shape == (10_000, 1, 28, 28)
    assert mnist.train_y[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test_y.bincount().tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009
    ]  # fmt: skip
    assert mnist.train_x.float().mean() / 255 == pytest.approx(0.1307, abs=1e-4)
    assert list((shared).glob("arrow")) == []


def test_an_unknown_source_has_a_suggestion(data_dir: Path) -> None:
    with pytest.raises(UserError, match=r"^unknown source 'mnits'; did you mean 'mnist'\?$"):
        open_source("mnits", data_dir)
    assert unknown("source", "zzz", ["b", "a"]) == "unknown source 'zzz'; possible: a, b"


def test_missing_data_names_the_command(data_dir: Path) -> None:
    with pytest.raises(MissingData) as error:
        open_source("mnist", data_dir)
    assert str(error.value) == (
        f'mnist is not in {data_dir}: run "engram data prepare mnist --data {data_dir}", '
        "or put torchvision's MNIST folder there"
    )
    assert not data_dir.exists()


def test_a_source_folder_without_the_raw_files(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"torchvision's MNIST folder .*train-images") as error:
        prepare("mnist", data_dir, tmp_path / "elsewhere")
    assert f"mnist is not in {tmp_path / 'elsewhere'}" in str(error.value)


def test_truncated_raw_files_are_named(data_dir: Path, raw: dict[str, NDArray[np.uint8]]) -> None:
    file = data_dir / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"raw files of mnist .* cannot be read") as error:
        open_source("mnist", data_dir)
    assert "\n" not in str(error.value)
    assert not list((data_dir / "arrow").glob("*.arrow"))


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A source whose download works once the list of folders it was asked for is not empty."""
    asked: list[Path] = []

    def download(folder: Path) -> None:
        asked.append(folder)
        if len(asked) == 1:
            raise URLError("no\nnetwork")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "remote.bin").write_bytes(b"")

    def read(folder: Path) -> Images:
        x, y = np.zeros((4, 1, 2, 2), np.uint8), np.arange(4) % 2
        return Images(x, y, x, y)

    layout = Layout(read, ("remote.bin",), "it")
    source = Source("remote", "far away", 2, (1, 2, 2), (layout,), download)
    monkeypatch.setitem(registry.SOURCES, "remote", source)
    return asked


def test_only_prepare_downloads(data_dir: Path, remote: list[Path]) -> None:
    with pytest.raises(MissingData):
        open_source("remote", data_dir)
    assert remote == []
    with pytest.raises(UserError, match=r"remote could not be downloaded .*no network") as error:
        prepare("remote", data_dir)
    assert "\n" not in str(error.value)
    prepare("remote", data_dir)
    prepare("remote", data_dir)
    assert remote == [data_dir, data_dir]


@pytest.mark.parametrize(
    ("change", "value"),
    [("shape", (1, 3, 3)), ("classes", 1)],
)
def test_a_source_that_breaks_its_word_is_caught(
    change: str, value: object, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = np.zeros((4, 1, 2, 2), np.uint8), np.arange(4) % 2
    layout = Layout(lambda folder: Images(x, y, x, y))
    source = Source("odd", "odd", 2, (1, 2, 2), (layout,))
    monkeypatch.setitem(registry.SOURCES, "odd", replace(source, **{change: value}))
    with pytest.raises(UserError, match="raw files of odd"):
        open_source("odd", data_dir)


def test_a_name_is_taken_once() -> None:
    mnist = get_source("mnist")
    assert register_source(mnist) is mnist
    with pytest.raises(ValueError, match='already a source "mnist"'):
        register_source(Source("mnist", "", 1, (1, 1, 1), mnist.layouts))


def test_the_list_tells_what_is_ready(data_dir: Path, tiny_mnist: Callable[..., Any]) -> None:
    def states() -> dict[str, tuple[str, str | None]]:
        return {row.name: (row.state, row.command) for row in list_sources(data_dir)}

    command = f"engram data prepare mnist --data {data_dir}"
    assert list(states()) == sorted(registry.SOURCES)
    assert states()["digits"] == ("embedded", None)
    assert states()["mnist"] == ("missing", command)
    assert states()["mini-imagenet"] == ("missing", None), "nothing can download it"
    by_hand = {row.name: row.by_hand for row in list_sources(data_dir) if row.by_hand}
    assert list(by_hand) == ["mini-imagenet"]
    assert by_hand["mini-imagenet"].startswith("put mini-imagenet/images/ with mini-imagenet/train")
    assert by_hand["mini-imagenet"].endswith(f"/CLASS/ into {data_dir}")
    tiny_mnist(data_dir)
    assert states()["mnist"] == ("raw files found", None)
    prepare("mnist", data_dir)
    assert states()["mnist"] == ("prepared", None)
