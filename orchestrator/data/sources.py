"""Where images come from: the registry of sources.

A source says what it holds and which raw files it needs, and reads them into arrays. It knows
nothing of caches, tasks or tensors. A further source is one more :class:`Source`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import UserError, unknown


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
    read : callable
        Takes the folder that holds ``files`` and returns :class:`Images`; it never downloads.
    files : tuple of str
        Raw files that ``read`` needs, relative to its folder; none for a source that comes with
        an installed package.
    layout : str
        What to put into the folder by hand, for messages: ``"torchvision's MNIST folder"``.
    download : callable, optional
        Fetches ``files`` into the folder that it is given.
    """

    name: str
    title: str
    classes: int
    shape: tuple[int, int, int]
    read: Callable[[Path], Images]
    files: tuple[str, ...] = ()
    layout: str = ""
    download: Callable[[Path], None] | None = None

    @property
    def embedded(self) -> bool:
        """Whether the data come with an installed package, so that no raw files are needed."""
        return not self.files

    def found_in(self, folder: Path) -> bool:
        """Whether all raw files are there; none of them is opened."""
        return all((folder / file).exists() for file in self.files)


SOURCES: dict[str, Source] = {}


def register_source(source: Source) -> Source:
    """Make a source known by its name and return it.

    Raises
    ------
    ValueError
        If another source has the name.
    """
    if SOURCES.setdefault(source.name, source) is not source:
        raise ValueError(f'there is already a source "{source.name}"')
    return source


def get_source(name: str) -> Source:
    """Return the source called ``name``.

    Raises
    ------
    UserError
        If there is none.
    """
    if name not in SOURCES:
        raise UserError(unknown("source", name, SOURCES))
    return SOURCES[name]


def _read_digits(folder: Path) -> Images:
    """Read scikit-learn's digits, 1,438 for training and 359 for test.

    Grey levels 0..16 are scaled to 0..255 and rounded. The division is fixed: of the images of a
    class, in the order of scikit-learn, the third of every five is a test image.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    y = digits.target.astype(np.int64)
    test = np.zeros(len(y), dtype=bool)
    for label in range(10):
        test[np.flatnonzero(y == label)[2::5]] = True
    return Images(x[~test], y[~test], x[test], y[test])


def _read_mnist(folder: Path) -> Images:
    from methods.core.vision import import_torchvision

    mnist = import_torchvision().datasets.MNIST
    train, test = mnist(folder, train=True), mnist(folder, train=False)
    return Images(
        train.data.numpy()[:, None],
        train.targets.numpy(),
        test.data.numpy()[:, None],
        test.targets.numpy(),
    )


def _download_mnist(folder: Path) -> None:
    from methods.core.vision import import_torchvision

    import_torchvision().datasets.MNIST(folder, download=True)


register_source(
    Source(
        name="digits",
        title="handwritten digits of scikit-learn (1,797 images)",
        classes=10,
        shape=(1, 8, 8),
        read=_read_digits,
    )
)
register_source(
    Source(
        name="mnist",
        title="MNIST handwritten digits (70,000 images)",
        classes=10,
        shape=(1, 28, 28),
        read=_read_mnist,
        files=tuple(
            f"MNIST/raw/{part}-ubyte"
            for part in (
                "train-images-idx3",
                "train-labels-idx1",
                "t10k-images-idx3",
                "t10k-labels-idx1",
            )
        ),
        layout="torchvision's MNIST folder",
        download=_download_mnist,
    )
)
