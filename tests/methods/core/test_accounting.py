"""Bytes that an object keeps alive, wherever they hide."""

from __future__ import annotations

import array
import functools
import weakref
from collections import OrderedDict, deque
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from methods.core.accounting import reachable_bytes

IMAGE = torch.arange(64, dtype=torch.uint8).view(1, 8, 8)


class Thing:
    """Holds whatever it is given."""

    def __init__(self, **parts: Any) -> None:
        vars(self).update(parts)

    def show(self) -> None:
        """Do nothing, bound to its owner."""


class Slotted:
    __slots__ = ("image", "unset")

    def __init__(self, image: Any) -> None:
        self.image = image


def with_default(image: Any = IMAGE, *, more: Any = None) -> Any:
    return image, more


def closure(image: Any) -> Any:
    return lambda: image


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        (torch.zeros(10), 40),
        (torch.zeros(10, dtype=torch.float16), 20),
        (torch.zeros(10)[:2], 40),
        (torch.zeros(0), 0),
        (nn.Linear(3, 5), 4 * (3 * 5 + 5)),
        (np.zeros(10), 80),
        (np.zeros(10)[2:4], 80),
        (np.array([IMAGE, None], dtype=object), 16 + 64),
        (np.frombuffer(b"x" * 16), 16),
        (torch.zeros(10).numpy(), 40),
        (b"x" * 70, 70),
        (bytearray(5), 5),
        (memoryview(np.zeros((2, 3))), 48),
        (array.array("h", [1] * 9), 18),
        ("x" * 64, 64),
        (IMAGE.flatten().tolist(), 8 * 64),
        (IMAGE.tolist(), 8 * 64),
        (tuple(IMAGE.flatten().tolist()), 8 * 64),
        (deque(range(100)), 8 * 100),
        (set(range(100)), 8 * 100),
        (dict.fromkeys(range(100), 0.5), 8 * 200),
        ([{"row": row} for row in IMAGE[0].tolist()], 8 * 64),
        (list(IMAGE.flatten().numpy()), 8 * 64),
        (2**512, 64),
        ([IMAGE, (IMAGE, {"image": IMAGE})], 64),
        (OrderedDict(image=IMAGE), 64),
        (Thing(image=IMAGE), 64),
        (Thing(**{f"pixel{i}": i for i in range(64)}), 8 * 64),
        (Thing(inner=Thing(image=IMAGE)).inner.show, 64),
        (Slotted(IMAGE), 64),
        (closure(IMAGE), 64),
        (with_default, 64),
        (functools.partial(print, IMAGE, end=b"x" * 3), 67),
    ],
)
def test_what_counts(thing: object, expected: int) -> None:
    assert reachable_bytes(thing) == expected
    assert reachable_bytes(Thing(part=thing)) == expected
    assert reachable_bytes([thing, [thing]]) == expected


@pytest.mark.parametrize(
    "thing",
    [
        None,
        3,
        2**63,
        "a name",
        torch.float32,
        torch.device("cpu"),
        torch,
        Thing,
        list(range(63)),
        weakref.ref(IMAGE),
    ],
)
def test_what_does_not_count(thing: object) -> None:
    assert reachable_bytes(thing) == 0


def test_settings_of_several_objects_are_no_run() -> None:
    assert reachable_bytes([Thing(sizes=list(range(40))) for _ in range(10)]) == 0
    assert reachable_bytes(Thing(sizes=list(range(40)), others=list(range(40)))) == 0


def test_a_storage_counts_once() -> None:
    x = torch.zeros(10)
    assert reachable_bytes([x, x[:3], x.view(2, 5), x.detach(), x.numpy(), x[2:].numpy()]) == 40


def test_numpy_views_count_their_whole_array_once() -> None:
    x = np.zeros(10)
    assert reachable_bytes([x[:2], x, x[5:][1:]]) == 80


def test_gradients_count() -> None:
    layer = nn.Linear(2, 2, bias=False)
    layer(torch.ones(1, 2)).sum().backward()
    assert reachable_bytes(layer) == 2 * 16


def test_cycles_end() -> None:
    a: list[Any] = [IMAGE]
    a.append(a)
    b = Thing(other=a)
    a.append(b)
    assert reachable_bytes(b) == 64


def test_what_was_seen_is_not_counted_again() -> None:
    seen: set[int] = set()
    x = torch.zeros(10)
    assert [reachable_bytes(thing, seen) for thing in ([x], [x, IMAGE], IMAGE)] == [40, 64, 0]


def test_an_optimizer_holds_its_moments() -> None:
    layer = nn.Linear(4, 4, bias=False)
    optimizer = torch.optim.Adam(layer.parameters(), fused=True)
    layer(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    assert reachable_bytes(layer) == 64
    assert reachable_bytes(optimizer) == 3 * 64 + 4  # weights, two moments, the step
