"""Items that a memory gives back and those it absorbs, as the network sees them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from methods.core.classifier import Network
from methods.core.task import Batch, Examples, Scenario

#: Items that go through the network at once where their last activations are asked for.
_CHUNK = 1024
#: How often, and how many at a time, items are drawn in search of a class.
_ATTEMPTS, _LEAST_DRAWN = 40, 64


def labelled(
    batch: Batch, logits: Tensor, classes_of: Tensor, tasks: int, scenario: Scenario
) -> Batch:
    """Give items the classes that a network takes them for, with its logits.

    Parameters
    ----------
    batch : Batch
    logits : Tensor
        float ``[B, classes]``, what the network says of the items.
    classes_of : Tensor
        bool ``[tasks, classes]``, the classes of each task of the stream.
    tasks : int
        Tasks learnt so far: an item is of one of their classes; task-incremental, of one of its own
        task's where that is known.
    scenario : Scenario
    """
    known = classes_of[:tasks].any(0)
    if batch.task is not None and scenario is Scenario.TASK_INCREMENTAL:
        known = classes_of[batch.task]
    y = logits.masked_fill(~known, -torch.inf).argmax(1)
    return batch._replace(y=y, logits=logits)


def of_classes(n: int, classes: Sequence[int], draw: Callable[[int], Batch]) -> Batch:
    """Draw until there are ``n`` items of some classes.

    Parameters
    ----------
    n : int
    classes : sequence of int
    draw : callable
        Returns so many items, with labels; of whatever class.

    Returns
    -------
    Batch
        With labels, and without tasks and logits.

    Raises
    ------
    LookupError
        If hardly any draw is of one of the classes.
    """
    parts: list[Batch] = []
    found = 0
    for _ in range(_ATTEMPTS):
        batch = draw(max(n, _LEAST_DRAWN))
        assert batch.y is not None
        rows = torch.isin(batch.y, batch.y.new_tensor(tuple(classes))).nonzero().squeeze(1)
        rows = rows[: n - found]
        parts.append(Batch(batch.x[rows], batch.y[rows]))
        found += len(rows)
        if found == n:
            x, y = (torch.cat([part[i] for part in parts]) for i in range(2))  # type: ignore[misc]
            return Batch(x, y)
    raise LookupError(f"hardly any draw is taken for one of the classes {list(classes)}")


@torch.no_grad()
def head_inputs(network: Network, examples: Examples, entry: int) -> Tensor:
    """Return what the head reads of each example at a depth: float ``[N, features]``."""
    rows = torch.arange(len(examples), device=network.classes_of.device)
    parts = [
        network.backbone.run(examples.gather(part).x, entry).flatten(1)
        for part in torch.split(rows, _CHUNK)
    ]
    return torch.cat(parts)
