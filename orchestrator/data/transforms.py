"""Transforms of uint8 images: permutations, rotations, and what brings them to a size."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

#: Grey levels handled at once: as floats they fit into a processor's cache.
_CHUNK = 1 << 18


def permute_pixels(x: Tensor, permutation: Tensor) -> Tensor:
    """Reorder the pixels of images, alike in each channel.

    Parameters
    ----------
    x : Tensor
        uint8 ``[N, C, H, W]``.
    permutation : Tensor
        int64 ``[H * W]``; pixel ``i`` of the result is pixel ``permutation[i]`` of ``x``.

    Returns
    -------
    Tensor
        uint8 ``[N, C, H, W]``.
    """
    pixels = x.flatten(2)
    return pixels.gather(2, permutation.expand(pixels.shape)).view_as(x)


def rotate(x: Tensor, degrees: float) -> Tensor:
    """Turn images anticlockwise about their centre.

    Bilinear interpolation; what comes from outside is 0; grey levels are rounded.

    Parameters
    ----------
    x : Tensor
        uint8 ``[N, C, H, W]``.
    degrees : float

    Returns
    -------
    Tensor
        uint8 ``[N, C, H, W]``; ``x`` itself where the angle is 0.
    """
    if degrees % 360 == 0:
        return x
    _, channels, height, width = x.shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # Coordinates run from -1 to 1 along each side, hence the ratios where the sides differ.
    theta = [[cos, -sin * height / width, 0.0], [sin * width / height, cos, 0.0]]
    grid = functional.affine_grid(
        torch.tensor([theta], dtype=torch.float64), [1, 1, height, width], align_corners=False
    ).float()
    turned = torch.empty_like(x)
    for part in _chunks(x, turned):
        # As channels of one image, all images share the interpolation weights.
        flat = x[part].reshape(1, -1, height, width).float()
        moved = functional.grid_sample(flat, grid, align_corners=False).round_().clamp_(0, 255)
        turned[part] = moved.view(-1, channels, height, width)
    return turned


def pad(x: Tensor, height: int, width: int) -> Tensor:
    """Surround images with zeros; of an odd number, one more below and to the right.

    Parameters
    ----------
    x : Tensor
        uint8 ``[N, C, H, W]``.
    height, width : int
        At least ``H`` and ``W``.

    Returns
    -------
    Tensor
        uint8 ``[N, C, height, width]``; ``x`` itself where that is its size.
    """
    _, _, old_height, old_width = x.shape
    if (height, width) == (old_height, old_width):
        return x
    top, left = (height - old_height) // 2, (width - old_width) // 2
    padded = x.new_zeros(*x.shape[:2], height, width)
    padded[:, :, top : top + old_height, left : left + old_width] = x
    return padded


def resize(x: Tensor, size: int) -> Tensor:
    """Scale images to a square.

    Bilinear interpolation, over a wider neighbourhood where images shrink (antialiasing); grey
    levels are rounded.

    Parameters
    ----------
    x : Tensor
        uint8 ``[N, C, H, W]``.
    size : int
        Height and width of the result.

    Returns
    -------
    Tensor
        uint8 ``[N, C, size, size]``; ``x`` itself where that is its size.
    """
    if x.shape[2:] == (size, size):
        return x
    scaled = x.new_empty(*x.shape[:2], size, size)
    for part in _chunks(x, scaled):
        moved = functional.interpolate(
            x[part].float(), (size, size), mode="bilinear", align_corners=False, antialias=True
        )
        scaled[part] = moved.round_().clamp_(0, 255)
    return scaled


def _chunks(x: Tensor, result: Tensor) -> Iterator[slice]:
    """Yield slices of the images that bound the memory a transform needs beside its result."""
    largest = max(image[:1].numel() for image in (x, result))
    step = max(1, _CHUNK // max(1, largest))
    return (slice(start, start + step) for start in range(0, len(x), step))
