"""A classifier with feedback connections: a symmetrical variational autoencoder with a head."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.core.classifier import Network
from methods.core.task import StreamInfo
from methods.feedback.class_prior import ClassPrior, Code, StandardPrior
from methods.feedback.decoder import Decoder
from methods.networks import Backbone

#: Least variance of decoded activations: where all are 0, there is nothing to learn.
_LEAST_VARIANCE = 1e-8
#: Hidden layers of a decoder where the network has no fully connected ones to mirror.
_USUAL_WIDTHS = (400, 400)


def mirrored_widths(backbone: Backbone, depth: int) -> Sequence[int]:
    """Return the widths of the fully connected blocks behind a depth, the last one first."""
    flat = [shape[0] for shape in backbone.shapes[depth + 1 :] if len(shape) == 1]
    return flat[::-1] or _USUAL_WIDTHS


class Feedback(nn.Module):
    """What turns a classifier into an autoencoder of the items at a depth of it.

    The classifier's own layers behind that depth are the encoder's hidden layers. Added are layers
    from the last of them to the mean and the log-variance of the code, the code's prior, and a
    decoder.

    Parameters
    ----------
    features : int
        Units of the last hidden layer.
    item : tuple of int
        Shape of an item.
    images : bool
        Whether items are images in [0, 1], each pixel a Bernoulli variable's probability, or
        activations, each the mean of a normal variable. Those share one variance, the most likely
        in a batch (Rybkin et al. 2021, arXiv:2006.13257, section 3.2).
    prior : ClassPrior or StandardPrior
    decoder : Decoder
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        features: int,
        item: tuple[int, ...],
        images: bool,
        prior: ClassPrior | StandardPrior,
        decoder: Decoder,
    ) -> None:
        super().__init__()
        self.item, self.images = item, images
        self.code = nn.Linear(features, 2 * prior.dim)
        self.prior, self.decoder = prior, decoder
        if not images:  # of each value over all that was seen: draws are cut to it
            self.register_buffer("low", torch.full((self.values,), torch.inf))
            self.register_buffer("high", torch.full((self.values,), -torch.inf))

    @property
    def values(self) -> int:
        """Number of values of an item."""
        return math.prod(self.item)

    def encode(self, hidden: Tensor, noise: torch.Generator) -> Code:
        """Read the code off the last hidden layer, float ``[B, features]``, and draw from it."""
        mean, log_variance = self.code(hidden).chunk(2, 1)
        return Code.drawn(mean, log_variance, noise)

    @torch.no_grad()
    def see(self, items: Tensor) -> None:
        """Take note of the range of real items, float ``[B, *item]``."""
        if not self.images:
            low, high = items.flatten(1).aminmax(dim=0)
            self.low.copy_(self.low.minimum(low))
            self.high.copy_(self.high.maximum(high))

    def reconstruction(self, items: Tensor, code: Code, context: Tensor) -> Tensor:
        """Return -log p(x|z) of each item, up to a constant: float ``[B]``, in nats.

        Parameters
        ----------
        items : Tensor
            float ``[B, *item]``.
        code : Code
        context : Tensor
            float ``[B, contexts]``; see :class:`Decoder`.
        """
        decoded, target = self.decoder(code.z, context), items.detach().flatten(1)
        if self.images:
            loss = functional.binary_cross_entropy_with_logits(decoded, target, reduction="none")
        else:
            squares = functional.mse_loss(decoded, target, reduction="none")
            # Where all activations are small, one of 1 would drown what they say in noise.
            variance = squares.detach().mean().clamp_min(_LEAST_VARIANCE)
            loss = 0.5 * (squares / variance + variance.log())
        return loss.sum(1)

    def bound(
        self, errors: Tensor, code: Code, labels: Tensor, weights: tuple[float, float]
    ) -> dict[str, Tensor]:
        """Return both terms of the negative evidence lower bound per value of an item, scalars.

        Parameters
        ----------
        errors : Tensor
            float ``[B]``, of :meth:`reconstruction`.
        code : Code
        labels : Tensor
            Classes, int64 ``[B]``, or probabilities of the classes, float ``[B, classes]``.
        weights : tuple of float
            Of reconstruction and divergence.
        """
        divergences = self.prior.divergence(code, labels)
        return {
            "reconstruction": weights[0] * errors.mean() / self.values,
            "divergence": weights[1] * divergences.mean() / self.values,
        }

    @torch.no_grad()
    def draw(self, y: Tensor, context: Tensor, noise: torch.Generator) -> Tensor:
        """Draw an item of each class: float ``[B, *item]``; images lie in [0, 1].

        Parameters
        ----------
        y : Tensor
            int64 ``[B]``.
        context : Tensor
            float ``[B, contexts]``.
        noise : torch.Generator
        """
        decoded: Tensor = self.decoder(self.prior.draw(y, noise), context)
        items = decoded.sigmoid() if self.images else decoded.clamp(self.low, self.high)
        return items.reshape(-1, *self.item)


class FeedbackNetwork(Network):
    """A classifier whose layers behind a depth are also an encoder, with what decodes.

    Parameters
    ----------
    network : Network
        The classifier, which becomes a part of this one.
    stream : StreamInfo
    feedback : Feedback
    depth : int
        Depth of the items that are decoded.
    gate_by : str
        What contexts are: ``class`` or ``task``.
    """

    pure: Tensor

    def __init__(
        self, network: Network, stream: StreamInfo, feedback: Feedback, depth: int, gate_by: str
    ) -> None:
        super().__init__(network.backbone, stream)
        self.head, self.feedback = network.head, feedback
        self.depth, self.gate_by = depth, gate_by
        contexts = len(self.classes_of) if gate_by == "task" else self.classes_of.shape[1]
        self.register_buffer("pure", torch.eye(contexts), persistent=False)

    @property
    def conditional(self) -> bool:
        """Whether it can be asked for classes or tasks."""
        return isinstance(self.feedback.prior, ClassPrior) or self.feedback.decoder.gated

    def context(self, labels: Tensor, task: Tensor) -> Tensor:
        """Return what opens the decoder's gates for each item: float ``[B, contexts]``.

        Parameters
        ----------
        labels : Tensor
            Classes, int64 ``[B]``, or probabilities of the classes, float ``[B, classes]``.
        task : Tensor
            int64 ``[B]``.
        """
        if self.gate_by == "task":
            return self.pure[task]
        return labels if labels.ndim > 1 else self.pure[labels]
