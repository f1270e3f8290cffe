"""What tells the domains of a stream apart: permutations and rotations of uint8 images."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

#: Images handled at once, which bounds the memory a transform needs beside its result.
_CHUNK = 4096


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
    for start in range(0, len(x), _CHUNK):
        part = x[start : start + _CHUNK]
        # As channels of one image, all images share the interpolation weights.
        flat = part.reshape(1, -1, height, width).float()
        moved = functional.grid_sample(flat, grid, align_corners=False).round_().clamp_(0, 255)
        turned[start : start + _CHUNK] = moved.view(-1, channels, height, width)
    return turned
