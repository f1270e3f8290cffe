"""Grids of images: where each one is, how large, and the same bytes each time."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from orchestrator.pictures import grid_png

GAP, GREY = 2, 170


def images(n: int, channels: int = 1, side: int = 28) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    shape = n, channels, side, side
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def opened(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.format == "PNG"
        return np.array(picture)


def cell(page: np.ndarray, row: int, column: int, side: int) -> np.ndarray:
    """The place of an image, from the right edge inwards where there are labels to the left."""
    top, left = GAP + row * (side + GAP), GAP + column * (side + GAP)
    return page[top : top + side, left : left + side]


def test_each_image_is_in_its_place_and_the_rest_is_grey() -> None:
    x = images(5)
    page = opened(grid_png(x, columns=3))
    assert page.shape == (2 * 28 + 3 * GAP, 3 * 28 + 4 * GAP)
    for i in range(5):
        np.testing.assert_array_equal(cell(page, i // 3, i % 3, 28), x[i, 0].numpy())
        cell(page, i // 3, i % 3, 28)[:] = GREY
    assert (page == GREY).all()


@pytest.mark.parametrize(("side", "factor"), [(8, 4), (27, 2), (28, 1), (32, 1), (1, 28)])
def test_small_images_are_enlarged_by_a_whole_factor(side: int, factor: int) -> None:
    x = images(1, 3, side)
    page = opened(grid_png(x))
    shown = cell(page, 0, 0, side * factor)
    assert page.shape == (side * factor + 2 * GAP, side * factor + 2 * GAP, 3)
    for down in range(factor):
        for right in range(factor):
            pixels = shown[down::factor, right::factor]
            np.testing.assert_array_equal(pixels, x[0].permute(1, 2, 0).numpy())


def test_colours_are_the_first_three_channels_and_grey_is_the_first() -> None:
    x = images(2, 5)
    for channels, wanted in ((1, x[:, 0]), (2, x[:, 0]), (3, x[:, :3]), (5, x[:, :3])):
        page = opened(grid_png(x[:, :channels]))
        shown = cell(page, 0, 1, 28)
        expected = wanted[1] if wanted.ndim == 3 else wanted[1].permute(1, 2, 0)
        np.testing.assert_array_equal(shown, expected.numpy())


def test_equal_images_give_equal_bytes_however_they_lie_in_memory() -> None:
    x = images(12, 3)
    content = grid_png(x, 4, ["a", "b", "c"])
    assert grid_png(x.clone(), 4, ["a", "b", "c"]) == content
    turned = x.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)
    assert not turned.is_contiguous()
    assert grid_png(turned, 4, ["a", "b", "c"]) == content
    assert grid_png(x.flip(0), 4, ["a", "b", "c"]) != content


@pytest.mark.parametrize("channels", [1, 3])
def test_labels_stand_beside_their_rows(channels: int) -> None:
    x = images(4, channels)
    plain, labelled = opened(grid_png(x, 2)), opened(grid_png(x, 2, ["class 0", ""]))
    margin = labelled.shape[1] - plain.shape[1]
    np.testing.assert_array_equal(labelled[:, margin:], plain)
    left = labelled[:, :margin]
    first, second = left[: 28 + GAP], left[28 + GAP :]
    assert first.min() == 0, "ink"
    assert (second == GREY).all(), "a row without a label"
    other = opened(grid_png(x, 2, ["class 1", ""]))[: 28 + GAP, :margin]
    assert not np.array_equal(first, other)
    assert (first[:GAP] == GREY).all(), "the letters are inside the row"


def test_labels_of_low_rows_do_not_run_into_each_other() -> None:
    x = images(3)[:, :, :2]
    page = opened(grid_png(x, 1, ["class 0", "class 1", "class 2"]))
    ink = page[:, :40].min(1) < 100
    lines = np.flatnonzero(np.diff(ink.astype(int), prepend=0) == 1)
    assert len(lines) == 3


def test_what_cannot_be_drawn_is_refused() -> None:
    for wrong in (images(2).float(), images(2)[0], images(2)[:0], torch.zeros(1, 0, 2, 2)):
        with pytest.raises(ValueError, match="images are uint8"):
            grid_png(wrong)
    with pytest.raises(ValueError, match="1 labels for 2 rows"):
        grid_png(images(4), 2, ["class 0"])
    assert grid_png(images(2), 0) == grid_png(images(2), 1)
    assert grid_png(images(2), 10**9) == grid_png(images(2), 2)
