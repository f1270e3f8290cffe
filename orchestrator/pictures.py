"""Many small images in one picture: a grid, as PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

#: Pixels between two images, and around them; grey, against which both ink and paper stand out.
_GAP, _GREY = 2, 170
#: Height of the letters of a row's label, and of the least row that has one, in pixels.
_LETTERS, _LABELLED = 14, 20


def grid_png(
    x: Tensor, columns: int = 10, labels: Sequence[str] = (), *, at_least: int = 28
) -> bytes:
    """Draw images in rows; equal images give equal bytes.

    Small ones are enlarged by a whole factor, each pixel to a square of its own colour.

    Parameters
    ----------
    x : Tensor
        uint8 ``[N, C, H, W]``, on any device. Of three channels and more, the first three are red,
        green and blue; of fewer, the first one is drawn, in grey.
    columns : int
        Images in a row.
    labels : sequence of str, optional
        Written to the left of the rows, one for each.
    at_least : int
        Pixels that the longer side of each image has in the picture, or more.

    Returns
    -------
    bytes
        A PNG file.

    Raises
    ------
    ValueError
        If there is nothing to draw, or not one label for each row.
    """
    from PIL import Image

    if not drawable(x):
        raise ValueError("images are uint8 [N, C, H, W], and at least one")
    columns = max(1, min(columns, len(x)))
    if labels and len(labels) != -(-len(x) // columns):
        raise ValueError(f"{len(labels)} labels for {-(-len(x) // columns)} rows")
    cells = _enlarged(x, at_least)
    grid = _grid(cells, columns, _LABELLED if labels else 0)
    picture = Image.fromarray(grid if grid.shape[2] == 3 else grid[:, :, 0])
    if labels:
        picture = _labelled(picture, labels)
    content = io.BytesIO()
    picture.save(content, format="PNG", compress_level=6)
    return content.getvalue()


def drawable(x: object) -> bool:
    """Whether these are images: a uint8 tensor ``[N, C, H, W]`` that is not empty."""
    return isinstance(x, Tensor) and str(x.dtype) == "torch.uint8" and x.ndim == 4 and x.numel() > 0


def _enlarged(x: Tensor, at_least: int) -> NDArray[np.uint8]:
    """Return grey or coloured images as uint8 ``[N, h, w, 1 or 3]``."""
    pixels = x.detach()[:, : 3 if x.shape[1] >= 3 else 1].permute(0, 2, 3, 1).cpu().numpy()
    factor = max(1, -(-at_least // max(x.shape[2:])))
    enlarged: NDArray[np.uint8] = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    return enlarged


def _grid(cells: NDArray[np.uint8], columns: int, least: int) -> NDArray[np.uint8]:
    """Lay images out in rows that are at least so high: uint8 ``[height, width, 1 or 3]``."""
    n, height, width, channels = cells.shape
    rows = -(-n // columns)
    high, wide = max(height, least) + _GAP, width + _GAP
    page = np.full((rows * columns, high, wide, channels), _GREY, np.uint8)
    page[:n, :height, :width] = cells
    table = page.reshape(rows, columns, high, wide, channels).swapaxes(1, 2)
    grid = table.reshape(rows * high, columns * wide, channels)
    margin = ((_GAP, 0), (_GAP, 0), (0, 0))
    return np.pad(grid, margin, constant_values=_GREY)


def _labelled(grid: Image, labels: Sequence[str]) -> Image:
    """Write a label beside each row, all rows being equally high."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(_LETTERS)
    ruler = ImageDraw.Draw(grid)
    boxes = [ruler.textbbox((0, 0), label, font=font) for label in labels]
    margin = int(max(right for _, _, right, _ in boxes)) + 4 * _GAP
    picture = Image.new(
        grid.mode, (margin + grid.width, grid.height), f"rgb({_GREY}, {_GREY}, {_GREY})"
    )
    picture.paste(grid, (margin, 0))
    pen, high = ImageDraw.Draw(picture), (grid.height - _GAP) // len(labels)
    for row, (label, (_, top, _, bottom)) in enumerate(zip(labels, boxes, strict=True)):
        middle = _GAP + row * high + (high - _GAP) / 2
        place = (2 * _GAP, round(middle - (top + bottom) / 2))
        pen.text(place, label, fill="black", font=font)
    return picture
