from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from orchestrator.api import read_leaderboard, read_report
from orchestrator.leaderboard import mean_interval, pool, to_html
from orchestrator.leaderboard.audit import KEYS
from orchestrator.results import SCHEMA_VERSION, ResultsStore
from orchestrator.samples import Samples
from orchestrator.storage import Storage

Make = Callable[..., dict[str, Any]]
Node = Any

HOSTILE = "</script><img src=x onerror='a()'>\"&amp;{{ 7*7 }}"


@pytest.fixture
def grid(make_record: Make) -> list[dict[str, Any]]:
    """A good generator and one that forgets, three seeds each, and a method without one."""
    records = [make_record("naive", seed, final=[0.1, 0.1, 0.9]) for seed in range(3)]
    for method, falls, final in (("dgr", 0.2, 0.9), ("glr", 0.02, 0.6)):
        for seed in range(3):
            right = [1 - falls * task - seed / 100 for task in (1, 2, 3)]
            rest = dict.fromkeys(KEYS, 0.5) | {"frechet": 45.678, "frechet_real": 1.25}
            audit = [rest | {"agreement": value} for value in right]
            flags = ["", "", "hardly any draws of class 0" if falls > 0.1 else ""]
            given = {"audit": audit, "audit_flags": flags}
            records.append(make_record(method, seed, final=[final] * 3, **given))
    return [record | {"id": f"{i:016x}"} for i, record in enumerate(records)]


@pytest.fixture
def results(grid: list[dict[str, Any]], tmp_path: Path) -> Path:
    """The same as files, with pictures of the second method's second seed."""
    store = ResultsStore(tmp_path)
    for record in grid:
        store.write({"schema": SCHEMA_VERSION} | record)
    trial = next(r["id"] for r in grid if r["method"] == "glr" and r["seed"] == 1)
    rng = torch.Generator().manual_seed(0)
    for task in (1, 2, 3):
        x = torch.randint(256, (task * 10, 1, 8, 8), generator=rng, dtype=torch.uint8)
        Samples(store.storage).write(trial, task, "generator", x)
    return tmp_path


def part(page: Node) -> Node:
    (found,) = page.find("div", class_="generators")
    return found


def cells(page: Node) -> dict[str, list[Node]]:
    _, *lines = part(page).find("tr")
    return {line.find("th")[0].text.split()[0]: line.find("td") for line in lines}


def test_the_audit_goes_through_the_files_to_the_page(
    results: Path, grid: list[dict[str, Any]], read_page: Callable[[str], Node]
) -> None:
    page = read_page(read_report(results))
    shown = cells(page)
    assert list(shown) == ["dgr", "glr"], "the flagged one is first, naive is not there"
    mean, low, high, n = mean_interval(
        [r["audit"][-1]["agreement"] for r in grid if r["method"] == "dgr"]
    )
    _, right, coverage, frechet, *_, seeds, flag = shown["dgr"]
    assert float(right.attributes["data-v"]) == mean
    assert right.text == f"{mean:.3f} [{low:.3f}, {high:.3f}]".replace("0.", ".")
    assert coverage.text == ".500 [.500, .500]"
    assert frechet.text == "45.7 [45.7, 45.7] real: 1.25"
    assert seeds.text == str(n) == "3"
    assert flag.text == "3 of 3 seeds, first after task 3: hardly any draws of class 0"
    assert flag.find("svg"), "a sign besides the colour"
    assert shown["glr"][-1].text == "none"
    assert "1 of 2 rows is flagged" in part(page).text


def test_the_table_of_the_files_has_the_means(results: Path) -> None:
    table = read_leaderboard(results).set_index("method")
    assert table.loc["glr", "audit_agreement"] == pytest.approx(0.93)
    assert table.loc["dgr", "audit_flagged"] == 3
    assert pd.isna(table.loc["naive", "audit_flagged"])


def test_flagged_rows_are_marked_on_the_leaderboard(
    results: Path, read_page: Callable[[str], Node]
) -> None:
    page = read_page(read_report(results))
    names = [th.text for th in page.find("table")[0].find("th", class_="method")]
    assert names == ["dgr flagged", "glr", "naive"]
    (badge,) = page.find("table")[0].find("span", class_="flag")
    assert "first after task 3: hardly any draws of class 0" in badge.attributes["data-tip"]


