"""Folders of image files: divided into training and test data, or pooled and divided by a rule."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np

from orchestrator.data.sources.pictures import SUFFIXES, Size, decode_images
from orchestrator.data.sources.source import Images
from orchestrator.errors import UserError

#: One in so many images of a class is a test image, where nothing says which.
_ONE_IN = 6

#: Files of each class, in a fixed order.
ClassFiles = Mapping[str, Sequence[Path]]


def class_files(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of each class, which is a folder of that name.

    Classes and files are in the order of their names; files may lie in further folders; what is
    hidden does not count.
    """
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and _visible(path))
    found = {path.name: _image_files(path) for path in classes}
    return {name: files for name, files in found.items() if files}


def csv_files(folder: Path, part: str) -> dict[str, list[Path]]:
    """Return the image files of each class that a table ``<part>.csv`` names.

    The table has the columns ``filename``, relative to the folder ``images``, and ``label``, a
    name of a class. Classes and files are in the order of their names.

    Raises
    ------
    UserError
        If the table has other columns, or cannot be read.
    """
    path = folder / f"{part}.csv"
    files: dict[str, list[Path]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, skipinitialspace=True)
            columns = [str(name).strip() for name in table.fieldnames or ()]
            if not {"filename", "label"} <= set(columns):
                raise UserError(
                    f"{path}: should have the columns filename and label, not {', '.join(columns)}"
                )
            table.fieldnames = columns
            for row in table:
                label, name = (str(row[column]).strip() for column in ("label", "filename"))
                if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
                    raise UserError(f"{path}: {name!r} is not within {folder / 'images'}")
                files.setdefault(label, []).append(folder / "images" / name)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: is not a table that can be read ({error})") from error
    return {label: sorted(files[label]) for label in sorted(files)}


def read_divided(
    train: ClassFiles, test: ClassFiles, folder: Path, size: Size | None = None
) -> Images:
    """Read images whose division is given; classes are numbered in the order of their names.

    Parameters
    ----------
    train, test : mapping
        Image files of each class.
    folder : Path
        What messages call the whole.
    size : tuple of int, optional
        See :func:`.pictures.decode_images`.

    Raises
    ------
    UserError
        If a class has only test images, or an image cannot be read.
    """
    only_test = sorted(set(test) - set(train))
    if only_test:
        raise UserError(f"{folder}: class {only_test[0]} has test images but none for training")
    number = {name: label for label, name in enumerate(sorted(train))}
    rows = [
        (file, number[name])
        for part in (train, test)
        for name in sorted(part)
        for file in part[name]
    ]
    files = [file for file, _ in rows]
    x = decode_images(files, [str(file) for file in files], size)
    y = np.array([label for _, label in rows], dtype=np.int64)
    here = sum(len(group) for group in train.values())
    return Images(x[:here], y[:here], x[here:], y[here:])


def read_pooled(parts: Iterable[ClassFiles], folder: Path, size: Size | None = None) -> Images:
    """Pool images and divide each class: the last sixth of its files, by name, are test data.

    Neighbours in the order of names are often alike (frames, crops of one photograph): taken from
    the end, test images are not scattered among their likes.

    Raises
    ------
    UserError
        If a class has fewer than two images, or an image cannot be read.
    """
    pooled: dict[str, list[Path]] = {}
    for part in parts:
        for name, files in part.items():
            pooled.setdefault(name, []).extend(files)
    train, test = {}, {}
    for name, files in pooled.items():
        if len(files) < 2:
            raise UserError(
                f"{folder}: class {name} has one image only; training and test need one each"
            )
        files = sorted(files)
        kept = len(files) - max(1, len(files) // _ONE_IN)
        train[name], test[name] = files[:kept], files[kept:]
    return read_divided(train, test, folder, size)


def read_tables(folder: Path, size: Size | None = None) -> Images:
    """Read ``images/`` with ``train.csv``, ``test.csv`` and, if it is there, ``val.csv``.

    Where the tables share no class, as those of few-shot learning, all images are pooled; else
    training and test data are what the tables say, and validation data are left out.

    Raises
    ------
    UserError
        If a table or an image cannot be read, or a class has only test images.
    """
    train, test = csv_files(folder, "train"), csv_files(folder, "test")
    if set(train) & set(test):
        return read_divided(train, test, folder, size)
    validation = csv_files(folder, "val") if (folder / "val.csv").exists() else {}
    return read_pooled([train, validation, test], folder, size)


def _image_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and _visible(path) and path.is_file()
    )


def _visible(path: Path) -> bool:
    return not path.name.startswith(".")
