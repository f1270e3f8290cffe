"""The one module that imports torchvision."""

from __future__ import annotations

import functools
import importlib
import importlib.util
from importlib.machinery import PathFinder
from types import ModuleType

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


@functools.cache
def import_torchvision() -> ModuleType:
    """Import torchvision, also beside a PyTorch that its compiled operators do not fit.

    torchvision describes two of its operators to PyTorch while it is imported. Where its compiled
    library cannot be loaded, as beside a CPU-only PyTorch, these operators do not exist and the
    import fails with ``operator torchvision::nms does not exist``. There they are declared first,
    without an implementation: data sets, transforms and models then work, and box suppression
    fails only when it is called. Beside a matching build nothing is declared.

    Returns
    -------
    module
        ``torchvision``, with ``datasets``, ``models`` and ``transforms`` as its attributes.

    Raises
    ------
    ImportError
        If torchvision is not installed.
    """
    if not _operators_load():
        for operator in ("nms", "qnms"):
            if not hasattr(torch.ops.torchvision, operator):
                torch.library.define(f"torchvision::{operator}", _SCHEMA)
    return importlib.import_module("torchvision")


def _operators_load() -> bool:
    """Load torchvision's compiled operators, as torchvision itself does when it is imported."""
    package = importlib.util.find_spec("torchvision")
    if package is None:
        raise ImportError("torchvision is not installed", name="torchvision")
    library = PathFinder.find_spec("_C", list(package.submodule_search_locations or ()))
    if library is None or library.origin is None:
        return False
    try:
        torch.ops.load_library(library.origin)  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return True
