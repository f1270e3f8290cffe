"""Squares of the gradients of single examples, summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from methods.core.classifier import Network
from methods.core.training import masked_cross_entropy

#: Numbers in the gradients that are held at once: few enough to stay in the processor's cache.
_HELD_AT_ONCE = 1 << 23

#: What a fully connected layer was given and what it made of it, by name and call.
_Calls = dict[str, list[tuple[Tensor, Tensor]]]


def squared_gradients(
    network: Network, entry: int, x: Tensor, y: Tensor, eligible: Tensor, weight: Tensor
) -> dict[str, Tensor]:
    """Return Σ over examples of weight × (∂ log p(y|x) / ∂θ)², for all parameters that learn.

    The gradient of a fully connected layer for one example is g aᵀ, with a what it was given and g
    the gradient of its output, so that its squares add up to one product of matrices, (g²)ᵀ a²
    (Goodfellow 2015, arXiv:1510.01799). For other layers the gradients are made and squared.

    Parameters
    ----------
    network : Network
        In eval mode, so that no example depends on another.
    entry : int
        Depth at which ``x`` enters the network.
    x : Tensor
        ``[B, *shapes[entry]]``.
    y : Tensor
        int64 ``[B]``, each an eligible class.
    eligible : Tensor
        bool ``[B, classes]``: the classes that the softmax runs over.
    weight : Tensor
        float ``[B]``.

    Returns
    -------
    dict of str to Tensor
        By name of the parameter, each of its shape.
    """
    learning = {name: p.detach() for name, p in network.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in learning.items()}
    for name, a, g in _dense_layers(network, entry, x, y, eligible):
        squares = g.square() * weight.unsqueeze(1)
        of_layer = {f"{name}.weight": squares.T @ a.square(), f"{name}.bias": squares.sum(0)}
        for part in of_layer.keys() & learning.keys():  # there may be no bias
            total[part] = of_layer[part]
            del learning[part]
    if not learning:
        return total

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor, eligible: Tensor) -> Tensor:
        logits = functional_call(network, parameters, (x.unsqueeze(0), entry))
        return masked_cross_entropy(logits, y.unsqueeze(0), eligible.unsqueeze(0))

    of_each = vmap(grad(loss), (None, 0, 0, 0))
    at_once = max(1, _HELD_AT_ONCE // sum(p.numel() for p in learning.values()))
    for start in range(0, len(x), at_once):
        rows = slice(start, start + at_once)
        with torch.no_grad():  # the dense layers' weights, of which this is a function too, learn
            gradients = of_each(learning, x[rows], y[rows], eligible[rows])
        for name, gradient in gradients.items():
            total[name] += torch.tensordot(weight[rows], gradient.square_(), 1)
    return total


def _dense_layers(
    network: Network, entry: int, x: Tensor, y: Tensor, eligible: Tensor
) -> list[tuple[str, Tensor, Tensor]]:
    """Return name, input ``[B, in]`` and gradient of the output ``[B, out]`` of layers.

    Of those fully connected layers for which the product of matrices is right: that learn as a
    whole, share nothing and see each example once, as one row.
    """
    uses = Counter(id(p) for module in network.modules() for p in module.parameters(recurse=False))
    layers = {
        name: module
        for name, module in network.named_modules()
        if type(module) is nn.Linear
        and all(p.requires_grad and uses[id(p)] == 1 for p in module.parameters())
    }
    with _listening(layers) as calls, torch.enable_grad():
        loss = masked_cross_entropy(network(x, entry), y, eligible) * len(y)
    once = {name: of[0] for name, of in calls.items() if len(of) == 1 and of[0][0].dim() == 2}
    if not once:
        return []
    gradients = torch.autograd.grad(loss, [output for _, output in once.values()])
    return [(name, a, g) for (name, (a, _)), g in zip(once.items(), gradients, strict=True)]


@contextmanager
def _listening(layers: dict[str, nn.Linear]) -> Iterator[_Calls]:
    """Note what layers are given and what they make of it."""
    calls: _Calls = {name: [] for name in layers}

    def note(name: str, module: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor:
        calls[name].append((given[0].detach(), output))
        return output.clone()  # an activation in place would take the noted one along

    hooks = [layer.register_forward_hook(partial(note, name)) for name, layer in layers.items()]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()
