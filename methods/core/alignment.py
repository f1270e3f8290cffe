"""How far embeddings have moved from where they were."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

#: How the distance of two embeddings is measured.
DistanceKind = Literal["cosine", "euclidean"]


def embedding_distance(now: Tensor, before: Tensor, kind: DistanceKind) -> Tensor:
    r"""Mean distance of embeddings from those of the same items before, a scalar of at least 0.

    ``cosine`` is :math:`1 - \cos(e, e')`, computed as half the squared distance of the normalised
    vectors: the same number, but exactly 0, with no gradient, where nothing has moved. A vector of
    zeros has no direction: its row counts as 0 and pulls nowhere. ``euclidean`` is
    :math:`\lVert e - e' \rVert`, not squared; its gradient is 0 where nothing has moved.

    Parameters
    ----------
    now, before : Tensor
        float ``[B, features]``, B at least 1, row by row of the same items.
    kind : str
    """
    if kind == "euclidean":
        lengths: Tensor = torch.linalg.vector_norm(now - before, dim=1)
        return lengths.mean()
    directed = now.any(1) & before.any(1)
    apart = functional.normalize(now, dim=1) - functional.normalize(before, dim=1)
    return (apart.square().sum(1) / 2).masked_fill(~directed, 0).mean()
