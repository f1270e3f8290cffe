"""From a code back to an item, through layers that are gated by context."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn


def draw_gates(contexts: int, width: int, share: float, draws: torch.Generator) -> Tensor:
    """Draw which units of a layer are open in which context: float ``[contexts, width]``, 0 or 1.

    In each context the same number of units is closed: ``share`` of them, rounded.
    """
    place = torch.rand(contexts, width, generator=draws).argsort(1).argsort(1)
    return (place >= round(share * width)).float()


class Decoder(nn.Module):
    """Fully connected layers with ReLU from a code to an item; contexts gate the hidden ones.

    Parameters
    ----------
    dim : int
        Number of latent variables D.
    widths : sequence of int
        Units of the hidden layers, from the code on.
    outputs : int
        Values of an item.
    contexts : int
        Number of contexts; 0 where nothing is gated.
    share : float
        Share of each hidden layer's units that are closed in a context.
    draws : torch.Generator
        Decides which.
    """

    def __init__(
        self,
        dim: int,
        widths: Sequence[int],
        outputs: int,
        contexts: int,
        share: float,
        draws: torch.Generator,
    ) -> None:
        super().__init__()
        sizes = [dim, *widths]
        self.hidden = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.output = nn.Linear(sizes[-1], outputs)
        self.gated = contexts > 0
        for layer, width in enumerate(widths if self.gated else ()):
            gates = draw_gates(contexts, width, share, draws)
            self.register_buffer(f"gates_{layer}", gates)

    def gates(self, layer: int) -> Tensor:
        """Return the gates of a hidden layer: float ``[contexts, width]``."""
        return self.get_buffer(f"gates_{layer}")

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        """Decode codes, each in a mixture of contexts.

        Parameters
        ----------
        z : Tensor
            float ``[B, D]``.
        context : Tensor
            float ``[B, contexts]``, rows that sum to 1: a unit is as open as on average over the
            contexts.

        Returns
        -------
        Tensor
            float ``[B, outputs]``, before any last non-linearity.
        """
        for number, layer in enumerate(self.hidden):
            z = layer(z)
            if self.gated:
                z = z * (context @ self.gates(number))
            z = z.relu()
        out: Tensor = self.output(z)
        return out
