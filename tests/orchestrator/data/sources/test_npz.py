"""NumPy archives are read by clear rules, and told what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.data.sources.npz import read_npz
from orchestrator.errors import UserError


def arrays(*shape: int) -> dict[str, NDArray[Any]]:
    random = np.random.default_rng(0)
    return {
        "x_train": random.integers(0, 256, (6, *shape), dtype=np.uint8),
        "y_train": np.arange(6) % 3,
        "x_test": random.integers(0, 256, (3, *shape), dtype=np.uint8),
        "y_test": np.arange(3),
    }


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "data.npz"
    np.savez(path, **content)
    return path


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((5, 4), None),
        ((5, 4, 1), (0, 3, 1, 2)),
        ((5, 4, 3), (0, 3, 1, 2)),
        ((1, 5, 4), (0, 1, 2, 3)),
        ((3, 5, 4), (0, 1, 2, 3)),
        ((3, 3), None),
    ],
)
def test_layouts(shape: tuple[int, ...], axes: tuple[int, ...] | None, tmp_path: Path) -> None:
    content = arrays(*shape)
    images = read_npz(write(tmp_path, content))
    for part in ("train", "test"):
        x = content[f"x_{part}"]
        expected = x[:, None] if axes is None else x.transpose(axes)
        assert (getattr(images, f"{part}_x") == expected).all()
        assert getattr(images, f"{part}_y").tolist() == content[f"y_{part}"].tolist()
        assert getattr(images, f"{part}_y").dtype == np.int64


def test_labels_as_a_column_and_in_bytes(tmp_path: Path) -> None:
    content = arrays(5, 4)
    content["y_train"] = content["y_train"].astype(np.uint8)[:, None]
    assert read_npz(write(tmp_path, content)).train_y.tolist() == [0, 1, 2, 0, 1, 2]


def test_resizing(tmp_path: Path) -> None:
    images = read_npz(write(tmp_path, arrays(8, 8, 3)), (4, 6))
    assert images.train_x.shape == (6, 3, 4, 6)
    assert images.test_x.shape == (3, 3, 4, 6)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no test data": ({"x_test": None, "y_test": None}, "has no x_test, y_test; it should hold"),
    "fractions": ({"x_train": np.zeros((6, 5, 4))}, "x_train should be uint8, .* not float64"),
    "could be either": (
        {"x_train": np.zeros((6, 3, 5, 3), np.uint8)},
        r"x_train has the shape \[6, 3, 5, 3\], whose channels could be the second or the last",
    ),
    "four channels": (
        {"x_train": np.zeros((6, 5, 4, 4), np.uint8)},
        r"x_train should have the shape .* not \[6, 5, 4, 4\]",
    ),
    "flat": ({"x_train": np.zeros((6, 20), np.uint8)}, r"x_train should have the shape"),
    "too few labels": ({"y_train": np.arange(5)}, r"y_train should be 6 whole numbers"),
    "one-hot": ({"y_train": np.eye(6, 3, dtype=int)}, r"y_train should be 6 .* int64 \[6, 3\]"),
    "fractional labels": ({"y_test": np.zeros(3)}, r"y_test should be 3 .* float64"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case: str, tmp_path: Path) -> None:
    change, message = MISTAKES[case]
    content = {k: v for k, v in (arrays(5, 4) | change).items() if v is not None}
    with pytest.raises(UserError, match=rf"data\.npz: {message}") as error:
        read_npz(write(tmp_path, content))
    assert "\n" not in str(error.value)


def test_what_is_no_archive(tmp_path: Path) -> None:
    path = write(tmp_path, arrays(5, 4))
    for content in (path.read_bytes()[:-50], b"PK\x03\x04 no archive", b""):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"data\.npz: is not a NumPy archive"):
            read_npz(path)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (tmp_path.joinpath("sprung").touch, ())

    content = arrays(5, 4) | {"y_train": np.array([Trap()] * 6, dtype=object)}
    path = write(tmp_path, content)
    with pytest.raises(UserError, match="is not a NumPy archive that can be read"):
        read_npz(path)
    assert not (tmp_path / "sprung").exists()
