"""Copies of a network as it was."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def frozen_copy(module: M) -> M:
    """Copy a module as it is now: it learns nothing more, and is in eval mode.

    What the original no longer learns itself, it shares with its copy: frozen blocks are not kept
    twice. Everything else is cloned, statistics of batch norm included.
    """
    shared: dict[int, Any] = {
        id(parameter): parameter for parameter in module.parameters() if not parameter.requires_grad
    }
    duplicate = copy.deepcopy(module, dict(shared))
    duplicate.requires_grad_(False)
    return duplicate.eval()
