"""The file format of the cache: one Arrow file per source, mapped into memory without a copy.

A file holds two record batches, training and test data, with the columns ``image`` (a fixed-shape
tensor of uint8) and ``label`` (int64), uncompressed, so that a tensor can lie directly on the
mapped file. The schema's metadata say what is inside; reading them touches no pixels.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from orchestrator.data.sources import Images, Source
from orchestrator.errors import UserError

_KEY = b"engram"
_FORMAT = 1
#: Neither classes nor the pixels of a side are more.
_LARGEST = 1_000_000


@dataclass(frozen=True)
class Header:
    """What a file says about itself: all that need be known of a source to plan trials."""

    name: str
    classes: int
    shape: tuple[int, int, int]
    fingerprint: str
    format: int = _FORMAT
    added: str = ""
    """What a user's own source is called in lists; empty for a source that is registered."""


def fingerprint_of(images: Images) -> str:
    """Return the SHA-256 of pixels, labels and their division into training and test data."""
    digest = hashlib.sha256()
    for part, array in images._asdict().items():
        digest.update(f"{part} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_images(path: Path, source: Source, images: Images) -> None:
    """Write a file so that it appears at ``path`` complete or not at all.

    The caller holds the lock of ``path``.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left behind.
    """
    header = _header_of(source, fingerprint_of(images))
    batches = [
        pa.record_batch(
            {
                "image": pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(x)),
                "label": pa.array(y, pa.int64()),
            }
        )
        for x, y in ((images.train_x, images.train_y), (images.test_x, images.test_y))
    ]
    schema = batches[0].schema.with_metadata({_KEY: json.dumps(asdict(header)).encode()})
    unfinished = path.with_name(f".{path.name}.tmp")
    unfinished.unlink(missing_ok=True)  # it may be a link that somebody put there
    try:
        with unfinished.open("xb") as file:
            with pa.ipc.new_file(file, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch.cast(schema))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def stamp(path: Path) -> tuple[int, int, int]:
    """Tell one content of a path from the next; a replaced file has another inode."""
    stat = path.stat()
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def read_header(path: Path, source: Source | None = None) -> Header:
    """Read what a file says about itself; no pixels are read.

    Parameters
    ----------
    path : Path
    source : Source, optional
        What the file should hold.

    Raises
    ------
    UserError
        If the file is damaged, or was not written for this source by this version.
    """
    try:
        with pa.memory_map(str(path)) as file:
            return _header(pa.ipc.open_file(file), source)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error


def map_images(path: Path, source: Source) -> tuple[Header, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Map a file into memory.

    The mapping is private and copied on write: processes share the pages of the file, and an
    accidental write into a tensor reaches neither the file nor another process.

    Returns
    -------
    header : Header
    tensors : tuple of Tensor
        In the order of :class:`~orchestrator.data.sources.Images`.

    Raises
    ------
    UserError
        If the file is damaged, or was not written for this source by this version.
    """
    try:
        with path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        whole = pa.py_buffer(memory)
        reader = pa.ipc.open_file(pa.BufferReader(whole))
        header = _header(reader, source)
        columns = []
        for batch in (reader.get_batch(0), reader.get_batch(1)):
            pixels, labels = batch.column("image").storage.values, batch.column("label")
            x = _on_memory(memory, whole, pixels, torch.uint8)
            columns.append(x.view(len(batch), *header.shape))
            columns.append(_on_memory(memory, whole, labels, torch.int64))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise _damaged(path) from error
    train_x, train_y, test_x, test_y = columns
    return header, (train_x, train_y, test_x, test_y)


def _header_of(source: Source, fingerprint: str) -> Header:
    added = source.title if source.added else ""
    return Header(source.name, source.classes, source.shape, fingerprint, added=added)


def _header(reader: pa.RecordBatchFileReader, source: Source | None) -> Header:
    values = json.loads((reader.schema.metadata or {})[_KEY])
    header = Header(**{**values, "shape": tuple(values["shape"])})
    sizes = (header.classes, *header.shape)
    if len(sizes) != 4 or not all(type(n) is int and 0 < n <= _LARGEST for n in sizes):
        raise ValueError(f"{sizes} are no numbers of classes, channels and pixels")
    fits = source is None or header == _header_of(source, header.fingerprint)
    if header.format != _FORMAT or reader.num_record_batches != 2 or not fits:
        raise ValueError(f"{header} is not of {source}")
    return header


def _on_memory(memory: mmap.mmap, whole: pa.Buffer, array: pa.Array, dtype: torch.dtype) -> Tensor:
    """Lay a tensor on the part of the mapped file that holds an Arrow array."""
    offset = array.buffers()[1].address - whole.address
    return torch.frombuffer(memory, dtype=dtype, count=len(array), offset=offset)


def _damaged(path: Path) -> UserError:
    return UserError(
        f"{path} is damaged or was written by another version: delete it to have it made anew"
    )
