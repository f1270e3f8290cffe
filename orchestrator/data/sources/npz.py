"""NumPy archives: four arrays, images and labels for training and test."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.sources.pictures import Size, resized
from orchestrator.data.sources.source import Images
from orchestrator.errors import UserError

_NAMES = ("x_train", "y_train", "x_test", "y_test")
#: What damaged archives raise, those that are encrypted, and those that claim to be too large.
_UNREADABLE = (
    *(OSError, ValueError, EOFError, MemoryError, RuntimeError),
    *(zipfile.BadZipFile, zlib.error),
)
#: Numbers of channels that an image may have.
_CHANNELS = (1, 3)


def read_npz(path: Path, size: Size | None = None) -> Images:
    """Read ``x_train``, ``y_train``, ``x_test`` and ``y_test`` of a NumPy archive.

    Images are uint8 ``[N, H, W]`` (grey), ``[N, H, W, C]`` or ``[N, C, H, W]`` with C = 1 or 3;
    labels whole numbers, ``[N]`` or ``[N, 1]``.

    Parameters
    ----------
    path : Path
    size : tuple of int, optional
        ``(height, width)`` to which each image is resized.

    Raises
    ------
    UserError
        If the archive is not like that, or the position of the channels could be either.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in _NAMES if name not in archive.files]
            if missing:
                raise UserError(
                    f"{path}: has no {', '.join(missing)}; it should hold {', '.join(_NAMES)}"
                )
            arrays = {name: archive[name] for name in _NAMES}
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path}: is not a NumPy archive that can be read ({reason})") from error
    parts: list[Any] = []
    for part in ("train", "test"):
        x = _images(arrays[f"x_{part}"], f"{path}: x_{part}")
        y = _labels(arrays[f"y_{part}"], len(x), f"{path}: y_{part}")
        parts += [resized(x, size) if size else x, y]
    return Images(*parts)


def _images(x: NDArray[Any], where: str) -> NDArray[np.uint8]:
    if x.dtype != np.uint8:
        raise UserError(f"{where} should be uint8, from 0 to 255, not {x.dtype}")
    if x.ndim == 3:
        return x[:, None]
    last, second = x.ndim == 4 and x.shape[3] in _CHANNELS, x.ndim == 4 and x.shape[1] in _CHANNELS
    if last and second:
        raise UserError(
            f"{where} has the shape {list(x.shape)}, whose channels could be the second or the "
            "last; give images of at least 4 × 4 pixels"
        )
    if last:
        return x.transpose(0, 3, 1, 2)
    if second:
        return x
    raise UserError(
        f"{where} should have the shape [N, H, W], [N, H, W, C] or [N, C, H, W] with 1 or 3 "
        f"channels C, not {list(x.shape)}"
    )


def _labels(y: NDArray[Any], images: int, where: str) -> NDArray[np.int64]:
    if y.shape == (images, 1):
        y = y[:, 0]
    if y.shape != (images,) or not np.issubdtype(y.dtype, np.integer):
        raise UserError(
            f"{where} should be {images} whole numbers, one for each image, "
            f"not {y.dtype} {list(y.shape)}"
        )
    return y.astype(np.int64)
