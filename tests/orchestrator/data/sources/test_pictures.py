"""Encoded images become one array of the right pixels, or an error that names the image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from orchestrator.data.sources.pictures import decode_images, resized
from orchestrator.errors import UserError

Png = Callable[..., bytes]


def pixels(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def names(images: list[Any]) -> list[str]:
    return [f"image {i}" for i in range(len(images))]


def decode(*images: bytes | Path, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    return decode_images(images, names(list(images)), size)


def test_order_and_pixels_are_kept(png: Png, tmp_path: Path) -> None:
    x = pixels(200, 5, 7, 3)
    files: list[bytes | Path] = [png(image) for image in x]
    (tmp_path / "last").write_bytes(png(x[-1]))
    files[-1] = tmp_path / "last"
    decoded = decode(*files)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert (decoded == x.transpose(0, 3, 1, 2)).all()


def test_grey_stays_grey_unless_there_is_colour(png: Png) -> None:
    grey, colour = pixels(4, 4), pixels(4, 4, 3)
    assert (decode(png(grey), png(255 - grey)) == np.stack([grey, 255 - grey])[:, None]).all()
    mixed = decode(png(grey), png(colour))
    assert (mixed[0] == grey).all()
    assert (mixed[1] == colour.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA", "CMYK"])
def test_other_kinds_of_images(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(pixels(6, 6, 3)).convert(mode)
    file = tmp_path / ("image.tiff" if mode == "CMYK" else "image.png")
    image.save(file)
    decoded = decode(file)[0]
    if mode in {"1", "LA"}:
        expected = np.asarray(image.convert("L"))[None]
    else:
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    assert (decoded == expected).all()


def test_more_than_eight_bits_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "deep.png"
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(file)
    with pytest.raises(UserError, match=r"^image 0: has more than 8 bits a channel"):
        decode(file)


def test_what_is_no_image_is_named(png: Png, tmp_path: Path) -> None:
    whole = png(pixels(32, 32, 3))
    for broken in (b"no image", whole[: len(whole) // 2], tmp_path / "nowhere.png"):
        with pytest.raises(UserError, match=r"^image 1: is not an image that can be") as error:
            decode(whole, broken)
        assert "\n" not in str(error.value)


def test_sizes_that_differ_are_refused_unless_one_is_given(png: Png) -> None:
    files = [png(pixels(8, 6)), png(pixels(8, 6)), png(pixels(6, 8))]
    with pytest.raises(UserError) as error:
        decode(*files)
    assert str(error.value) == (
        "images differ in size: image 0 has 8 × 6 pixels, image 2 6 × 8; "
        "give one size for all, such as --size 8 6"
    )
    assert decode(*files, size=(4, 5)).shape == (3, 1, 4, 5)


@pytest.mark.parametrize("shape", [(8, 6), (8, 6, 3)])
def test_resizing_is_that_of_pillow(shape: tuple[int, ...], png: Png) -> None:
    x = pixels(*shape)
    expected = np.asarray(Image.fromarray(x).resize((5, 4), Image.Resampling.LANCZOS))
    expected = np.atleast_3d(expected).transpose(2, 0, 1)
    assert (decode(png(x), size=(4, 5))[0] == expected).all()
    array = np.atleast_3d(x).transpose(2, 0, 1)[None]
    assert (resized(array, (4, 5))[0] == expected).all()
    assert (decode(png(x), size=(8, 6)) == array).all(), "its own size changes nothing"


def test_no_images_at_all() -> None:
    with pytest.raises(UserError, match="no images"):
        decode()
