"""Reading a whole task."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from methods.core.task import Examples

#: Rows read at once.
_CHUNK = 4096
#: Bytes of a task that are held at once; of a larger task one class is.
_MOST_HELD = 1 << 30


def read(new: Examples, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return items and their labels: ``[n, ...]``, and int64 ``[n]``.

    Parameters
    ----------
    new : Examples
    rows : Tensor
        int64 ``[n]``, which ones, on the device where the examples are.
    """
    batch = new.gather(rows[:_CHUNK])
    assert batch.y is not None
    x, y = batch.x, batch.y
    if len(rows) > _CHUNK:
        x, y = x.new_empty(len(rows), *x.shape[1:]), y.new_empty(len(rows))
        for start in range(0, len(rows), _CHUNK):
            batch = new.gather(rows[start : start + _CHUNK])
            assert batch.y is not None
            x[start : start + _CHUNK], y[start : start + _CHUNK] = batch.x, batch.y
    return x, y


def read_labels(new: Examples, device: torch.device) -> Tensor:
    """Return all labels of a task, int64 ``[N]``, without holding its items."""
    rows = torch.arange(len(new), device=device)
    y = torch.empty_like(rows)
    for start in range(0, len(rows), _CHUNK):
        batch = new.gather(rows[start : start + _CHUNK])
        assert batch.y is not None
        y[start : start + _CHUNK] = batch.y
    return y


def read_classes(new: Examples, device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """Go through the classes of a task in ascending order, each with its items ``[n, ...]``."""
    rows = torch.arange(len(new), device=device)
    one = new.gather(rows[:1]).x
    if one.nbytes * len(rows) <= _MOST_HELD:
        x, y = read(new, rows)
        for label in torch.unique(y).tolist():
            yield label, x[y == label]
    else:  # computing lazy items twice costs less than room for all of them
        y = read_labels(new, device)
        for label in torch.unique(y).tolist():
            yield label, read(new, rows[y == label])[0]
