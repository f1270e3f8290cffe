"""Files that were made to harm whoever loads them: nothing in them runs."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from methods.networks.weights import Weights, load_features
from orchestrator.checkpoints import Checkpoints
from orchestrator.curves import curves_name, read_curves
from orchestrator.data import add_source, open_source, prepare
from orchestrator.data.added import added_sources
from orchestrator.errors import UserError
from orchestrator.results import SCHEMA, ResultsStore
from orchestrator.storage import Storage

ID = "0123456789abcdef"


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that a bomb makes."""
    return tmp_path / "owned"


@pytest.fixture
def bomb(mark: Path) -> bytes:
    """A pickle that works where it is loaded as such."""
    return pickle.dumps(Bomb(mark))


def test_the_bomb_is_one(bomb: bytes, mark: Path) -> None:
    pickle.loads(bomb)
    assert mark.exists()


# Checkpoints, models and weights -----------------------------------------------------------------


def saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


@pytest.mark.parametrize("wrap", [lambda b: b, lambda b: {"format": 2, "state": {"w": b}}])
@pytest.mark.parametrize("old", [False, True])
def test_a_checkpoint_is_not_unpickled(
    wrap: Callable[[Any], Any], old: bool, mark: Path, tmp_path: Path
) -> None:
    file = io.BytesIO()
    torch.save(wrap(Bomb(mark)), file, _use_new_zipfile_serialization=not old)
    storage = Storage(tmp_path / "results")
    name = f"checkpoints/{ID}/task-01.pt"
    storage.write(name, file.getvalue())
    with pytest.raises(UserError, match=r"task-01\.pt: is no"):
        Checkpoints(storage).read(name)
    assert not mark.exists()


def test_a_plain_pickle_is_no_model(bomb: bytes, mark: Path, tmp_path: Path) -> None:
    storage = Storage(tmp_path / "results")
    storage.write(f"models/{ID}.pt", bomb)
    with pytest.raises(UserError, match=r"\.pt: is no"):
        Checkpoints(storage).read(f"models/{ID}.pt")
    assert not mark.exists()


def test_weights_are_not_unpickled(mark: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(saved({"features.0.0.weight": Bomb(mark)}))
    with pytest.raises(ValueError, match="is no file of weights"):
        load_features(torch.nn.Linear(1, 1), Weights(file=str(path)), "alexnet", "classifier.")
    assert not mark.exists()


def test_weights_in_pytorch_s_cache_are_not_unpickled(
    mark: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "alexnet-owt-7be5be79.pth").write_bytes(saved({"w": Bomb(mark)}))
    with pytest.raises(ValueError, match="is no file of weights"):
        load_features(
            torch.nn.Linear(1, 1), Weights(published="IMAGENET1K_V1"), "alexnet", "classifier."
        )
    assert not mark.exists()


# Arrow and Parquet -------------------------------------------------------------------------------


def with_extension(schema: pa.Schema, bomb: bytes) -> pa.Schema:
    """A schema whose columns say that Python objects are needed to read them."""
    told = {"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": bomb}
    return pa.schema([field.with_metadata(told) for field in schema], schema.metadata)


def arrow_file(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def empty_row(schema: pa.Schema) -> pa.Table:
    table: pa.Table = pa.Table.from_pylist([dict.fromkeys(schema.names)], schema=schema)
    return table


def test_types_of_columns_are_no_code(bomb: bytes, mark: Path, tmp_path: Path) -> None:
    store = ResultsStore(tmp_path / "results")
    row = empty_row(with_extension(SCHEMA, bomb))
    store.storage.write(f"trials/{ID}.arrow", arrow_file(row))
    store.storage.write(curves_name(ID), arrow_file(row))
    with pytest.raises(UserError, match=rf"{ID}\.arrow: "):
        store.read()
    assert read_curves(store.storage, ID) is None
    data = tmp_path / "data"
    (data / "arrow").mkdir(parents=True)
    (data / "arrow" / "pets.arrow").write_bytes(arrow_file(row))
    with pytest.raises(UserError, match=r"pets\.arrow is damaged"):
        added_sources(data)
    columns = pa.table({"image": [b""], "label": [0]})
    columns = columns.cast(with_extension(columns.schema, bomb))
    pets = tmp_path / "pets"
    pets.mkdir()
    for part in ("train", "test"):
        pq.write_table(columns, pets / f"{part}.parquet")
    with pytest.raises(UserError, match="pets"):
        add_source("pets", data / "other", pets)
    assert not mark.exists()


@pytest.mark.parametrize("offsets", [(0, 2**31 - 1, 1), (0, -5, 1)])
def test_a_record_that_points_outside_of_itself_is_damaged(
    offsets: tuple[int, ...], tmp_path: Path
) -> None:
    store = ResultsStore(tmp_path / "results")
    buffers = [None, pa.py_buffer(struct.pack("<3i", *offsets)), pa.py_buffer(b"x")]
    text = pa.Array.from_buffers(pa.string(), 2, buffers)
    rows = pa.concat_tables([empty_row(SCHEMA)] * 2).combine_chunks()
    rows = rows.set_column(SCHEMA.get_field_index("cause"), SCHEMA.field("cause"), text)
    store.storage.write(f"trials/{ID}.arrow", arrow_file(rows))
    with pytest.raises(UserError, match="is no readable record"):
        store.records()


# Data --------------------------------------------------------------------------------------------


def npz(path: Path, **arrays: Any) -> Path:
    usual = {f"x_{part}": np.zeros((2, 4, 4), np.uint8) for part in ("train", "test")}
    usual |= {f"y_{part}": np.arange(2) for part in ("train", "test")}
    np.savez(path, **usual | arrays)
    return path


def test_an_archive_with_objects_is_refused(mark: Path, tmp_path: Path) -> None:
    path = npz(tmp_path / "own.npz", x_train=np.array([Bomb(mark)], dtype=object))
    with pytest.raises(UserError, match=r"own\.npz: is not a NumPy archive that can be read"):
        add_source("pets", tmp_path / "data", path)
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["too large", "damaged", "encrypted"])
def test_an_archive_that_cannot_be_unpacked_is_refused(kind: str, tmp_path: Path) -> None:
    path = npz(tmp_path / "own.npz")
    if kind == "too large":
        claim = {"descr": "|u1", "fortran_order": False, "shape": (2**45, 4, 4)}
        member = io.BytesIO()
        np.lib.format.write_array_header_1_0(member, claim)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("x_train.npy", member.getvalue())
    elif kind == "encrypted":
        content = bytearray(path.read_bytes())
        for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            content[content.index(sign) + at] |= 1
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x_train.npy", bytes(10_000))
        content = bytearray(path.read_bytes())
        start = content.rindex(b"x_train.npy", 0, content.index(b"PK\x01\x02")) + 11
        content[start : start + 8] = b"\xff" * 8
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"own\.npz: is not a NumPy archive that can be read"):
        add_source("pets", tmp_path / "data", path)


