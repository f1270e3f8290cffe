"""Help of each command, with an example that is understood."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

COMMANDS = (
    ["plan"],
    ["run"],
    ["leaderboard"],
    ["show"],
    ["why"],
    ["sample"],
    ["check"],
    ["list"],
    ["data", "list"],
    ["data", "prepare"],
    ["data", "add"],
    ["ui"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_the_command_understands(
    command: list[str], answer: Callable[..., Any]
) -> None:
    given = answer(*command, "--help")
    assert given.status == 0
    (example,) = re.findall(r"Example: engram (.*)", given.out)
    assert example.split()[: len(command)] == command
    options = {word for word in example.split() if word.startswith("--")}
    assert options <= set(re.findall(r"--[a-z]+", given.out))


def test_help_lists_the_commands(answer: Callable[..., Any]) -> None:
    for given in (answer("--help"), answer("-h")):
        assert given.status == 0
        for command in COMMANDS:
            assert re.search(rf"(?m)^  {command[0]} +[A-Z]", given.out)


def test_a_command_that_needs_another_shows_help(answer: Callable[..., Any]) -> None:
    for arguments in ([], ["data"]):
        given = answer(*arguments)
        assert given.status == 2
        assert given.err.startswith("Usage: engram")
        assert "prepare" in given.err or "leaderboard" in given.err
