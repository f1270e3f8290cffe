"""Encoded images (PNG, JPEG, …) into one array: alike in size and in channels, or an error."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

#: ``(height, width)`` in pixels.
Size = tuple[int, int]

#: File names of images, in lower case.
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".pgm", ".ppm", ".tif", ".tiff"})

#: What is read as an image, whatever its file is called. Pillow knows more: of PostScript, which it
#: has another program run, to formats that nobody has looked at for long.
_FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "WEBP", "PPM", "TIFF")
#: More pixels than a camera has; what holds more would fill the memory.
_MOST_PIXELS = 120_000_000

#: Pillow's modes of grey images, with and without transparency, and of those with more than 8 bits.
_GREY, _DEEP = {"1", "L", "LA", "La"}, {"I", "I;16", "I;16B", "I;16L", "I;16N", "F"}


def decode_images(
    images: Sequence[bytes | Path], names: Sequence[str], size: Size | None = None
) -> NDArray[np.uint8]:
    """Decode images.

    Grey images stay so if all are; otherwise all become RGB, and transparency is dropped.

    Parameters
    ----------
    images : sequence of bytes or Path
        Encoded images, or the files that hold them.
    names : sequence of str
        What messages call them.
    size : tuple of int, optional
        ``(height, width)`` to which each image is resized (Lanczos), whatever its proportions; by
        default all images must have the same size.

    Returns
    -------
    ndarray
        uint8 ``[N, C, H, W]``, C = 1 or 3.

    Raises
    ------
    UserError
        If there is no image, one cannot be decoded or has more than 8 bits a channel, or their
        sizes differ.
    """
    if not images:
        raise UserError("there are no images to read")
    with ThreadPoolExecutor() as pool:  # Pillow decodes outside the interpreter's lock
        decoded = list(pool.map(partial(_decode, size=size), images, names))
    first = decoded[0].shape[:2]
    for array, name in zip(decoded, names, strict=True):
        if array.shape[:2] != first:
            raise UserError(
                f"images differ in size: {names[0]} has {_shown(first)} pixels, "
                f"{name} {_shown(array.shape)}; give one size for all, such as "
                f"--size {first[0]} {first[1]}"
            )
    channels = 3 if any(array.ndim == 3 for array in decoded) else 1
    pixels = np.empty((len(decoded), channels, *first), np.uint8)
    while decoded:  # from the end, letting go of each: memory may not hold all of them twice
        array = decoded.pop()
        pixels[len(decoded)] = array.transpose(2, 0, 1) if array.ndim == 3 else array
    return pixels


def resized(images: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Resize uint8 ``[N, C, H, W]`` with C = 1 or 3 to ``(height, width)``, as decoding does."""
    from PIL import Image

    grey = images.shape[1] == 1
    rows = images[:, 0] if grey else images.transpose(0, 2, 3, 1)
    small = np.stack([np.asarray(_resize(Image.fromarray(row), size)) for row in rows])
    return small[:, None] if grey else small.transpose(0, 3, 1, 2)


def _decode(encoded: bytes | Path, name: str, size: Size | None) -> NDArray[np.uint8]:
    """Return ``[H, W]`` of a grey image, ``[H, W, 3]`` of any other."""
    from PIL import Image

    try:
        source = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
        with Image.open(source, formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise UserError(
                    f"{name}: has {image.width:,} × {image.height:,} pixels; make it smaller"
                )
            if image.mode in _DEEP:
                raise UserError(f"{name}: has more than 8 bits a channel; save it with 8")
            plain = image.convert("L" if image.mode in _GREY else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{name}: is not an image that can be read ({reason})") from error
    return np.asarray(_resize(plain, size) if size else plain)


def _resize(image: Image, size: Size) -> Image:
    from PIL import Image as Pillow

    height, width = size
    if image.size == (width, height):
        return image
    return image.resize((width, height), Pillow.Resampling.LANCZOS)


def _shown(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} × {shape[1]}"
