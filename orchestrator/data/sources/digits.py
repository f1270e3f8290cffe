"""scikit-learn's digits, which come with the package: the source that is always there."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from orchestrator.data.sources.source import Images, Layout, Source


def read_digits(folder: Path) -> Images:
    """Read scikit-learn's digits, 1,438 for training and 359 for test; ``folder`` is not used.

    Grey levels 0..16 are scaled to 0..255 and rounded. The division is fixed: of the images of a
    class, in the order of scikit-learn, the third of every five is a test image.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    y = digits.target.astype(np.int64)
    test = np.zeros(len(y), dtype=bool)
    for label in range(10):
        test[np.flatnonzero(y == label)[2::5]] = True
    return Images(x[~test], y[~test], x[test], y[test])


DIGITS = Source(
    name="digits",
    title="handwritten digits of scikit-learn (1,797 images)",
    classes=10,
    shape=(1, 8, 8),
    layouts=(Layout(read_digits),),
)
