"""Mistakes in the list of methods, and in their own entries."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from methods.core.registry import method_names

#: Those that a mistake names.
FIRST_METHODS = ", ".join(method_names()[:5])

#: What is replaced by what; then line, key and what else the message must say, of each problem.
MISTAKES: dict[str, tuple[str, str, list[tuple[int, str, str]]]] = {
    "unknown key in an entry": (
        "memory.policy: reservoir",
        "memory.polcy: reservoir",
        [(12, "replay.memory.polcy", "unknown key; did you mean 'policy'?")],
    ),
    "misspelt method": (
        "- joint",
        "- jiont",
        [(13, "method[2]", "no method is called 'jiont'; did you mean 'joint'?")],
    ),
    "misspelt method with options": (
        "- replay: {memory.policy: reservoir}",
        "- repaly: {memory.policy: reservoir}\n  - replay",
        [(12, "repaly", "no method is called 'repaly'; did you mean 'replay'?")],
    ),
    "misspelt policy": (
        "memory.policy: reservoir",
        "memory.policy: reservior",
        [(12, "replay.memory.policy", "cannot be 'reservior'; did you mean 'reservoir'?")],
    ),
    "misspelt word among numbers": (
        "memory.policy: reservoir",
        "replay_loss: 1/T",
        [(12, "replay.replay_loss", "cannot be '1/T'; did you mean '1/t'?")],
    ),
    "number too large among words": (
        "memory.policy: reservoir",
        "replay_loss: 2.0",
        [(12, "replay.replay_loss", "should be less than 1, not 2.0")],
    ),
    "methods without brackets": (
        "- joint",
        "- joint, glr",
        [(13, "method[2]", "no method is called 'joint, glr'; write [joint, glr]")],
    ),
    "options beside their method": (
        "- replay: {memory.policy: reservoir}",
        "- replay:\n    memory.policy: reservoir",
        [(13, "memory.policy", "is no method; indent it, as an option of replay")],
    ),
    "empty axis in an entry": (
        "memory.policy: reservoir",
        "memory.policy: []",
        [(12, "replay.memory.policy", "is an empty list")],
    ),
    "too deep in an entry": (
        "memory.policy: reservoir",
        "freeze_depth: 3",
        [(12, "replay.freeze_depth", "freeze_depth 3 is deeper than the network")],
    ),
    "two budgets of memory": (
        "memory.policy: reservoir",
        "per_class: 5",
        [(12, "replay.per_class", "give buffer_size or per_class, not both")],
    ),
    "no method": (
        "method:\n  - naive\n  - replay: {memory.policy: reservoir}\n  - joint\n",
        "",
        [
            (
                1,
                "method",
                f"is missing; possible: {FIRST_METHODS}, ",
            )
        ],
    ),
    "empty list of methods": (
        "method:\n  - naive\n  - replay: {memory.policy: reservoir}\n  - joint\n",
        "method: []\n",
        [
            (
                10,
                "method",
                f"is an empty list; possible: {FIRST_METHODS}, ",
            )
        ],
    ),
    "options that are no mapping": (
        "{memory.policy: reservoir}",
        "500",
        [(12, "replay", "should hold options such as {buffer_size: 500}, not 500")],
    ),
    "list for a method": ("- naive", "- [naive]", [(11, "method[0]", "not ['naive']")]),
    "number for a method": ("- naive", "- 7", [(11, "method[0]", "should be a method's name")]),
    "nothing for a method": ("- naive", "-", [(11, "method[0]", "not null")]),
    "empty mapping for a method": ("- naive", "- {}", [(11, "method[0]", "not {}")]),
    "axis that no method uses": (
        "  - replay: {memory.policy: reservoir}\n",
        "",
        [
            (8, "freeze_depth", "put it into a method's own entry: joint: {freeze_depth: …}"),
            (9, "buffer_size", "glr, latent-replay, rehearsal, replay would"),
        ],
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_is_named_with_its_place(case: str, assert_told: Callable[..., None]) -> None:
    assert_told(*MISTAKES[case])
