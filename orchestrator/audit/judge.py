"""A judge: a network that knows the real classes of a whole stream, and is no part of a method."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.core.rng import Rng
from methods.core.training import Budget
from methods.networks import Backbone, Mlp, NetworkConfig
from orchestrator.audit.real import RealItems, real_items
from orchestrator.data.streams import TaskStream

#: Real images of a training step.
_BATCH = 128
_LEARNING_RATE = 1e-3
#: Items that activations are standardised by. To each deviation a share of that of all values is
#: added: what hardly varies is not blown up.
_STANDARD_ITEMS, _FLOOR = 500, 0.1

#: Carries images to the depth at which something is replayed.
Encode = Callable[[Tensor], Tensor]


class Judge:
    """A trained classifier of what lies at some depth.

    Parameters
    ----------
    backbone : Backbone
        Its blocks from ``start`` on are trained.
    head : nn.Linear
    start : int
        The depth of the network at which items enter.
    flat : bool
        Whether items enter as vectors.
    standard : tuple of Tensor, optional
        What is taken from each value of an item, and what it is then divided by.
    """

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Linear,
        start: int,
        flat: bool,
        standard: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        self.backbone, self.head, self.start, self.flat = backbone, head, start, flat
        self.standard = standard

    @torch.no_grad()
    def features(self, z: Tensor) -> Tensor:
        """Return what the head reads: float ``[N, F]``."""
        return self._features(z)

    @torch.no_grad()
    def labels(self, features: Tensor) -> Tensor:
        """Return the class that features are taken for: int64 ``[N]``, of all in the stream."""
        found: Tensor = self.head(features).argmax(1)
        return found

    def _features(self, z: Tensor) -> Tensor:
        if self.standard is not None:
            z = (z - self.standard[0]) / self.standard[1]
        return self.backbone.run(z.flatten(1) if self.flat else z, self.start).flatten(1)

    def fit(self, items: RealItems, encode: Encode, iterations: int, rng: Rng) -> None:
        """Train on real items with Adam and cross-entropy, then stay in eval mode."""
        learning = [*self.backbone.blocks[self.start :].parameters(), *self.head.parameters()]
        optimizer = torch.optim.Adam(learning, _LEARNING_RATE, fused=True)
        budget = Budget(iterations=iterations, batch_size=_BATCH)
        self.backbone.train()
        for rows in budget.batches(len(items.x), rng.generator("order")):
            at = rows.to(items.x.device)
            logits = self.head(self._features(encode(items.x[at])))
            loss = functional.cross_entropy(logits, items.y[at])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        self.backbone.eval()


def train_judge(
    stream: TaskStream,
    network: NetworkConfig | None,
    depth: int,
    encode: Encode,
    iterations: int,
) -> Judge:
    """Train a judge of what ``encode`` makes of a stream's images, with generators of its own.

    Activations are standardised value by value: their scale, which is any, would slow training.

    Parameters
    ----------
    stream : TaskStream
    network : NetworkConfig, optional
        The method's; its blocks from ``depth`` on are built anew. Where there is none, no block is
        left, or items are not what it has at ``depth``, two layers of 400 take them as vectors.
    depth : int
        Where items enter the network.
    encode : callable
        Carries images, uint8 ``[B, C, H, W]``, to that depth, without gradients.
    iterations : int
        Steps of training.
    """
    items = real_items(stream)
    rng = Rng(0, "audit judge")
    with rng.scoped("training", stream.device):
        some = encode(items.sample(stream.info.tasks, _STANDARD_ITEMS, rng.generator("some")).x)
        standard, shape = _standard(some) if depth else None, tuple(some.shape[1:])
        backbone = None if network is None else network.build(stream.info.shape)
        fits = backbone is not None and depth < backbone.depth and shape == backbone.shapes[depth]
        if backbone is None or not fits:
            backbone, depth = Mlp().build((1, 1, int(torch.Size(shape).numel()))), 0
        head = nn.Linear(backbone.features, stream.info.classes)
        judge = Judge(backbone.to(stream.device), head.to(stream.device), depth, not fits, standard)
        judge.fit(items, encode, iterations, rng)
    return judge


def _standard(z: Tensor) -> tuple[Tensor, Tensor]:
    deviation = z.std(0) + _FLOOR * z.std()
    return z.mean(0), torch.where(deviation > 0, deviation, 1.0)


# What it depends on is all in its arguments: every trial of a stream that replays images has it.
@lru_cache(maxsize=2)
def judge_of_images(stream: TaskStream, network: NetworkConfig | None, iterations: int) -> Judge:
    """Return the judge of a stream's images, trained once in a process."""
    return train_judge(stream, network, 0, lambda x: x, iterations)
