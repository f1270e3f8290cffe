"""Accuracies of all datasets and scenarios side by side."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from orchestrator.leaderboard import pool, to_html

Make = Callable[..., dict[str, Any]]
#: An element, as ``read_page`` makes them.
Node = Any
CLASS, TASK = "class-incremental", "task-incremental"


@pytest.fixture
def overview_of(read_page: Callable[[str], Node]) -> Callable[..., list[Node]]:
    """Reads the overview of some records as its lines, the head first; empty if there is none."""

    def read(records: list[dict[str, Any]]) -> list[Node]:
        page = read_page(to_html(pool(pd.DataFrame(records))))
        lines: list[Node] = [tr for s in page.find("section", id="all") for tr in s.find("tr")]
        return lines

    return read


def methods(lines: list[Node]) -> list[str]:
    return [line.find("th")[0].text.split()[0] for line in lines[1:]]


def texts(line: Node) -> list[str]:
    return [cell.text for cell in line.find("td")]


@pytest.fixture
def records(make_record: Make) -> list[dict[str, Any]]:
    """Two seeds in two scenarios; one method is in the second alone, one leaks."""
    found = []
    for seed in range(2):
        of = {"seed": seed}
        for scenario, up in ((CLASS, 0.0), (TASK, 0.4)):
            here = {"scenario": scenario, **of}
            found += [
                make_record("naive", final=[0.1 + up, 0.3 + up], **here),
                make_record("joint", final=[0.5 + up, 0.5 + up], **here),
                make_record("replay", final=[0.4 + up, 0.4 + seed / 50 + up], **here),
                make_record("dgr", final=[1.0, 1.0], variant="as-released", **here),
                make_record("ewc", final=[0.2, 0.2], settings=f"strength={up}", **here),
            ]
        found.append(make_record("dvae", final=[0.9, 0.85], scenario=TASK, **of))
    return found


def test_each_method_has_a_line_in_the_order_of_the_first_column(
    overview_of: Callable[..., list[Node]], records: list[dict[str, Any]]
) -> None:
    lines = overview_of(records)
    assert [th.text for th in lines[0].find("th")] == ["method", "settings", CLASS, TASK]
    assert methods(lines) == ["joint", "replay", "naive", "ewc", "dvae", "dgr"]
    joint, replay, _, _, dvae, _ = lines[1:]
    assert texts(joint) == ["default", ".500 ±.000", ".900 ±.000"]
    assert texts(dvae) == ["default", "–", ".875 ±.000"]
    # Two seeds, .400 and .410: 12.706 times the standard error, .005.
    assert texts(replay)[1] == ".405 ±.064"
    tip = replay.find("td")[1].attributes["data-tip"]
    assert tip == "replay: .405 [.341, .469], n = 2"


def test_shades_go_from_the_lowest_to_the_highest_that_is_ranked(
    overview_of: Callable[..., list[Node]], records: list[dict[str, Any]]
) -> None:
    shares = {}
    for line in overview_of(records)[1:]:
        style = line.find("td")[1].attributes.get("style", "")
        shares[line.find("th")[0].text.split()[0]] = [
            float(x) for x in re.findall(r"[\d.]+", style)
        ]
    assert shares["joint"] == [1.0]
    assert shares["naive"] == shares["ewc"] == [0.0]
    assert shares["replay"] == [pytest.approx((0.405 - 0.2) / 0.3, abs=1e-3)]
    assert shares["dgr"] == shares["dvae"] == []


def test_the_best_other_than_the_bounds_is_bold(
    overview_of: Callable[..., list[Node]], records: list[dict[str, Any]]
) -> None:
    bold = [
        [("best" in cell.attributes["class"].split()) for cell in line.find("td")[1:]]
        for line in overview_of(records)[1:]
    ]
    assert dict(zip(methods(overview_of(records)), bold, strict=True)) == {
        **{name: [False, False] for name in ("dgr", "joint", "naive", "ewc")},
        "replay": [True, False],
        "dvae": [False, True],
    }


def test_settings_that_differ_by_column_share_a_line(
    overview_of: Callable[..., list[Node]], records: list[dict[str, Any]]
) -> None:
    (ewc,) = [line for line in overview_of(records)[1:] if line.find("th")[0].text[:3] == "ewc"]
    assert texts(ewc) == ["settings differ", ".200 ±.000", ".200 ±.000"]


def test_settings_that_meet_in_a_column_have_lines_of_their_own(
    overview_of: Callable[..., list[Node]], make_record: Make
) -> None:
    records = [
        make_record("replay", final=[value, value], scenario=scenario, settings=settings)
        for scenario, settings, value in (
            *((CLASS, "k=1", 0.3), (CLASS, "k=2", 0.5)),
            *((TASK, "k=1", 0.8), (TASK, "k=3", 0.9)),
        )
    ]
    assert [texts(line) for line in overview_of(records)[1:]] == [
        ["k=2", ".500 one seed", "–"],
        ["k=1", ".300 one seed", ".800 one seed"],
        ["k=3", "–", ".900 one seed"],
    ]


def test_columns_are_named_by_what_differs(
    overview_of: Callable[..., list[Node]], make_record: Make
) -> None:
    by_dataset = [make_record(dataset=name) for name in ("split-digits", "split-mnist")]
    assert [th.text for th in overview_of(by_dataset)[0].find("th")][2:] == [
        "split-digits",
        "split-mnist",
    ]
    both = [*by_dataset, make_record(dataset="split-mnist", scenario=TASK)]
    assert [th.text for th in overview_of(both)[0].find("th")][2:] == [
        f"split-digits, {CLASS}",
        f"split-mnist, {CLASS}",
        f"split-mnist, {TASK}",
    ]


def test_there_is_none_where_nothing_could_be_compared(
    overview_of: Callable[..., list[Node]], make_record: Make
) -> None:
    assert overview_of([make_record("naive"), make_record("joint")]) == []
    apart = [make_record("naive"), make_record("dvae", scenario=TASK)]
    assert overview_of(apart) == []


def test_a_column_without_a_finished_trial_is_empty(
    overview_of: Callable[..., list[Node]], make_record: Make
) -> None:
    records = [make_record(), make_record(scenario=TASK, outcome="diverged")]
    assert [texts(line) for line in overview_of(records)[1:]] == [["default", ".700 one seed", "–"]]
