"""How many bytes an object keeps alive."""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Shorter runs of plain numbers are settings; longer ones are data in disguise.
_SETTINGS = 64
_NUMBERS = (int, float, complex)
_OPAQUE = (*_NUMBERS, type, types.ModuleType, torch.dtype, torch.device, str, type(None))


def reachable_bytes(root: object, seen: set[int] | None = None) -> int:
    """Add up the storage that is reachable from an object, each storage once.

    Counts tensors (whole storages, gradients included), numpy arrays, bytes, and long lists, tuples
    or dicts of plain numbers at 8 bytes each; follows attributes, slots, containers, closures,
    bound methods and default arguments. Classes and modules are not entered.

    Parameters
    ----------
    root : object
    seen : set of int, optional
        Identities of what has been counted already; extended in place.
    """
    seen = set() if seen is None else seen
    total = 0
    alive: list[object] = []  # temporaries must not die while their id() stands in `seen`
    stack = [root]
    while stack:
        thing = stack.pop()
        if isinstance(thing, _OPAQUE):
            continue
        if isinstance(thing, Tensor):
            total += _tensor_bytes(thing, seen)
            if thing.grad is not None:
                stack.append(thing.grad)
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        alive.append(thing)
        if isinstance(thing, np.ndarray):
            base = thing
            while isinstance(base.base, np.ndarray):
                base = base.base
            if base is thing or id(base) not in seen:
                seen.add(id(base))
                total += base.nbytes
        elif isinstance(thing, (bytes, bytearray, memoryview)):
            total += len(thing)
        else:
            parts = list(_parts(thing))
            numbers = sum(isinstance(part, _NUMBERS) for part in parts)
            total += 8 * numbers if numbers > _SETTINGS else 0
            stack.extend(parts)
    return total


def _tensor_bytes(tensor: Tensor, seen: set[int]) -> int:
    storage = tensor.untyped_storage()
    key = -storage.data_ptr() - 1  # negative: never equal to an id()
    if storage.nbytes() == 0 or key in seen:
        return 0
    seen.add(key)
    return storage.nbytes()


def _parts(thing: Any) -> Iterable[object]:
    """Yield what an object refers to, one step away."""
    if isinstance(thing, Mapping):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, (list, tuple, set, frozenset, deque)):
        yield from thing
    elif isinstance(thing, types.FunctionType):
        yield from (cell.cell_contents for cell in thing.__closure__ or () if _filled(cell))
        yield from thing.__defaults__ or ()
        yield from (thing.__kwdefaults__ or {}).values()
    elif isinstance(thing, types.MethodType):
        yield thing.__self__
        yield thing.__func__
    if hasattr(thing, "__dict__"):
        yield vars(thing)
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if hasattr(thing, slot):
                yield getattr(thing, slot)
    if hasattr(thing, "func") and hasattr(thing, "args"):  # functools.partial
        yield from (thing.func, thing.args, getattr(thing, "keywords", None))


def _filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018 - reading an empty cell is what raises
    except ValueError:
        return False
    return True
