"""Every source as memory-mapped tensors, converted once and shared by all processes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from orchestrator.data.added import added_sources, source_in
from orchestrator.data.arrow import map_images, read_header, stamp
from orchestrator.data.convert import (
    MissingData,
    check_raw,
    command_for,
    convert,
    find_converted,
    wanted,
)
from orchestrator.data.sources import SOURCES, Source
from orchestrator.errors import UserError

__all__ = [
    "Dataset",
    "MissingData",
    "SourceState",
    "check_available",
    "class_counts",
    "fingerprint",
    "list_sources",
    "open_source",
    "prepare",
]


State = Literal["embedded", "added", "prepared", "raw files found", "missing"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A source whose tensors lie on the cache's memory-mapped file.

    Attributes
    ----------
    name : str
    train_x, test_x : Tensor
        uint8 ``[N, C, H, W]``.
    train_y, test_y : Tensor
        int64 ``[N]``, classes counted from 0.
    classes : int
    shape : tuple of int
        ``(channels, height, width)``.
    fingerprint : str
        SHA-256 of pixels, labels and their division into training and test data.
    """

    name: str
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: int
    shape: tuple[int, int, int]
    fingerprint: str


@dataclass(frozen=True)
class SourceState:
    """A line of :func:`list_sources`.

    Of a source that is missing, ``command`` downloads it, or, where none can, ``by_hand`` says what
    to put where.
    """

    name: str
    title: str
    shape: tuple[int, int, int]
    classes: int
    state: State
    command: str | None = None
    by_hand: str | None = None


def open_source(name: str, data_dir: Path) -> Dataset:
    """Open a source; within a process a file that has not changed is mapped only once.

    Where only the raw files are there, they are converted first. Nothing is downloaded.

    Parameters
    ----------
    name : str
        A source that is registered, or was added to the folder.
    data_dir : Path
        The folder of raw files; the converted file is ``arrow/<name>.arrow`` below it, or in the
        user's cache folder where ``data_dir`` cannot be written.

    Raises
    ------
    MissingData
        If there is neither a converted file nor the raw files.
    UserError
        If the source is unknown, or its file is damaged.
    """
    source = source_in(name, data_dir)
    path = _converted(source, Path(data_dir))
    return _open(source, path, stamp(path))


def fingerprint(name: str, data_dir: Path) -> str:
    """Return the fingerprint of a source without reading its pixels, converting it if need be.

    Raises as :func:`open_source` does.
    """
    source = source_in(name, data_dir)
    path = _converted(source, Path(data_dir))
    return _fingerprint(source, path, stamp(path))


def check_available(name: str, data_dir: Path) -> None:
    """Check that a source can be opened, without converting or reading anything.

    Raises
    ------
    MissingData
        If there is neither a converted file nor the raw files.
    """
    source, data_dir = source_in(name, data_dir), Path(data_dir)
    if not find_converted(name, data_dir):
        check_raw(source, data_dir, data_dir)


def class_counts(name: str, data_dir: Path, *, test: bool = False) -> list[int]:
    """Return how many training or test images each class of a source has; reads no pixels.

    Raises as :func:`open_source` does.
    """
    data = open_source(name, data_dir)
    return torch.bincount(data.test_y if test else data.train_y, minlength=data.classes).tolist()


def prepare(name: str, data_dir: Path, source_dir: Path | None = None) -> Dataset:
    """Get a source ready: download its raw files if they are missing, convert them, open it.

    Parameters
    ----------
    name : str
        A registered source.
    data_dir : Path
        The folder of raw files and of the converted file; made if it is not there.
    source_dir : Path, optional
        A folder that holds the raw files. They are then read from there instead, nothing is
        downloaded, and a file converted earlier is replaced.

    Raises
    ------
    MissingData
        If ``source_dir`` lacks the raw files, or they are missing and cannot be downloaded.
    UserError
        If the source is unknown, a download fails, or nothing can be written; or if there is a
        ``source_dir`` for a source that was added.
    """
    source, data_dir = source_in(name, data_dir), Path(data_dir)
    if source_dir is None:
        path = find_converted(name, data_dir) or convert(source, data_dir, data_dir, download=True)
    elif source.added:
        raise UserError(
            f'{name} is data of your own: to replace it, run "engram data add {name} --from '
            f'{source_dir}"'
        )
    else:
        path = convert(source, data_dir, Path(source_dir), anew=True)
    return _open(source, path, stamp(path))


def list_sources(data_dir: Path) -> list[SourceState]:
    """Say of each source whether it is ready to use; no data are read."""
    rows, data_dir = [], Path(data_dir)
    registered = {name: source for name, source in SOURCES.items() if not source.added}
    for name, source in sorted((registered | added_sources(data_dir)).items()):
        state: State = "missing"
        command = by_hand = None
        if source.embedded:
            state = "embedded"
        elif source.added:
            state = "added"
        elif find_converted(name, data_dir):
            state = "prepared"
        elif source.layout_in(data_dir) is not None:
            state = "raw files found"
        elif source.download:
            command = command_for(source, data_dir)
        else:
            by_hand = f"put {wanted(source)} into {data_dir}"
        about = name, source.title, source.shape, source.classes
        rows.append(SourceState(*about, state, command, by_hand))
    return rows


def _converted(source: Source, data_dir: Path) -> Path:
    return find_converted(source.name, data_dir) or convert(source, data_dir, data_dir)


@lru_cache(maxsize=8)
def _open(source: Source, path: Path, content: tuple[int, int, int]) -> Dataset:
    header, tensors = map_images(path, source)
    return Dataset(source.name, *tensors, header.classes, header.shape, header.fingerprint)


@lru_cache(maxsize=64)
def _fingerprint(source: Source, path: Path, content: tuple[int, int, int]) -> str:
    return read_header(path, source).fingerprint
