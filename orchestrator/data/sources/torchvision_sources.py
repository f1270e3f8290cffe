"""Data sets that torchvision downloads and reads: the MNIST family, SVHN, CIFAR.

torchvision's own classes read the files, so that a folder which they have filled is used as it is,
and their checksums are checked. What they return differs from class to class and is brought into
one form here: uint8 ``[N, C, H, W]``, upright, labels from 0.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.data.sources.parquet import parquet_layout
from orchestrator.data.sources.source import Images, Layout, Source

_PARTS = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")


def _dataset(name: str, folder: Path, **options: Any) -> Any:
    """Open a data set of torchvision's by the name of its class."""
    from methods.core.vision import import_torchvision

    return getattr(import_torchvision().datasets, name)(folder, **options)


def _read_grey(name: str, folder: Path, **options: Any) -> Images:
    """Read what has MNIST's form: images ``[N, H, W]``, labels ``[N]``."""
    train, test = (_dataset(name, folder, train=train, **options) for train in (True, False))
    return Images(
        train.data.numpy()[:, None],
        train.targets.numpy(),
        test.data.numpy()[:, None],
        test.targets.numpy(),
    )


def _read_qmnist(folder: Path) -> Images:
    """Read QMNIST: 60,000 training images, MNIST's own, and 60,000 reconstructed test images.

    Of the eight numbers that stand for an image (class, writer, …) the class is the label.
    """
    images = _read_grey("QMNIST", folder)
    return images._replace(train_y=images.train_y[:, 0], test_y=images.test_y[:, 0])


def _read_emnist_letters(folder: Path) -> Images:
    """Read the letters of EMNIST, capital and small ones of a letter in one class.

    The files hold them mirrored along the diagonal, and count classes from 1 (a) to 26 (z): here
    they are upright, and classes go from 0 to 25.
    """
    images = _read_grey("EMNIST", folder, split="letters")
    return Images(
        images.train_x.swapaxes(2, 3),
        images.train_y - 1,
        images.test_x.swapaxes(2, 3),
        images.test_y - 1,
    )


def _read_svhn(folder: Path) -> Images:
    """Read the cropped digits of SVHN, without the easier ``extra`` ones.

    The files call the digit 0 class 10; torchvision makes it class 0.
    """
    train, test = (_dataset("SVHN", folder, split=split) for split in ("train", "test"))
    return Images(train.data, train.labels, test.data, test.labels)


def _read_cifar(name: str, folder: Path) -> Images:
    """Read CIFAR-10, or CIFAR-100 with its fine labels.

    torchvision gives ``[N, H, W, C]``, which is turned, not merely seen in another shape.
    """
    train, test = (_dataset(name, folder, train=train) for train in (True, False))
    return Images(
        train.data.transpose(0, 3, 1, 2),
        np.array(train.targets, dtype=np.int64),
        test.data.transpose(0, 3, 1, 2),
        np.array(test.targets, dtype=np.int64),
    )


def _download(name: str, folder: Path, *parts: dict[str, Any]) -> None:
    for options in parts:
        _dataset(name, folder, download=True, **options)


def _download_by_train(name: str, folder: Path) -> None:
    _download(name, folder, {"train": True}, {"train": False})


def _download_emnist(folder: Path) -> None:
    _download("EMNIST", folder, {"split": "letters"})


def _download_svhn(folder: Path) -> None:
    _download("SVHN", folder, {"split": "train"}, {"split": "test"})


def _like_mnist(name: str, folder: str, title: str) -> Source:
    return Source(
        name=name,
        title=title,
        classes=10,
        shape=(1, 28, 28),
        layouts=(
            Layout(
                partial(_read_grey, folder),
                tuple(f"{folder}/raw/{part}-ubyte" for part in _PARTS),
                f"torchvision's {folder} folder",
            ),
        ),
        download=partial(_download_by_train, folder),
    )


def _like_cifar(name: str, cls: str, folder: str, files: tuple[str, ...], classes: int) -> Source:
    return Source(
        name=name,
        title=f"CIFAR-{classes} colour photographs (60,000 images)",
        classes=classes,
        shape=(3, 32, 32),
        layouts=(
            Layout(
                partial(_read_cifar, cls),
                tuple(f"{folder}/{file}" for file in files),
                f"torchvision's {folder} folder",
            ),
            parquet_layout(name),
        ),
        download=partial(_download_by_train, cls),
    )


TORCHVISION = (
    _like_mnist("mnist", "MNIST", "MNIST handwritten digits (70,000 images)"),
    _like_mnist("fashion-mnist", "FashionMNIST", "Fashion-MNIST clothes (70,000 images)"),
    _like_mnist("kmnist", "KMNIST", "Kuzushiji-MNIST cursive Japanese characters (70,000 images)"),
    Source(
        name="qmnist",
        title="QMNIST handwritten digits, MNIST with 60,000 test images (120,000 images)",
        classes=10,
        shape=(1, 28, 28),
        layouts=(
            Layout(
                _read_qmnist,
                tuple(
                    f"QMNIST/raw/qmnist-{part}"
                    for part in (
                        "train-images-idx3-ubyte",
                        "train-labels-idx2-int",
                        "test-images-idx3-ubyte",
                        "test-labels-idx2-int",
                    )
                ),
                "torchvision's QMNIST folder",
            ),
        ),
        download=partial(_download_by_train, "QMNIST"),
    ),
    Source(
        name="emnist-letters",
        title="EMNIST handwritten letters, both cases in one class (145,600 images)",
        classes=26,
        shape=(1, 28, 28),
        layouts=(
            Layout(
                _read_emnist_letters,
                tuple(
                    f"EMNIST/raw/emnist-letters-{part}-ubyte"
                    for part in (
                        "train-images-idx3",
                        "train-labels-idx1",
                        "test-images-idx3",
                        "test-labels-idx1",
                    )
                ),
                "torchvision's EMNIST folder",
            ),
        ),
        download=_download_emnist,
    ),
    Source(
        name="svhn",
        title="SVHN house numbers, cropped digits (99,289 images)",
        classes=10,
        shape=(3, 32, 32),
        layouts=(
            Layout(
                _read_svhn,
                ("train_32x32.mat", "test_32x32.mat"),
                "SVHN's train_32x32.mat and test_32x32.mat",
            ),
        ),
        download=_download_svhn,
    ),
    _like_cifar(
        "cifar10",
        "CIFAR10",
        "cifar-10-batches-py",
        (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
        10,
    ),
    _like_cifar("cifar100", "CIFAR100", "cifar-100-python", ("train", "test", "meta"), 100),
)
