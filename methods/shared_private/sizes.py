"""Sizes of the layers by the shape of an image: the published ones, and a rule for others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: Channels behind the first convolution; each halving of the image doubles them, up to the most.
_FIRST, _MOST = 3, 48
#: An image is halved until its sides are no longer than this.
_LAST_SIDE = 4
_LEAST_SIDE = 4
#: A head for 32 × 32 images has a hidden layer of so many units, but none from so many classes on.
_HIDDEN, _MANY = 100, 100


class Layer(NamedTuple):
    """A convolution, or a transposed one: its output channels and its square kernel."""

    channels: int
    kernel: int
    stride: int = 1
    padding: int = 0


#: How decoders of 32 × 32 and 84 × 84 pixels begin.
_BACK = (Layer(24, 3), Layer(12, 4, 2))


@dataclass(frozen=True)
class Sizes:
    """Layers of each autoencoder and of each head.

    Parameters
    ----------
    encoder : tuple of Layer
        Convolutions of an image; what they give, flattened, is the mean and the logarithm of the
        variance of its code.
    decoder : tuple of Layer
        Transposed convolutions of a code, which is an image of one pixel.
    head : tuple of Layer
        Convolutions of two reconstructions, one over the other.
    hidden : tuple of int
        Units of the head's fully connected layers, the last one not counted.
    """

    encoder: tuple[Layer, ...]
    decoder: tuple[Layer, ...]
    head: tuple[Layer, ...]
    hidden: tuple[int, ...] = ()


def sizes_of(shape: tuple[int, int, int], classes: int) -> Sizes:
    """Return the sizes for images of a shape, ``(channels, height, width)``.

    Those of 28 × 28, 32 × 32 and 84 × 84 pixels are the published ones. Others follow the rule that
    those of 28 × 28 follow: halve the image and double its channels until 4 × 4 pixels or fewer
    are left, and back the same way.

    Raises
    ------
    ValueError
        If images are not square, or too small to be halved.
    """
    channels, height, side = shape
    if height != side or side < _LEAST_SIDE:
        raise ValueError(
            f"dvae takes square images of at least {_LEAST_SIDE} × {_LEAST_SIDE} pixels, not "
            f"{height} × {side}; give resize or pad_to"
        )
    if side == 84:
        halvings = (Layer(24, 2, 2), Layer(48, 2, 2), Layer(48, 2, 2))
        first = (Layer(6, 3, 2, 1), Layer(12, 2, 2))
        back = (*_BACK, Layer(6, 7, 2), Layer(3, 2, 2), Layer(channels, 2, 2))
        return Sizes((*first, *halvings), back, (Layer(12, 3, 2, 1), *halvings))
    encoder, sides = _halving(side)
    if side == 32:
        decoder = (*_BACK, Layer(6, 2, 2), Layer(channels, 2, 2))
        head = (Layer(12, 3, 1, 1), Layer(24, 2, 2))
        return Sizes(encoder, decoder, head, (_HIDDEN,) if classes < _MANY else ())
    mirrored = [Layer(encoder[-1].channels, sides[-1])]
    for i in range(len(sides) - 2, -1, -1):
        out = encoder[i].channels if i else channels
        mirrored.append(Layer(out, sides[i] - 2 * (sides[i + 1] - 1), 2))
    if len(sides) == 1:
        mirrored = [Layer(channels, side)]
    return Sizes(encoder, tuple(mirrored), encoder)


def _halving(side: int) -> tuple[tuple[Layer, ...], tuple[int, ...]]:
    """Return convolutions that halve an image, and its side after each of them."""
    layers, sides = [Layer(_FIRST, 3, 1, 1)], [side]
    while sides[-1] > _LAST_SIDE:
        layers.append(Layer(min(2 * layers[-1].channels, _MOST), 2, 2))
        sides.append(sides[-1] // 2)
    return tuple(layers), tuple(sides)
