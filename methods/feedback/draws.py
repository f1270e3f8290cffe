"""What a network with feedback connections gives back of its past, as batches to be looked at."""

from __future__ import annotations

import torch
from torch import Tensor

from methods.core.learnt import Wanted
from methods.core.method import Replayed
from methods.core.task import Batch
from methods.feedback.past import Past


def each_class(past: Past, n: int, draws: torch.Generator) -> Tensor:
    """Draw ``n`` images of each class learnt, class by class: uint8 ``[classes * n, C, H, W]``."""
    learnt = past.stream.classes_of[: past.tasks]
    labels = sorted({label for some in learnt for label in some})
    rows = [past.learnt.choose(n, draws, classes=(label,)) for label in labels]
    wanted = Wanted(*(torch.cat(part) for part in zip(*rows, strict=True)))
    return _pictures(past.draw(wanted, draws))


def asked(
    past: Past,
    n: int,
    draws: torch.Generator,
    *,
    classes: tuple[int, ...] | None = None,
    task: int | None = None,
) -> Batch:
    """Draw ``n`` images, each with the class and the task that it was asked for.

    Without class prior and gates nothing can be asked for, and the network labels its draws.

    Raises
    ------
    LookupError
        If nothing that fits has been learnt, or cannot be asked for.
    """
    conditional = past.network.conditional
    if not conditional and (classes, task) != (None, None):
        raise LookupError("without class prior and gates no class or task can be asked for")
    wanted = past.learnt.choose(n, draws, classes=classes, task=task)
    x = past.draw(wanted, draws)
    if conditional:
        return Batch(_pictures(x), wanted.y, wanted.task)
    return Batch(_pictures(x), past.labels(x, wanted))


def labelled(past: Past, n: int, draws: torch.Generator) -> Replayed:
    """Draw ``n`` items, at the depth of replay, with the classes that the network gives them."""
    wanted, depth = past.learnt.choose(n, draws), past.network.depth
    x = past.draw(wanted, draws)
    task = wanted.task if past.network.conditional else None
    y = past.labels(x, wanted)
    return Replayed(Batch(x if depth else _pictures(x), y, task), depth)


def _pictures(x: Tensor) -> Tensor:
    """Turn images in [0, 1] into uint8."""
    return x.mul(255).round_().to(torch.uint8)
