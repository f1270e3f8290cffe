from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from orchestrator.leaderboard import pool, to_html
from orchestrator.leaderboard.memory_map import MemoryMap, memory_maps
from orchestrator.leaderboard.surface import Place, place

Make = Callable[..., dict[str, Any]]
Node = Any

#: What methods are called at depth 0, and behind frozen blocks.
NAMES = {
    "buffer": ("replay", "latent-replay"),
    "gmm": ("rehearsal", "glr"),
    "vae": ("dgr", "glr"),
}


def options(memory: str | None, frozen: int, size: int = 100, **other: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"freeze_depth": frozen}
    if memory is not None:
        stored = size if memory == "buffer" else None
        kind = {"name": memory} | ({"components": 3} if memory == "gmm" else {})
        given |= {"depth": frozen, "memory": kind, "buffer_size": stored, "per_class": None}
    return given | {"variant": "corrected"} | other


def spot(memory: str | None, frozen: int, size: int = 100, code: str = "c", **other: Any) -> Place:
    method = NAMES[memory][frozen > 0] if memory else "naive"
    config = {"options": options(memory, frozen, size, **other)}
    found = place(method, json.dumps(config), json.dumps({"tasks": 5, "code": code}))
    assert found is not None
    return found


def found(*spots: Place) -> list[MemoryMap]:
    return memory_maps(dict(enumerate(spots)))


def test_named_points_stand_in_the_row_of_their_memory() -> None:
    spots = [spot(memory, f, code=f"of {memory}") for memory in NAMES for f in range(3)]
    (shown,) = found(*spots, *(spot(None, f, code="naive") for f in range(4)))
    assert (shown.method, shown.depths) == ("rehearsal", (0, 1, 2))
    rows = {(row.memory, row.settings): dict(row.cells) for row in shown.rows}
    assert rows == {
        ("buffer", "100 stored"): {0: 0, 1: 1, 2: 2},
        ("gmm", ""): {0: 3, 1: 4, 2: 5},
        ("vae", ""): {0: 6, 1: 7, 2: 8},
    }
    assert shown.controls == {("naive", 0): 9, ("naive", 1): 10, ("naive", 2): 11}
    assert shown.indices == set(range(9))


def test_memories_have_to_meet_at_two_depths() -> None:
    assert found(*(spot("buffer", f) for f in range(4))) == []
    assert found(spot("buffer", 0), spot("gmm", 1), spot("vae", 2)) == []
    assert found(spot("buffer", 1), spot("gmm", 1), spot("vae", 1), spot("vae", 2)) == []
    assert len(found(*(spot(m, f) for m in ("buffer", "gmm") for f in (1, 3)))) == 1


def test_memories_with_budgets_of_their_own_have_surfaces_instead() -> None:
    sizes = [spot("buffer", f, size) for f in (0, 1) for size in (30, 100)]
    (shown,) = found(*sizes, spot("gmm", 0), spot("gmm", 1))
    assert [(row.memory, row.settings) for row in shown.rows] == [
        ("buffer", "30 stored"),
        ("buffer", "100 stored"),
        ("gmm", ""),
    ]
    stored = [spot("gmm", f, buffer_size=size) for f in (0, 1) for size in (30, 100)]
    assert found(*sizes, *stored) == []


def test_nothing_is_averaged_over_settings() -> None:
    (shown,) = found(
        *(spot("buffer", f) for f in (0, 1)),
        *(spot("gmm", f, replay_labels=labels) for f in (0, 1) for labels in ("hard", "soft")),
        *(spot("vae", f, replay_batch=8) for f in (0, 1)),
    )
    assert [(row.memory, row.settings, sorted(row.cells.values())) for row in shown.rows] == [
        ("buffer", "100 stored", [0, 1]),
        ("gmm", "replay_labels=hard", [2, 4]),
        ("gmm", "replay_labels=soft", [3, 5]),
        ("vae", "", [6, 7]),
    ]


def test_what_all_memories_have_is_told_where_it_differs() -> None:
    (shown,) = found(
        *(spot("buffer", f, replay_batch=8) for f in (0, 1)),
        *(spot("vae", f, replay_batch=64) for f in (0, 1)),
    )
    assert [row.settings for row in shown.rows] == [
        "100 stored, replay_batch=8",
        "replay_batch=64",
    ]


def test_settings_chosen_for_each_depth_leave_one_row() -> None:
    (shown,) = found(
        *(spot("buffer", f, size) for f, size in enumerate((30, 100, 400))),
        *(spot("gmm", f) for f in range(3)),
    )
    buffer, gmm = shown.rows
    assert (buffer.settings, buffer.cells) == ("settings differ by depth", {0: 0, 1: 1, 2: 2})
    assert gmm.settings == ""


def test_versions_of_the_code_are_told_apart() -> None:
    old = [spot(m, f, code="a" * 40) for m in ("buffer", "gmm") for f in (0, 1)]
    new = [spot("gmm", f, code="b" * 40) for f in (0, 1)]
    (shown,) = found(*old, *new)
    assert [(row.memory, row.settings) for row in shown.rows] == [
        ("buffer", "100 stored"),
        ("gmm", "code=aaaaaaaa"),
        ("gmm", "code=bbbbbbbb"),
    ]


