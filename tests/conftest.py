"""Marks the tests that run sweeps: ``make test`` runs these beside all others, on two cores."""

from __future__ import annotations

import signal

import pytest

#: What starts processes that take all cores: whoever uses one of these sweeps.
SWEEPING = frozenset({"engram", "reader", "swept"})
#: Modules that start Ray themselves.
STARTS_RAY = frozenset({"test_local_ray", "test_machines", "test_secrets"})


def pytest_configure() -> None:
    """Let tests interrupt what they start, where this is a background job, which ignores that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test that sweeps."""
    used = set(getattr(item, "fixturenames", ()))
    if used & SWEEPING or item.path.stem in STARTS_RAY:
        item.add_marker("sweeps")
