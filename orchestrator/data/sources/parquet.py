"""Parquet in the form of the Hugging Face hub: a column of encoded images, one of labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.sources.pictures import Size, decode_images
from orchestrator.data.sources.source import Images, Layout
from orchestrator.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

#: Names that the columns may have, the first that is there counts.
_IMAGE, _LABEL = ("image", "img"), ("label", "fine_label")


def parquet_layout(name: str) -> Layout:
    """Return the layout ``<name>/train.parquet`` and ``<name>/test.parquet``."""
    return Layout(
        partial(_read_named, name),
        (f"{name}/train.parquet", f"{name}/test.parquet"),
        f"Hugging Face's Parquet files in {name}/",
    )


def read_parquet(train: Sequence[Path], test: Sequence[Path], size: Size | None = None) -> Images:
    """Read training and test data, each from one or more Parquet files.

    The column ``image`` or ``img`` holds encoded images, as bytes or as a struct with the field
    ``bytes``; the column ``label`` or ``fine_label`` whole numbers from 0.

    Raises
    ------
    UserError
        If a file is not as it should be; for images see :func:`.pictures.decode_images`.
    """
    parts = [_rows(file) for file in (*train, *test)]
    images = [image for part, _ in parts for image in part]
    names = [
        f"{file}: image {row}"
        for file, (part, _) in zip((*train, *test), parts, strict=True)
        for row in range(len(part))
    ]
    x = decode_images(images, names, size)
    y = np.concatenate([labels for _, labels in parts])
    here = sum(len(labels) for _, labels in parts[: len(train)])
    return Images(x[:here], y[:here], x[here:], y[here:])


def _read_named(name: str, folder: Path) -> Images:
    here = folder / name
    return read_parquet([here / "train.parquet"], [here / "test.parquet"])


def _rows(file: Path) -> tuple[list[bytes], NDArray[np.int64]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(file)
        image, label = _column(schema, _IMAGE), _column(schema, _LABEL)
        if image is None or label is None:
            raise UserError(
                f"{file}: should have a column {' or '.join(_IMAGE)} and a column "
                f"{' or '.join(_LABEL)}; it has {', '.join(schema.names)}"
            )
        if not pa.types.is_integer(schema.field(label).type):
            raise UserError(
                f"{file}: column {label} should hold whole numbers, not {schema.field(label).type}"
            )
        table = pq.read_table(file, columns=[image, label])
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file}: is not a Parquet file that can be read ({reason})") from error
    encoded = _encoded(table.column(image), f"{file}: column {image}")
    if encoded.null_count or table.column(label).null_count:
        raise UserError(f"{file}: every row should have an image and a label")
    return encoded.to_pylist(), table.column(label).to_numpy().astype(np.int64)


def _column(schema: pa.Schema, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in schema.names), None)


def _encoded(column: pa.ChunkedArray, where: str) -> Any:
    """Return the encoded images of a column of bytes, or of structs with bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    binary = (pa.types.is_binary, pa.types.is_large_binary)
    kind = column.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        column = pc.struct_field(column, "bytes")
    if not any(is_binary(column.type) for is_binary in binary):
        raise UserError(
            f"{where} should hold encoded images: bytes, or a struct with bytes; not {kind}"
        )
    return column
