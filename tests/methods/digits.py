"""Scikit-learn's handwritten digits, 8 × 8 pixels, and a classifier that knows them."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from methods.core.task import TensorExamples


@cache
def _all() -> tuple[Tensor, Tensor]:
    pixels, labels = load_digits(return_X_y=True)
    x = (torch.from_numpy(pixels) * (255 / 16)).round().to(torch.uint8)
    return x.view(-1, 1, 8, 8), torch.from_numpy(labels).long()


def digits(*classes: int) -> TensorExamples:
    """Return all digits of some classes, or of all."""
    x, y = _all()
    kept = torch.isin(y, torch.tensor(classes)) if classes else torch.ones_like(y, dtype=torch.bool)
    return TensorExamples(x[kept], y[kept])


@cache
def _judge() -> Any:
    x, y = _all()
    return LogisticRegression(max_iter=500).fit(x.flatten(1).numpy() / 255, y.numpy())


def recognised(x: Tensor) -> Tensor:
    """Return the class that a logistic regression sees in each image: int64 ``[N]``."""
    return torch.from_numpy(_judge().predict(x.flatten(1).numpy() / 255))
