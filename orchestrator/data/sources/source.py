"""What a source is: labelled images, and the layouts in which their raw files may lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Images(NamedTuple):
    """What a source reads.

    ``train_x`` and ``test_x`` are uint8 ``[N, C, H, W]``, ``train_y`` and ``test_y`` int64 ``[N]``
    with classes counted from 0.
    """

    train_x: NDArray[np.uint8]
    train_y: NDArray[np.int64]
    test_x: NDArray[np.uint8]
    test_y: NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """One way in which the raw files of a source may lie in a folder.

    Parameters
    ----------
    read : callable
        Takes the folder that holds ``files`` and returns :class:`Images`; it never downloads.
    files : tuple of str
        Files or folders that ``read`` needs, relative to its folder; none for a source that comes
        with an installed package.
    title : str
        What to put into the folder by hand, for messages: ``"torchvision's MNIST folder"``.
    """

    read: Callable[[Path], Images]
    files: tuple[str, ...] = ()
    title: str = ""

    def found_in(self, folder: Path) -> bool:
        """Whether all raw files are there; none of them is opened."""
        return all((folder / file).exists() for file in self.files)


@dataclass(frozen=True)
class Source:
    """A collection of labelled images with a fixed division into training and test data.

    Parameters
    ----------
    name : str
        The name in ``split-<name>``; part of a file name.
    title : str
        One line for lists.
    classes : int
    shape : tuple of int
        ``(channels, height, width)`` of an image.
    layouts : tuple of Layout
        Ways in which raw files may lie; the first that is found is read. None for a source that
        was added to a data folder: that folder holds its images already converted.
    download : callable, optional
        Fetches the files of the first layout into the folder that it is given.
    """

    name: str
    title: str
    classes: int
    shape: tuple[int, int, int]
    layouts: tuple[Layout, ...] = ()
    download: Callable[[Path], None] | None = None

    @property
    def embedded(self) -> bool:
        """Whether the data come with an installed package, so that no raw files are needed."""
        return any(not layout.files for layout in self.layouts)

    @property
    def added(self) -> bool:
        """Whether it is one that a user added to a data folder."""
        return not self.layouts

    def layout_in(self, folder: Path) -> Layout | None:
        """Return the first layout whose files are all in a folder; none of them is opened."""
        return next((layout for layout in self.layouts if layout.found_in(folder)), None)