@pytest.fixture
def grid(make_record: Make) -> list[dict[str, Any]]:
    """Three memories and a control at three depths; the mixture is best at depth 1."""
    best = {"buffer": (0.9, 0.8, 0.7), "gmm": (0.6, 0.85, 0.6), "vae": (0.5, 0.4, 0.3)}
    return [
        make_record(
            NAMES[memory][f > 0] if memory else "naive",
            seed,
            final=[0.1 + seed / 100, (best[memory][f] if memory else 0.2)],
            options=options(memory, f),
            settings=", ".join(filter(None, (f"freeze_depth={f}", f"memory={memory}"))),
            bytes_kept=(1 + f) * 1_000_000,
            setup={"code": f"of {memory}"},
        )
        for memory in (*NAMES, None)
        for f in range(3)
        for seed in range(2)
    ]


def test_the_page_shows_accuracy_and_bytes(
    grid: list[dict[str, Any]], read_page: Callable[[str], Node]
) -> None:
    pooled = pool(pd.DataFrame(grid))
    page = read_page(to_html(pooled))
    (card,) = page.find("div", class_="surfaces")
    assert card.find("h3")[0].text == "Memory × depth", "single budgets need no surfaces"
    drawn, costs = card.find("figure")
    texts = [text.text for text in drawn.find("text")]
    names = [text for text in texts if text in (*NAMES, "naive")]
    assert names == ["buffer", "gmm", "vae", "naive"], "the best first"
    cells = [g for g in drawn.find("g") if "data-row" in g.attributes]
    shown = {c.attributes["data-row"]: [t.text for t in c.find("text")] for c in cells}
    assert len(shown) == 12
    rows = pooled.table.to_dict("records")
    for row, (accuracy, kept) in shown.items():
        record = rows[int(row[1:])]
        assert accuracy == f"{record['average_accuracy']:.3f}"[1:]
        assert kept == f"{record['bytes_kept'] / 1e6:.1f} MB"
    assert len(costs.find("g", class_="point")) == 9


def test_a_memory_has_one_colour_whatever_the_method_is_called(
    grid: list[dict[str, Any]], read_page: Callable[[str], Node]
) -> None:
    page = read_page(to_html(pool(pd.DataFrame(grid))))
    colours: dict[str, set[str]] = {}
    for th in page.find("table")[0].find("th", class_="method"):
        memory = th.text.split(" freeze_depth")[0].split(" · ")[-1]
        colours.setdefault(memory, set()).add(th.find("span")[0].attributes["class"])
    assert set(colours) == {*NAMES, "naive"}
    assert all(len(some) == 1 for some in colours.values())
    assert len(set.union(*colours.values())) == 4
    names = [th.text.split(" freeze_depth")[0] for th in page.find("th", class_="method")]
    assert {"replay · buffer", "latent-replay · buffer", "dgr · vae", "glr · vae"} <= set(names)


def test_shades_compare_memories_and_not_their_controls(
    grid: list[dict[str, Any]], read_page: Callable[[str], Node]
) -> None:
    page = read_page(to_html(pool(pd.DataFrame(grid))))
    cells = page.find("div", class_="panels")[0].find("rect", class_="heat")
    opacity = [float(cell.attributes["fill-opacity"]) for cell in cells]
    assert opacity[0] == 1
    assert opacity[8] == min(opacity) == opacity[9] == opacity[11]


def test_many_rows_are_cut_and_each_memory_keeps_its_best(
    make_record: Make, read_page: Callable[[str], Node]
) -> None:
    records = [
        make_record(
            "glr",
            final=[accuracy, accuracy],
            options=options(memory, f, temperature=k),
            settings=f"{memory} {k} {f}",
        )
        for memory, many, accuracy in (("gmm", 18, 0.9), ("vae", 2, 0.1))
        for k in range(many)
        for f in (1, 2)
    ]
    page = read_page(to_html(pool(pd.DataFrame(records))))
    (card,) = page.find("div", class_="surfaces")
    names = [text.text for text in card.find("figure")[0].find("text")]
    assert (names.count("gmm"), names.count("vae")) == (13, 1)
    assert "6 more rows of other settings" in card.text


def test_cells_without_a_mean(make_record: Make, read_page: Callable[[str], Node]) -> None:
    records = [
        make_record("glr", options=options(m, f), settings=f"{m} {f}", bytes_kept=math.nan)
        for m in ("gmm", "vae")
        for f in (0, 1)
    ]
    records[0] |= {"outcome": "diverged", "accuracy": None}
    page = read_page(to_html(pool(pd.DataFrame(records))))
    (card,) = page.find("div", class_="surfaces")
    assert len(card.find("rect", class_="none")) == 1
    assert len(card.find("rect", class_="heat")) == 3 + 24, "cells, and the key"
    assert len(card.find("figure")) == 1, "no bytes, no chart of them"
