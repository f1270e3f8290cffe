"""Transforms of images against plain ways to say the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from orchestrator.data import transforms
from orchestrator.data.transforms import pad, permute_pixels, resize, rotate


def images(n: int = 5, shape: tuple[int, int, int] = (3, 8, 8)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, *shape), generator=generator, dtype=torch.uint8)


def test_permutation_moves_each_channel_alike() -> None:
    x, permutation = images(), torch.randperm(64, generator=torch.Generator().manual_seed(1))
    moved = permute_pixels(x, permutation)
    for i, source in enumerate(permutation.tolist()):
        there, here = divmod(i, 8), divmod(source, 8)
        assert torch.equal(moved[:, :, there[0], there[1]], x[:, :, here[0], here[1]])
    assert torch.equal(permute_pixels(moved, permutation.argsort()), x)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 7, 7)])
@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_quarter_turns_are_exact(shape: tuple[int, int, int], quarters: int) -> None:
    x = images(shape=shape)
    assert torch.equal(rotate(x, 90 * quarters), torch.rot90(x, quarters, (2, 3)))


@pytest.mark.parametrize("degrees", [0, 360])
def test_no_turn_is_the_same_tensor(degrees: float) -> None:
    x = images()
    assert rotate(x, degrees) is x


@pytest.mark.parametrize("shape", [(1, 9, 9), (1, 6, 10)])
def test_against_the_formula(shape: tuple[int, int, int]) -> None:
    x, degrees = images(1, shape), 72.0
    _, height, width = shape
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))

    def grey(row: int, column: int) -> float:
        inside = 0 <= row < height and 0 <= column < width
        return float(x[0, 0, row, column]) if inside else 0.0

    turned = rotate(x, degrees)
    for row in range(height):
        for column in range(width):
            right, up = column - (width - 1) / 2, (height - 1) / 2 - row
            # Where the pixel came from: turned back, clockwise.
            u = cos * right + sin * up + (width - 1) / 2
            v = (height - 1) / 2 - (cos * up - sin * right)
            left, top = math.floor(u), math.floor(v)
            expected = sum(
                grey(top + j, left + i) * abs(1 - i - (u - left)) * abs(1 - j - (v - top))
                for i in (0, 1)
                for j in (0, 1)
            )
            assert float(turned[0, 0, row, column]) == pytest.approx(expected, abs=0.501)


def test_chunks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(11)
    whole = rotate(x, 30)
    monkeypatch.setattr(transforms, "_CHUNK", 4 * 3 * 8 * 8)
    assert torch.equal(rotate(x, 30), whole)


@pytest.mark.parametrize("size", [(8, 8), (9, 8), (11, 14)])
def test_zeros_surround(size: tuple[int, int]) -> None:
    x = images()
    padded = pad(x, *size)
    top, left = (size[0] - 8) // 2, (size[1] - 8) // 2
    assert padded.shape == (5, 3, *size)
    assert torch.equal(padded[:, :, top : top + 8, left : left + 8], x)
    assert padded.long().sum() == x.long().sum()
    assert (padded is x) == (size == (8, 8))


@pytest.mark.parametrize("size", [4, 13, 24])
@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 9, 10)])
def test_scaled_as_pillow_does(size: int, shape: tuple[int, int, int]) -> None:
    x = images(4, shape)
    scaled = resize(x, size)
    assert scaled.dtype == torch.uint8
    assert scaled.shape == (4, shape[0], size, size)
    exact = functional.interpolate(x.double(), (size, size), mode="bilinear", antialias=True)
    assert (scaled - exact).abs().max() <= 0.501
    for image, own in zip(x.flatten(0, 1), scaled.flatten(0, 1), strict=True):
        picture = Image.fromarray(image.numpy()).resize((size, size), Image.Resampling.BILINEAR)
        # Pillow computes with integers and rounds after each direction.
        assert np.abs(np.asarray(picture).astype(int) - own.numpy().astype(int)).max() <= 1


def test_a_size_that_is_there_is_the_same_tensor() -> None:
    x = images()
    assert resize(x, 8) is x


def test_memory_is_bounded_for_large_results(monkeypatch: pytest.MonkeyPatch) -> None:
    x = images(7, (1, 4, 4))
    whole = resize(x, 20)
    monkeypatch.setattr(transforms, "_CHUNK", 900)
    assert [s.start for s in transforms._chunks(x, whole)] == [0, 2, 4, 6]
    assert torch.equal(resize(x, 20), whole)
