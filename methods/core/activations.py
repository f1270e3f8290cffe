"""Activations of a task's examples behind the frozen blocks, each computed once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from methods.core.task import Batch, Examples
from methods.networks.backbone import Backbone

#: Examples that go through the frozen blocks at once.
_CHUNK = 1024
#: Bytes of activations that are kept for the length of a task; more are computed when they are
#: asked for.
_MOST_KEPT = 1 << 30


class Activations:
    """Examples carried to a depth of a backbone whose blocks up to there no longer learn.

    What frozen blocks make of an image never changes, so one forward pass of each image serves
    all epochs of the task, and the memory after it.

    Parameters
    ----------
    examples : Examples
        Images.
    backbone : Backbone
        Frozen at least up to ``depth``.
    depth : int
        At least 1.
    device : torch.device
        Where the examples live.

    Raises
    ------
    ValueError
        If a block before ``depth`` still learns.
    """

    def __init__(
        self, examples: Examples, backbone: Backbone, depth: int, device: torch.device
    ) -> None:
        if not 1 <= depth <= backbone.frozen:
            raise ValueError(
                f"activations at depth {depth} change while the network learns: "
                f"its first {backbone.frozen} blocks are frozen"
            )
        self.examples, self.backbone, self.depth, self.device = examples, backbone, depth, device
        size = 4 * math.prod(backbone.shapes[depth]) * len(examples)
        self._kept = self._all() if size <= _MOST_KEPT else None

    def __len__(self) -> int:
        return len(self.examples)

    def gather(self, index: Tensor) -> Batch:
        """Return rows; ``x`` is float ``[B, *shapes[depth]]``."""
        if self._kept is None:
            return self._carried(self.examples.gather(index))
        x, y, task, logits = self._kept
        return Batch(
            x[index],
            None if y is None else y[index],
            None if task is None else task[index],
            None if logits is None else logits[index],
        )

    @torch.no_grad()
    def _carried(self, batch: Batch) -> Batch:
        return batch._replace(x=self.backbone.run(batch.x, 0, self.depth))

    def _all(self) -> Batch:
        rows = torch.arange(len(self), device=self.device)
        parts = [self._carried(self.examples.gather(part)) for part in torch.split(rows, _CHUNK)]
        columns = zip(*parts, strict=True)
        return Batch(*(None if c[0] is None else torch.cat(c) for c in columns))  # type: ignore[arg-type]
