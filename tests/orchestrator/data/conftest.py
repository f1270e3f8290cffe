"""Data folders for the tests: empty ones, one with tiny MNIST files, one with the real thing."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from orchestrator.data.sources import SOURCES

SHARED = Path(__file__).parents[4] / "shared" / "data"


@pytest.fixture(autouse=True)
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what falls back to the user's cache folder inside the test."""
    home = tmp_path / "cache-home"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home


@pytest.fixture(autouse=True)
def known_sources() -> Iterator[None]:
    """Forget the sources that a test has made known."""
    before = dict(SOURCES)
    yield
    SOURCES.clear()
    SOURCES.update(before)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data, which is not part of the project."""
    if not (SHARED / "MNIST").is_dir():
        pytest.skip(f"real MNIST is not in {SHARED}")
    return SHARED


def write_idx(path: Path, array: NDArray[Any]) -> None:
    """Write an array of uint8 or int32 as MNIST's own file format has it."""
    kind = {"uint8": 8, "int32": 12}[array.dtype.name]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + array.astype(array.dtype.newbyteorder(">")).tobytes())


def encode_png(array: NDArray[Any], form: str = "PNG") -> bytes:
    """Encode ``[H, W]`` or ``[H, W, C]``."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, form)
    return file.getvalue()


def write_mnist(folder: Path, train: int = 60, test: int = 20) -> dict[str, NDArray[np.uint8]]:
    """Write MNIST files with a few random images, every class alike, and return their content."""
    random = np.random.default_rng(0)
    arrays = {}
    for part, size in (("train", train), ("t10k", test)):
        images = random.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        labels = (np.arange(size) % 10).astype(np.uint8)
        arrays |= {f"{part}-images-idx3": images, f"{part}-labels-idx1": labels}
    for name, array in arrays.items():
        write_idx(folder / "MNIST" / "raw" / f"{name}-ubyte", array)
    return arrays


@pytest.fixture
def idx() -> Callable[..., None]:
    """Writes an array as an IDX file: ``idx(path, array)``."""
    return write_idx


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Encodes an image: ``png(array)``, or ``png(array, "JPEG")``."""
    return encode_png


@pytest.fixture
def tiny_mnist() -> Callable[..., dict[str, NDArray[np.uint8]]]:
    """Writes MNIST files: ``tiny_mnist(folder, train=60, test=20)``."""
    return write_mnist


@pytest.fixture
def raw(data_dir: Path) -> dict[str, NDArray[np.uint8]]:
    """Tiny MNIST files in ``data_dir``: their content by name."""
    return write_mnist(data_dir)
