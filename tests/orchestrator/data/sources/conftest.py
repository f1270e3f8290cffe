"""Small data sets in the very files in which torchvision's data sets are published."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from methods.core.vision import import_torchvision
from orchestrator.data.sources import Images

Idx = Callable[..., None]

#: Images for training and for test; different numbers, so that a mix-up shows.
SIZES = {"train": 12, "test": 8}


def random_images(part: str, *shape: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(sum(map(ord, part)))
    return random.integers(0, 256, (SIZES[part], *shape), dtype=np.uint8)


def labels(part: str, classes: int) -> NDArray[np.int64]:
    return (np.arange(SIZES[part]) * 7 + 3) % classes


def like_mnist(folder: Path, idx: Idx) -> Images:
    x = {part: random_images(part, 28, 28) for part in SIZES}
    y = {part: labels(part, 10) for part in SIZES}
    for part, stem in (("train", "train"), ("test", "t10k")):
        idx(folder / f"{stem}-images-idx3-ubyte", x[part])
        idx(folder / f"{stem}-labels-idx1-ubyte", y[part].astype(np.uint8))
    return Images(x["train"][:, None], y["train"], x["test"][:, None], y["test"])


def qmnist(folder: Path, idx: Idx) -> Images:
    """Of an image's eight numbers the first is its class; the others tell who wrote it."""
    x = {part: random_images(part, 28, 28) for part in SIZES}
    y = {part: labels(part, 10) for part in SIZES}
    for part in SIZES:
        facts = np.stack([y[part] + 1000 * column for column in range(8)], axis=1)
        idx(folder / f"qmnist-{part}-images-idx3-ubyte", x[part])
        idx(folder / f"qmnist-{part}-labels-idx2-int", facts.astype(np.int32))
    return Images(x["train"][:, None], y["train"], x["test"][:, None], y["test"])


def emnist(folder: Path, idx: Idx) -> Images:
    """Each image is stored column by column, and a is class 1."""
    x = {part: random_images(part, 28, 28) for part in SIZES}
    y = {part: labels(part, 26) for part in SIZES}
    y["train"][:2] = 0, 25
    for part in SIZES:
        columns = np.stack([np.stack([image[:, i] for i in range(28)]) for image in x[part]])
        idx(folder / f"emnist-letters-{part}-images-idx3-ubyte", columns)
        idx(folder / f"emnist-letters-{part}-labels-idx1-ubyte", (y[part] + 1).astype(np.uint8))
    return Images(x["train"][:, None], y["train"], x["test"][:, None], y["test"])


def svhn(folder: Path) -> Images:
    """MATLAB's arrays have the image last, and 10 for the digit 0."""
    folder.mkdir(parents=True, exist_ok=True)
    x = {part: random_images(part, 3, 32, 32) for part in SIZES}
    y = {part: labels(part, 10) for part in SIZES}
    for part in SIZES:
        assert 0 in y[part]
        matlab = np.stack([image.transpose(1, 2, 0) for image in x[part]], axis=3)
        digits = np.where(y[part] == 0, 10, y[part]).astype(np.uint8)[:, None]
        savemat(folder / f"{part}_32x32.mat", {"X": matlab, "y": digits})
    return Images(x["train"], y["train"], x["test"], y["test"])


def cifar(folder: Path, classes: int) -> Images:
    """A row has the red plane, then the green one, then the blue one."""
    folder.mkdir(parents=True, exist_ok=True)
    x = {part: random_images(part, 3, 32, 32) for part in SIZES}
    y = {part: labels(part, classes) for part in SIZES}
    batches = [f"data_batch_{i}" for i in range(1, 6)] if classes == 10 else ["train"]
    files = {file: ("train", slice(i, None, len(batches))) for i, file in enumerate(batches)}
    files |= {"test_batch" if classes == 10 else "test": ("test", slice(None))}
    for file, (part, rows) in files.items():
        values = y[part][rows].tolist()
        content: dict[str, Any] = {"data": x[part][rows].reshape(len(values), -1)}
        if classes == 10:
            content["labels"] = values
        else:
            content |= {"fine_labels": values, "coarse_labels": [0] * len(values)}
        (folder / file).write_bytes(pickle.dumps(content))
    meta, key = ("batches.meta", "label_names") if classes == 10 else ("meta", "fine_label_names")
    (folder / meta).write_bytes(pickle.dumps({key: [str(i) for i in range(classes)]}))
    order = np.concatenate(
        [np.arange(SIZES["train"])[i :: len(batches)] for i in range(len(batches))]
    )
    return Images(x["train"][order], y["train"][order], x["test"], y["test"])


