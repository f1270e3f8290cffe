"""Two workers share the tests: one the sweeps, one after the other, and the other all the rest."""

from __future__ import annotations

import pytest

#: What starts processes that take all cores, or a server: whoever uses one of these sweeps.
SWEEPING = frozenset({"built", "engram", "reader", "s3", "server", "swept"})
#: Modules that start Ray themselves.
STARTS_RAY = frozenset({"test_local_ray", "test_machines", "test_secrets"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put sweeps into one group, which comes first; every other module is a group of its own."""

    def sweeps(item: pytest.Item) -> bool:
        used = set(getattr(item, "fixturenames", ()))
        return bool(used & SWEEPING) or item.path.stem in STARTS_RAY

    for item in items:
        group = "sweeps" if sweeps(item) else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=lambda item: not sweeps(item))