def png(width: int, height: int) -> bytes:
    """A picture of a few bytes that claims to be large."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (head, b"IDAT" + zlib.compress(b""), b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks
    )


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize(
    ("width", "height", "told"),
    [
        (12_000, 12_000, "has 12,000 × 12,000 pixels; make it smaller"),
        (60_000, 60_000, "is not an image that can be read .*exceeds limit"),
        (2**31 - 1, 9, "is not an image that can be read .*exceeds limit"),
    ],
)
def test_a_picture_that_would_fill_the_memory_is_refused(
    width: int, height: int, told: str, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        (tmp_path / "pets" / name / "0.png").write_bytes(png(width, height))
        (tmp_path / "pets" / name / "1.png").write_bytes(png(width, height))
    with pytest.raises(UserError, match=rf"png: {told}"):
        add_source("pets", tmp_path / "data", tmp_path / "pets")


def test_no_program_is_run_to_read_a_picture(
    tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pillow has PostScript read by another program, whatever the file is called."""
    fake = tmp_path / "bin" / "gs"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\nmkdir -p {mark}\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    picture = tmp_path / "a.eps"
    Image.new("RGB", (8, 8)).save(picture)
    script = "import sys; from PIL import Image; Image.open(sys.argv[1]).load()"
    subprocess.run([sys.executable, "-c", script, picture], capture_output=True, check=False)
    assert mark.exists()  # it is as it is said above
    mark.rmdir()
    for name in ("a", "b"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(2):
            (tmp_path / "pets" / name / f"{i}.png").write_bytes(picture.read_bytes())
    with pytest.raises(UserError, match=r"png: is not an image that can be read"):
        add_source("pets", tmp_path / "data", tmp_path / "pets")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "a/../../secret.png"])
def test_a_table_names_files_of_its_folder(name: str, tmp_path: Path) -> None:
    (tmp_path / "pets" / "images").mkdir(parents=True)
    for part in ("train", "test"):
        (tmp_path / "pets" / f"{part}.csv").write_text(f"filename,label\n{name},a\n")
    with pytest.raises(UserError, match=r"train\.csv: '.*' is not within"):
        add_source("pets", tmp_path / "data", tmp_path / "pets")


def test_cifar_s_pickles_are_read_only_if_they_are_the_published_ones(
    bomb: bytes, mark: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"):
        (folder / name).write_bytes(bomb)
    with pytest.raises(UserError, match="cifar10"):
        prepare("cifar10", tmp_path / "data", tmp_path)
    assert not mark.exists()


def test_mnist_s_old_files_are_not_unpickled(mark: Path, tmp_path: Path) -> None:
    for name in ("training.pt", "test.pt"):
        path = tmp_path / "MNIST" / "processed" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved((Bomb(mark), 0)))
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        path = tmp_path / "MNIST" / "raw" / f"{part}-ubyte"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with pytest.raises(UserError, match="mnist"):
        prepare("mnist", tmp_path / "data", tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/b", "..", "x\x1b]0;owned\x07", "A b"])
def test_data_are_added_under_plain_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be a source's name"):
        add_source(name, tmp_path / "data", npz(tmp_path / "own.npz"))
    assert [path.name for path in tmp_path.iterdir()] == ["own.npz"]


def test_files_of_other_names_are_no_sources(tmp_path: Path) -> None:
    data = tmp_path / "data"
    add_source("pets", data, npz(tmp_path / "own.npz"))
    content = (data / "arrow" / "pets.arrow").read_bytes()
    for name in ("x\x1b]0;owned\x07.arrow", "A B.arrow", "..arrow"):
        (data / "arrow" / name).write_bytes(content)
    assert list(added_sources(data)) == ["pets"]


def test_a_link_that_waits_for_a_file_is_not_followed(tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "data" / "arrow"
    victim.write_text("mine")
    folder.mkdir(parents=True)
    (folder / ".digits.arrow.tmp").symlink_to(victim)
    (folder / "digits.arrow").symlink_to(tmp_path / "nowhere")
    open_source("digits", tmp_path / "data")
    assert victim.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