def checksum(file: Path) -> str:
    return hashlib.md5(file.read_bytes()).hexdigest()


class Publisher:
    """Writes small data sets and offers them for download, with checksums as torchvision has them.

    Addresses and checksums are constants of torchvision's classes: here they are those of the small
    files, on a server of this machine. All else is torchvision's own.
    """

    def __init__(self, root: Path, url: str, idx: Idx, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.url, self.idx, self.set = root, url, idx, monkeypatch.setattr
        self.datasets = import_torchvision().datasets

    def __call__(self, name: str, folder: Path | None = None) -> Images:
        """Put the raw files of a data set into a folder, as torchvision does, and publish them."""
        folder = folder or self.root / "raw"
        grey = {"mnist": "MNIST", "fashion-mnist": "FashionMNIST", "kmnist": "KMNIST"}
        if name in grey:
            return self._mnist(grey[name], folder / grey[name] / "raw")
        return {
            "qmnist": self._qmnist,
            "emnist-letters": self._emnist,
            "svhn": self._svhn,
            "cifar10": lambda folder: self._cifar("CIFAR10", folder),
            "cifar100": lambda folder: self._cifar("CIFAR100", folder),
        }[name](folder)

    def _zipped(self, file: Path, folder: Path | None = None) -> Path:
        zipped = (folder or self.root) / f"{file.name}.gz"
        zipped.parent.mkdir(parents=True, exist_ok=True)
        zipped.write_bytes(gzip.compress(file.read_bytes()))
        return zipped

    def _address(self, file: Path) -> str:
        return f"{self.url}/{file.name}"

    def _mnist(self, cls: str, raw: Path) -> Images:
        images = like_mnist(raw, self.idx)
        zipped = [self._zipped(file) for file in sorted(raw.iterdir())]
        dataset = getattr(self.datasets, cls)
        self.set(dataset, "mirrors", [f"{self.url}/"])
        self.set(dataset, "resources", [(file.name, checksum(file)) for file in zipped])
        return images

    def _qmnist(self, folder: Path) -> Images:
        raw = folder / "QMNIST" / "raw"
        images = qmnist(raw, self.idx)
        resources = {}
        for part in SIZES:
            zipped = [self._zipped(file) for file in sorted(raw.glob(f"qmnist-{part}-*"))]
            resources[part] = [(self._address(file), checksum(file)) for file in zipped]
        self.set(self.datasets.QMNIST, "resources", resources)
        return images

    def _emnist(self, folder: Path) -> Images:
        raw = folder / "EMNIST" / "raw"
        images = emnist(raw, self.idx)
        for file in sorted(raw.iterdir()):
            self._zipped(file, self.root / "content" / "gzip")
        archive = Path(shutil.make_archive(str(self.root / "gzip"), "zip", self.root / "content"))
        self.set(self.datasets.EMNIST, "url", self._address(archive))
        self.set(self.datasets.EMNIST, "md5", checksum(archive))
        return images

    def _svhn(self, folder: Path) -> Images:
        images = svhn(folder)
        offered = {}
        for part in SIZES:
            file = Path(shutil.copy(folder / f"{part}_32x32.mat", self.root))
            offered[part] = [self._address(file), file.name, checksum(file)]
        self.set(self.datasets.SVHN, "split_list", offered)
        return images

    def _cifar(self, cls: str, folder: Path) -> Images:
        dataset = getattr(self.datasets, cls)
        inner = folder / dataset.base_folder
        images = cifar(inner, 10 if cls == "CIFAR10" else 100)
        archive = self.root / dataset.filename
        with tarfile.open(archive, "w:gz") as file:
            file.add(inner, dataset.base_folder)
        self.set(dataset, "url", self._address(archive))
        self.set(dataset, "tgz_md5", checksum(archive))
        for part in ("train_list", "test_list"):
            files = [name for name, _ in getattr(dataset, part)]
            self.set(dataset, part, [[name, checksum(inner / name)] for name in files])
        self.set(
            dataset, "meta", dataset.meta | {"md5": checksum(inner / dataset.meta["filename"])}
        )
        return images


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def publish(tmp_path: Path, idx: Idx, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    """Writes a small data set: ``publish("svhn", folder)`` returns what it should read as."""
    root = tmp_path / "published"
    root.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Publisher(root, f"http://127.0.0.1:{server.server_port}", idx, monkeypatch)
        server.shutdown()
        thread.join()