def test_labels_that_are_right_are_drawn_along_the_tasks(
    results: Path, read_page: Callable[[str], Node]
) -> None:
    (chart,) = part(read_page(read_report(results))).find("figure", class_="recall")
    tips = [g.attributes["data-tip"] for g in chart.find("g") if "data-tip" in g.attributes]
    assert len(tips) == 6
    assert any(tip.startswith("dgr\nafter task 1: .790 [") for tip in tips)
    (legend,) = chart.find("p", class_="legend")
    assert [s.text for s in legend.find("span") if "data-row" in s.attributes] == ["dgr", "glr"]


def test_pictures_stand_in_the_page(results: Path, read_page: Callable[[str], Node]) -> None:
    page = read_page(read_report(results))
    pictures = page.find("img")
    assert [p.attributes["alt"] for p in pictures] == [
        f"generator of glr, seed 1, after task {task}" for task in (3, 1, 2)
    ], "the last one first, as it is the largest"
    for picture in pictures:
        assert re.fullmatch(r"data:image/png;base64,[A-Za-z0-9+/=]+", picture.attributes["src"])
        assert int(picture.attributes["width"]) > 100
        assert set(picture.attributes) == {"src", "alt", "width", "height"}
    assert [c.text for c in part(page).find("figcaption")[1:]] == [
        "after task 3",
        "after task 1",
        "after task 2",
    ]
    (policy,) = page.find("meta", http_equiv="Content-Security-Policy")
    assert "img-src data:" in policy.attributes["content"]


def test_without_the_folder_there_are_no_pictures(
    grid: list[dict[str, Any]], read_page: Callable[[str], Node]
) -> None:
    page = read_page(to_html(pool(pd.DataFrame(grid))))
    assert part(page).find("table")
    assert page.find("img") == []


def test_pictures_alone_are_shown_too(
    results: Path, grid: list[dict[str, Any]], read_page: Callable[[str], Node]
) -> None:
    bare = [{k: v for k, v in r.items() if not k.startswith("audit")} for r in grid]
    page = read_page(to_html(pool(pd.DataFrame(bare)), storage=Storage(results)))
    assert part(page).find("table") == []
    assert len(page.find("img")) == 3


def test_what_is_left_out_is_told(
    results: Path, monkeypatch: pytest.MonkeyPatch, read_page: Callable[[str], Node]
) -> None:
    from orchestrator.leaderboard import html

    whole = html.make_strips
    monkeypatch.setattr(html, "make_strips", lambda rows, storage: whole(rows, storage, 1000))
    page = read_page(read_report(results))
    assert page.find("img") == []
    assert "Pictures left out to keep the page below 3.0 MB of them: 3" in page.text


def test_no_audit_no_part(make_record: Make, read_page: Callable[[str], Node]) -> None:
    for nothing in ({}, {"audit": [], "audit_flags": []}):
        page = read_page(to_html(pool(pd.DataFrame([make_record(**nothing)]))))
        assert page.find("div", class_="generators") == []


def test_one_task_and_one_seed_have_numbers_but_no_chart(
    make_record: Make, read_page: Callable[[str], Node]
) -> None:
    rest = dict.fromkeys(KEYS, math.nan) | {"agreement": 0.5}
    page = read_page(
        to_html(pool(pd.DataFrame([make_record(audit=[rest], audit_flags=[""], final=[0.9])])))
    )
    assert [th.text for th in part(page).find("tr")[0].find("th")] == [
        *("method", "settings", "labels right", "n"),
    ], "no columns for what is not known"
    assert cells(page)["naive"][1].text == ".500"
    assert part(page).find("svg", role="img") == []


def test_flags_and_names_are_text_and_nothing_else(
    make_record: Make, read_page: Callable[[str], Node], tmp_path: Path
) -> None:
    rows = [dict.fromkeys(KEYS, 0.5)] * 2
    record = make_record(
        HOSTILE, audit=rows, audit_flags=["", HOSTILE], settings=HOSTILE, variant="as-released"
    )
    record |= {"id": "0" * 16}
    samples = Samples(Storage(tmp_path))
    samples.write(record["id"], 1, "x", torch.zeros(1, 1, 8, 8, dtype=torch.uint8))
    page = read_page(to_html(pool(pd.DataFrame([record])), storage=Storage(tmp_path)))
    assert len(page.find("script")) == len(page.find("img")) == 1
    assert not [n for n in page.find() for name in n.attributes if name.startswith("on")]
    assert cells(page).popitem()[1][-1].text == f"one seed, first after task 2: {HOSTILE}"
    assert HOSTILE in page.find("img")[0].attributes["alt"]
