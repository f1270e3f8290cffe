from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from orchestrator.leaderboard.surface import Budget, Place, Surface, place, surfaces

BUFFER = {"name": "buffer", "policy": "class-balanced"}


def spot(
    method: str = "latent-replay",
    frozen: int = 0,
    depth: int | None = None,
    size: int | None = 100,
    memory: Mapping[str, Any] | None = BUFFER,
    setup: Mapping[str, Any] | None = None,
    **other: Any,
) -> Place:
    options = {"freeze_depth": frozen, "depth": frozen if depth is None else depth} | other
    if memory:
        options |= {"memory": memory, "buffer_size": size, "per_class": None}
    config = {"method": method, "options": options}
    found = place(method, json.dumps(config), json.dumps({"tasks": 5} | dict(setup or {})))
    assert found is not None
    return found


def found(*spots: Place) -> list[Surface]:
    return surfaces(dict(enumerate(spots)))


def test_where_a_record_lies() -> None:
    options = {
        "freeze_depth": 2,
        "depth": 1,
        "memory": {"name": "gmm", "components": 3},
        "buffer_size": 600,
        "per_class": None,
        "optimizer": {"name": "adam", "lr": 0.01},
    }
    setup = {"tasks": 5, "optimizer": {"name": "adam", "lr": 0.01}}
    one = place("glr", json.dumps({"options": options}), json.dumps(setup))
    assert one is not None
    assert (one.memory, one.freeze_depth, one.depth) == ("gmm", 2, 1)
    assert one.budget == Budget(600, "")
    assert one.rest == {
        "components": "3",
        "optimizer.name": '"adam"',
        "optimizer.lr": "0.01",
        "tasks": "5",
    }


@pytest.mark.parametrize(
    ("options", "memory", "depth", "budget"),
    [
        ({"buffer_size": 30, "per_class": None}, "buffer", 0, "30"),
        ({"buffer_size": None, "per_class": 20}, "buffer", 0, "20 a class"),
        ({"memory": {"name": "gmm"}, "depth": None}, "gmm", 2, "none stored"),
        ({"buffer_size": 15_000, "depth": 1}, "buffer", 1, "15,000"),
        ({}, None, 0, "none stored"),
    ],
)
def test_records_with_and_without_memory_depth_and_budget(
    options: dict[str, Any], memory: str | None, depth: int, budget: str
) -> None:
    one = place("replay", json.dumps({"options": {"freeze_depth": 2} | options}), "{}")
    assert one is not None
    assert (one.memory, one.depth, one.budget.text) == (memory, depth, budget)


def test_methods_that_cannot_be_frozen_have_no_place() -> None:
    assert place("odd", json.dumps({"options": {"buffer_size": 30}}), "{}") is None


def test_named_points_of_rehearsal_share_the_surface_of_their_memory() -> None:
    (surface,) = found(
        spot("replay", 0, size=30),
        spot("replay", 0, size=100),
        spot("latent-replay", 1, size=30),
        spot("latent-replay", 2, size=100),
    )
    assert (surface.method, surface.memory, surface.settings) == ("rehearsal", "buffer", "")
    assert surface.depths == (0, 1, 2)
    assert [budget.text for budget in surface.budgets] == ["30", "100"]
    cells = {(budget.size, depth): i for (budget, depth), i in surface.cells.items()}
    assert cells == {(30, 0): 0, (100, 0): 1, (30, 1): 2, (100, 2): 3}
    assert surface.controls == {}


def test_each_memory_and_each_method_has_its_own() -> None:
    gmm = {"name": "gmm"}
    shown = found(
        *(spot("glr", f, memory=gmm) for f in (1, 2)),
        *(spot("latent-replay", f) for f in (1, 2)),
        *(spot("er-ace", f) for f in (1, 2)),
    )
    assert [(s.method, s.memory) for s in shown] == [
        ("er-ace", "buffer"),
        ("rehearsal", "buffer"),
        ("rehearsal", "gmm"),
    ]


def test_a_single_cell_is_no_surface() -> None:
    assert found(spot(frozen=1), spot("naive", 0, memory=None), spot("naive", 1, memory=None)) == []
    assert len(found(spot(frozen=1), spot(frozen=1, size=30))) == 1
    assert len(found(spot(frozen=1), spot(frozen=2))) == 1


def test_nothing_is_pooled_over_other_settings() -> None:
    reservoir = {"name": "buffer", "policy": "reservoir"}
    shown = found(
        *(spot(frozen=f) for f in (0, 1)),
        *(spot(frozen=f, memory=reservoir) for f in (0, 1)),
        *(spot(frozen=f, replay_batch=8) for f in (0, 1)),
    )
    assert [s.settings for s in shown] == [
        "policy=class-balanced",
        "policy=class-balanced, replay_batch=8",
        "policy=reservoir",
    ]
    assert [sorted(s.cells.values()) for s in shown] == [[0, 1], [4, 5], [2, 3]]


def test_setups_are_settings_too() -> None:
    shown = found(
        *(spot(frozen=f, setup={"tasks": 5}) for f in (0, 1)),
        *(spot(frozen=f, setup={"tasks": 10}) for f in (0, 1)),
    )
    assert [s.settings for s in shown] == ["tasks=10", "tasks=5"]


def test_replay_of_images_lies_apart_from_replay_at_the_freeze_depth() -> None:
    shown = found(
        spot(frozen=0),
        spot(frozen=1),
        spot(frozen=2),
        spot(frozen=1, depth=0),
        spot(frozen=2, depth=0),
    )
    cells = {s.settings: {d: i for (_, d), i in s.cells.items()} for s in shown}
    assert cells == {
        "replay at the freeze depth": {0: 0, 1: 1, 2: 2},
        "replay of images": {0: 0, 1: 3, 2: 4},
    }


def test_replay_of_images_alone_needs_no_name() -> None:
    (surface,) = found(spot(frozen=0), spot(frozen=1, depth=0), spot(frozen=2, depth=0))
    assert surface.settings == ""
    assert surface.depths == (0, 1, 2)


def test_methods_without_a_memory_are_the_control_row() -> None:
    (surface,) = found(
        *(spot(frozen=f, setup={"code": "of replay"}) for f in (0, 1)),
        *(spot("naive", f, memory=None, setup={"code": "of naive"}) for f in (0, 1, 2)),
        spot("joint", 0, memory=None),
    )
    assert surface.controls == {("naive", 0): 2, ("naive", 1): 3}


def test_controls_under_other_conditions_are_none() -> None:
    (surface,) = found(
        *(spot(frozen=f, setup={"tasks": 5}) for f in (0, 1)),
        *(spot("naive", f, memory=None, setup={"tasks": 10}) for f in (0, 1)),
    )
    assert surface.controls == {}


def test_of_controls_that_could_both_be_meant_none_is_shown() -> None:
    (surface,) = found(
        *(spot(frozen=f) for f in (0, 1)),
        *(spot("ewc", f, memory=None, strength=1) for f in (0, 1)),
        *(spot("ewc", f, memory=None, strength=10) for f in (0, 1)),
        *(spot("naive", f, memory=None) for f in (0, 1)),
    )
    assert {method for method, _ in surface.controls} == {"naive"}
