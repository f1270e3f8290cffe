"""The palette is checked by simulating how it is seen."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.leaderboard import looks as module
from orchestrator.leaderboard.looks import DARK, DARK_GROUND, LIGHT, LIGHT_GROUND, SHAPES, looks

#: Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
SIGHTS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.072175],
        [0.0193339, 0.119192, 0.9503041],
    ]
)
WHITE = np.array([0.95047, 1.0, 1.08883])

PALETTES = [(LIGHT, LIGHT_GROUND), (DARK, DARK_GROUND)]


def linear(colour: str) -> NDArray[np.float64]:
    values = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    share = XYZ @ np.clip(rgb, 0, 1) / WHITE
    f = np.where(share > 0.008856, np.cbrt(share), 7.787 * share + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHTS)
@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_any_two_colours_can_be_told_apart(palette: tuple[str, ...], sight: str) -> None:
    seen = [lab(SIGHTS[sight] @ linear(colour)) for colour in palette]
    nearest = min(math.dist(a, b) for i, a in enumerate(seen) for b in seen[:i])
    assert nearest > 20


@pytest.mark.parametrize(("palette", "ground"), PALETTES)
def test_each_colour_stands_out_from_its_ground(palette: tuple[str, ...], ground: str) -> None:
    def luminance(colour: str) -> float:
        return float(XYZ[1] @ linear(colour)) + 0.05

    for colour in palette:
        low, high = sorted([luminance(colour), luminance(ground)])
        assert high / low >= 3


def test_looks_differ_and_are_the_same_for_the_same_name() -> None:
    names = [f"method {i}" for i in range(24)]
    given = looks([*names, *names])
    assert len(set(given.values())) == 24
    assert len({given[name].colour for name in names[:8]}) == 8
    assert given[names[0]] == (0, 0)


def test_shapes_are_drawn_within_their_circle() -> None:
    for shape in SHAPES:
        element = ET.fromstring(f'<path d="{shape}"/>')
        assert element.get("d", "").startswith("M")
        assert element.get("d", "").endswith("z")
    assert len(set(SHAPES)) == len(SHAPES)
    assert module.DASHES[0] == ""
