"""Data of a user's own, without code: what a file or folder holds is told by how it looks."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orchestrator.data.sources.folders import (
    class_files,
    read_divided,
    read_pooled,
    read_tables,
)
from orchestrator.data.sources.npz import read_npz
from orchestrator.data.sources.parquet import read_parquet
from orchestrator.data.sources.pictures import Size
from orchestrator.data.sources.source import Images
from orchestrator.errors import UserError

#: What test data may be called, the first that is there counts.
_TEST = ("test", "val", "valid", "validation")

_FORMS = (
    "an .npz file; or a folder with train*.parquet and test*.parquet, with train/CLASS and "
    "test/CLASS, with images/, train.csv and test.csv, or with one folder for each class"
)


def read_own(path: Path, size: Size | None = None) -> tuple[Images, int]:
    """Read images and count their classes.

    Parameters
    ----------
    path : Path
        An ``.npz`` file (see :func:`.npz.read_npz`), or a folder that holds ``train*.parquet`` and
        ``test*.parquet``, itself or in a folder (:func:`.parquet.read_parquet`); ``train/CLASS``
        and ``test/CLASS``; ``images/`` with tables (:func:`.folders.read_tables`); or one folder
        for each class (:func:`.folders.read_pooled`).
    size : tuple of int, optional
        ``(height, width)`` to which each image is resized.

    Returns
    -------
    images : Images
    classes : int

    Raises
    ------
    UserError
        If it is none of these, or not as it should be.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    images = _read(path, size)
    shapes = [x.shape[1:] for x in (images.train_x, images.test_x)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{path}: training images have the shape {list(shapes[0])}, test images "
            f"{list(shapes[1])}; they should be alike"
        )
    if 0 in shapes[0]:
        raise UserError(f"{path}: images of the shape {list(shapes[0])} have no pixels")
    return images, _count_classes(images, path)


def _read(path: Path, size: Size | None) -> Images:
    if path.suffix == ".npz" and path.is_file():
        return read_npz(path, size)
    if not path.is_dir():
        raise UserError(f"{path}: cannot be read as images; give {_FORMS}")
    for folder in (path, *sorted(inner for inner in path.iterdir() if inner.is_dir())):
        train = sorted(folder.glob("train*.parquet"))
        tests = (sorted(folder.glob(f"{name}*.parquet")) for name in _TEST)
        test = next(filter(None, tests), [])
        if train and test:
            return read_parquet(train, test, size)
    tests_ = (path / name for name in _TEST)
    held_out = next((folder for folder in tests_ if folder.is_dir()), None)
    if held_out is not None and (path / "train").is_dir():
        return read_divided(class_files(path / "train"), class_files(held_out), path, size)
    if all((path / name).exists() for name in ("images", "train.csv", "test.csv")):
        return read_tables(path, size)
    classes = class_files(path)
    if not classes:
        raise UserError(f"{path}: holds no images in a form that is known; give {_FORMS}")
    if list(classes) == ["train"]:
        raise UserError(f"{path}: has train/ but no test/, of the same form, beside it")
    return read_pooled([classes], path, size)


def _count_classes(images: Images, path: Path) -> int:
    """Return the number of classes; each must occur among the training images."""
    found, test = np.unique(images.train_y), np.unique(images.test_y)
    if not len(found) or not len(test):
        raise UserError(f"{path}: should hold images for training and for test")
    classes = len(found)
    if found[0] != 0 or found[-1] != classes - 1:
        missing = np.flatnonzero(found != np.arange(classes))[0]
        why = f"{found[0]} is one" if found[0] < 0 else f"{missing} does not occur"
        raise UserError(f"{path}: training labels should be 0, 1, …, each at least once, but {why}")
    if classes == 1:
        raise UserError(f"{path}: holds only one class; at least two are needed")
    strange = np.setdiff1d(test, found)
    if len(strange):
        raise UserError(
            f"{path}: label {strange[0]} occurs among the test images, but not in training"
        )
    return classes
