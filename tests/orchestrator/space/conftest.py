"""A search space that is valid, and what is told of it once something in it is replaced."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.plan import make_plan
from orchestrator.space.problems import InvalidFile

VALID = """\
name: valid
dataset: split-digits
scenario: class-incremental
tasks: 5
network: {name: mlp, widths: [20, 20]}
optimizer: {name: adam, lr: 1e-3}
budget: {iterations: 5, batch_size: 8}
freeze_depth: [0, 1]
buffer_size: [50, 200]
method:
  - naive
  - replay: {memory.policy: reservoir}
  - joint
seed: 0..2
resources: {cpus: 1}
"""


def complaints_of(path: Path) -> list[str]:
    try:
        make_plan(path, path.parent)
    except InvalidFile as error:
        return str(error).splitlines()
    return []


@pytest.fixture
def valid() -> str:
    """The search space."""
    return VALID


@pytest.fixture
def complaints() -> Callable[[Path], list[str]]:
    """Tells what is wrong with a search space, line by line: ``complaints(path)``."""
    return complaints_of


@pytest.fixture
def assert_told(write: Callable[..., Path]) -> Callable[..., None]:
    """Replaces one text by another: ``assert_told("tasks: 5", "tusks: 5", [(4, "tusks", "…")])``.

    What is expected are line, key and what else the message must say, of each problem.
    """

    def check(old: str, new: str, expected: list[tuple[int, str, str]]) -> None:
        assert VALID.count(old) == 1
        path = write(VALID.replace(old, new))
        found = complaints_of(path)
        assert len(found) == len(expected), found
        for text, (line, key, rest) in zip(found, expected, strict=True):
            assert text.startswith(f"{path}:{line}: {key}"), text
            assert text.removeprefix(f"{path}:{line}: {key}")[:1] in {":", ";"}, text
            assert rest in text

    return check
