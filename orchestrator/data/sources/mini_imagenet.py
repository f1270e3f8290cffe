"""mini-ImageNet: 600 photographs of each of 100 classes, in the layouts that are passed around."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from orchestrator.data.sources.folders import class_files, read_pooled, read_tables
from orchestrator.data.sources.pictures import Size
from orchestrator.data.sources.source import Images, Layout, Source
from orchestrator.errors import UserError

_FOLDER = "mini-imagenet"
_PARTS = ("train", "val", "test")
_CLASSES, _SIZE = 100, (84, 84)


def _read_parts(folder: Path, size: Size) -> Images:
    return read_pooled([class_files(folder / part) for part in _PARTS], folder, size)


def _read_classes(folder: Path, size: Size) -> Images:
    return read_pooled([class_files(folder)], folder, size)


def _layout(read: Callable[[Path, Size], Images], files: tuple[str, ...], title: str) -> Layout:
    def read_all_classes(raw: Path) -> Images:
        images = read(raw / _FOLDER, _SIZE)
        classes = len(np.unique(images.train_y))
        if classes != _CLASSES:
            raise UserError(
                f"{raw / _FOLDER}: holds {classes} classes, but mini-ImageNet has {_CLASSES}; "
                "put all of it there"
            )
        return images

    return Layout(read_all_classes, tuple(f"{_FOLDER}/{file}".rstrip("/") for file in files), title)


#: The division into classes for training and for test, made for few-shot learning, is of no use
#: where all classes are learnt: the images are pooled, and the last sixth of each class (100 of
#: 600) are test data.
MINI_IMAGENET = Source(
    name="mini-imagenet",
    title="mini-ImageNet photographs (60,000 images)",
    classes=_CLASSES,
    shape=(3, *_SIZE),
    layouts=(
        _layout(
            read_tables,
            ("images", "train.csv", "val.csv", "test.csv"),
            f"{_FOLDER}/images/ with {_FOLDER}/train.csv, val.csv and test.csv",
        ),
        _layout(_read_parts, _PARTS, f"{_FOLDER}/{{train,val,test}}/CLASS/"),
        _layout(_read_classes, ("",), f"{_FOLDER}/CLASS/"),
    ),
)
