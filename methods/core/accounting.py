"""How many bytes an object keeps alive."""

from __future__ import annotations

import array
import types
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Shorter runs of plain numbers are settings; these and longer ones are data in disguise. One of
#: the smallest images in use, 8 × 8 pixels, is exactly as long.
_SETTINGS = 64
_NUMBERS = (int, float, complex, np.number)
_BUFFERS = (bytes, bytearray, memoryview, array.array)
_CONTAINERS = (Mapping, list, tuple, set, frozenset, deque)
_OPAQUE = (type, types.ModuleType, torch.dtype, torch.device, type(None))


def reachable_bytes(root: object, seen: set[int] | None = None) -> int:
    """Add up the storage that is reachable from an object, each storage once.

    Counts tensors (whole storages, gradients included), numpy arrays, bytes, long strings, and long
    runs of plain numbers at 8 bytes each, where a run is a container with all containers in it, or
    the attributes of one object. Follows attributes, slots, containers, closures, bound methods and
    default arguments. Classes and modules are not entered.

    Parameters
    ----------
    root : object
    seen : set of int, optional
        Identities of what has been counted already; extended in place.
    """
    seen = set() if seen is None else seen
    total = 0
    runs: list[int] = [0]  # numbers in each run
    alive: list[object] = []  # temporaries must not die while their id() stands in `seen`
    stack: list[tuple[object, int | None]] = [(root, 0)]  # with the run that the thing belongs to
    while stack:
        thing, run = stack.pop()
        if isinstance(thing, _OPAQUE):
            continue
        long = isinstance(thing, int) and thing.bit_length() > 64  # bytes, read as one number
        if isinstance(thing, _NUMBERS) and not long:
            runs[run or 0] += 1
            continue
        if isinstance(thing, Tensor):
            storage = thing.untyped_storage()
            total += _once(storage.data_ptr(), storage.nbytes(), seen)
            stack.append((thing.grad if thing.is_leaf else None, None))
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        alive.append(thing)
        if isinstance(thing, np.ndarray):
            whole: Any = thing
            while isinstance(whole.base, np.ndarray):
                whole = whole.base
            if isinstance(whole.base, (Tensor, *_BUFFERS)):
                stack.append((whole.base, None))
            else:
                total += _once(whole.ctypes.data, whole.nbytes, seen)
            if thing.dtype.hasobject:
                stack.extend((part, None) for part in thing.flat)
        elif isinstance(thing, _BUFFERS):
            total += memoryview(thing).nbytes
        elif isinstance(thing, int):
            total += thing.bit_length() // 8
        elif isinstance(thing, str):
            total += len(thing) if len(thing) >= _SETTINGS else 0
        else:
            contained = isinstance(thing, _CONTAINERS)
            if run is None or not contained:
                run = len(runs)
                runs.append(0)
            for part in _parts(thing):
                stack.append((part, run if contained or isinstance(part, _NUMBERS) else None))
    return total + 8 * sum(numbers for numbers in runs if numbers >= _SETTINGS)


def _once(address: int, size: int, seen: set[int]) -> int:
    """Return the size of a storage that has not been counted yet, else 0."""
    key = -address - 1  # negative: never equal to an id()
    if size == 0 or key in seen:
        return 0
    seen.add(key)
    return size


def _parts(thing: Any) -> Iterable[object]:
    """Yield what an object refers to, one step away."""
    if isinstance(thing, Mapping):
        yield from thing.keys()
        yield from thing.values()
    elif isinstance(thing, _CONTAINERS):
        yield from thing
    elif isinstance(thing, types.FunctionType):
        yield from (cell.cell_contents for cell in thing.__closure__ or () if _filled(cell))
        yield from thing.__defaults__ or ()
        yield from (thing.__kwdefaults__ or {}).values()
    elif isinstance(thing, types.MethodType):
        yield thing.__self__
        yield thing.__func__
    if hasattr(thing, "__dict__"):
        yield from vars(thing).values()
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
