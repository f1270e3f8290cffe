"""What a method looks like: one colour and one shape, the same in every chart of a page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

#: Colours on white and on near black. Any two differ by at least 20 units of CIELAB to normal
#: sight and to the three kinds of colour blindness; each has a contrast of 3 : 1 to its ground.
LIGHT = (
    *("#106bb5", "#e17018", "#07a175", "#af2f7c"),
    *("#835605", "#342388", "#858db9", "#423e3d"),
)
DARK = (
    *("#3095fa", "#eb7b41", "#40cd96", "#e687be"),
    *("#f2cc4d", "#9369b7", "#a5d8ff", "#e4dedf"),
)
#: Grounds on which the charts stand.
LIGHT_GROUND, DARK_GROUND = "#ffffff", "#171b22"

#: Outlines of marks within a circle of radius 1 around the origin, as SVG paths.
SHAPES = (
    "M-.9 0a.9 .9 0 1 0 1.8 0a.9 .9 0 1 0-1.8 0z",  # circle
    "M-.8-.8H.8V.8H-.8z",  # square
    "M0-1.05L1 .75H-1z",  # triangle
    "M0-1.1L1.1 0 0 1.1-1.1 0z",  # diamond
    "M0 1.05L1-.75H-1z",  # triangle, point down
    "M-.35-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35z",  # plus
)
#: Patterns of lines for rows of one method: whole, dashed, dotted, both.
DASHES = ("", "7 3", "2 3", "9 3 2 3")


class Look(NamedTuple):
    """Places in :data:`LIGHT` or :data:`DARK`, and in :data:`SHAPES`."""

    colour: int
    shape: int


def looks(names: Iterable[str]) -> dict[str, Look]:
    """Give each name a look of its own, in their order.

    The first eight differ in colour, the first 24 in colour or shape; then they repeat.
    """
    return {
        name: Look(i % len(LIGHT), i % len(SHAPES)) for i, name in enumerate(dict.fromkeys(names))
    }
