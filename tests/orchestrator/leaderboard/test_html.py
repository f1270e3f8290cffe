from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from orchestrator.leaderboard import About, Pooled, paired_differences, pool, save, to_html
from orchestrator.leaderboard.formats import duration, fraction, size
from orchestrator.storage import Storage

Make = Callable[..., dict[str, Any]]

HOSTILE = "</script><script>alert(1)</script><img src=x onerror='a()'>\"&amp;{{ 7*7 }}"

#: An element, as ``read_page`` makes them.
Node = Any
PageOf = Callable[..., tuple[Node, Pooled]]


@pytest.fixture
def page_of(read_page: Callable[[str], Node]) -> PageOf:
    """Reads the page of some records: ``page_of(records, About("digits"), planned)``."""

    def read(
        records: list[dict[str, Any]],
        about: About | None = None,
        planned: list[dict[str, Any]] | None = None,
    ) -> tuple[Node, Pooled]:
        pooled = pool(pd.DataFrame(records), None if planned is None else pd.DataFrame(planned))
        return read_page(to_html(pooled, about)), pooled

    return read


@pytest.fixture
def grid(make_record: Make) -> list[dict[str, Any]]:
    """Two scenarios; replay at two freeze depths with two budgets, its bounds, a leaky variant."""
    records = []
    for scenario, shift in (("class-incremental", 0.0), ("task-incremental", 0.1)):
        for seed in range(3):
            more: dict[str, Any] = {"scenario": scenario, "seed": seed}
            noise = shift + seed / 50
            records.append(make_record("naive", final=[0.1, 0.5 + noise], **more))
            records.append(make_record("joint", final=[0.7, 0.7 + noise], bytes_kept=9000, **more))
            records.append(
                make_record("dgr", final=[0.9, 0.8 + noise], variant="as-released", **more)
            )
            for budget in (30, 100):
                for frozen in (0, 1):
                    records.append(
                        make_record(
                            "replay",
                            final=[0.4 + budget / 500 - frozen / 10, 0.6 + noise],
                            settings=f"buffer_size={budget}, freeze_depth={frozen}",
                            options={"buffer_size": budget, "freeze_depth": frozen},
                            bytes_kept=2000 + budget - frozen,
                            **more,
                        )
                    )
    return records


def sections(page: Node) -> list[Node]:
    """The sections of the datasets and scenarios, without the overview of all."""
    return [s for s in page.find("section") if s.attributes["id"] != "all"]


def boards(page: Node) -> list[list[list[Node]]]:
    """Cells of the rows of each section's first table."""
    tables = [section.find("table")[0] for section in sections(page)]
    return [
        [[c for c in row.children if not isinstance(c, str)] for row in table.find("tr")[1:]]
        for table in tables
    ]


def value(cell: Node) -> float:
    return float(cell.attributes["data-v"])


def test_the_page_needs_nothing_but_itself(page_of: PageOf, grid: list[dict[str, Any]]) -> None:
    page, _ = page_of(grid, About("a sweep", paper="arXiv:1705.08690", command="engram run x"))
    for node in page.find():
        assert node.tag not in {"iframe", "object", "embed", "img", "base"}
        for name, given in node.attributes.items():
            assert name not in {"src", "srcset", "action", "background"}
            assert name != "href" or given.startswith(("#", "data:")), given
            assert "url(" not in given
    style = "".join(node.text for node in page.find("style"))
    script = "".join(node.text for node in page.find("script"))
    assert not re.search(r"url\(|@import|https?:", style)
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|https?:|innerHTML|eval\(", script)
    (policy,) = page.find("meta", http_equiv="Content-Security-Policy")
    assert policy.attributes["content"].startswith("default-src 'none';")
    assert page.find("meta", name="viewport")
    assert "prefers-color-scheme: dark" in style


def test_the_numbers_are_those_of_the_table(page_of: PageOf, grid: list[dict[str, Any]]) -> None:
    page, pooled = page_of(grid)
    rows = [row for board in boards(page) for row in board]
    assert len(rows) == len(pooled.table) == 14
    for cells, expected in zip(rows, pooled.table.to_dict("records"), strict=True):
        assert cells[1].text.startswith(expected["method"])
        assert cells[2].attributes["data-v"] == expected["settings"]
        numbers = ["average_accuracy", "forgetting", "backward_transfer", "learning_accuracy"]
        numbers += ["bytes_kept", "seconds", "n"]
        for cell, column in zip(cells[3:], numbers, strict=True):
            assert value(cell) == expected[column]
        for cell, column in zip(cells[4:7], numbers[1:4], strict=True):
            assert cell.text == fraction(expected[column]).replace("-", "−")
        assert [cell.text for cell in cells[7:]] == [
            *(size(expected["bytes_kept"]), duration(expected["seconds"])),
            str(expected["n"]),
        ]
    first = pooled.table.iloc[0]
    bounds = [f"{first['average_accuracy_' + end]:.3f}"[1:] for end in ("low", "high")]
    (accuracy,) = rows[0][3].find("span", class_="value")
    (interval,) = rows[0][3].find("span", class_="bounds")
    assert accuracy.text == f"{first['average_accuracy']:.3f}"[1:]
    assert interval.text == f"[{', '.join(bounds)}]"


def test_intervals_are_drawn_to_scale(grid: list[dict[str, Any]], page_of: PageOf) -> None:
    page, pooled = page_of(grid)
    block = pooled.table[pooled.table["scenario"] == "class-incremental"]
    low, high = (block[f"average_accuracy_{end}"] for end in ("low", "high"))
    wide = high.max() - low.min()
    for cells, expected in zip(boards(page)[0], block.to_dict("records"), strict=True):
        ends = {tag: cells[3].find(tag)[0].attributes["style"] for tag in ("i", "b")}
        left, width = map(float, re.findall(r"[\d.]+", ends["i"]))
        (middle,) = map(float, re.findall(r"[\d.]+", ends["b"]))
        shares = [
            100 * (expected[f"average_accuracy{end}"] - low.min()) / wide
            for end in ("_low", "", "_high")
        ]
        assert [left, middle, left + width] == pytest.approx(shares, abs=0.02)


def test_the_bounds_have_colours_of_their_own(make_record: Make, page_of: PageOf) -> None:
    others = [make_record(f"method {i}", final=[0.9, 0.9 + i / 100]) for i in range(9)]
    page, _ = page_of([*others, make_record("naive"), make_record("joint")])
    swatches = {
        th.text: th.find("span")[0].attributes["class"]
        for th in page.find("table")[0].find("th", class_="method")
    }
    assert len({swatches[name] for name in ("naive", "joint", "method 8", "method 7")}) == 4
    legend = [s.text for s in page.find("p", class_="legend")[0].find("span", class_="c0")]
    assert legend == ["joint"]
    assert list(swatches.values()).count("c0") == list(swatches.values()).count("c1") == 2


def test_as_released_variants_are_marked_and_have_no_rank(
    page_of: PageOf, grid: list[dict[str, Any]]
) -> None:
    page, _ = page_of(grid)
    for board in boards(page):
        ranks = {row[1].text: row[0].text for row in board if row[1].text[:3] != "rep"}
        assert ranks == {"joint": "1", "naive": "6", "dgr as released": "–"}
    assert "As-released variants keep published defects" in page.text
    chart = sections(page)[0].find("figure")[2]
    assert len(chart.find("path", class_="hollow")) == 1


def test_sections_have_their_charts(page_of: PageOf, grid: list[dict[str, Any]]) -> None:
    page, _ = page_of(grid)
    found = sections(page)
    assert [s.find("h2")[0].text for s in found] == [
        "split-digits class-incremental",
        "split-digits task-incremental",
    ]
    chips = page.find("div", class_="chips")[0].find("a")
    assert [c.attributes["href"][1:] for c in chips] == [
        "all",
        *(s.attributes["id"] for s in found),
    ]
    for section in found:
        assert [h.text for h in section.find("h3")] == [
            "Accuracy after each task",
            "Final accuracy on each task",
            "Accuracy against bytes kept",
            "Freeze depth × stored items",
            "Paired differences of accuracy",
        ]
        cells = section.find("div", class_="panels")[0].find("rect", class_="heat")
        assert len(cells) == 4
        rows = {
            tr.attributes["data-row"] for tr in section.find("tr") if "data-row" in tr.attributes
        }
        marks = {n.attributes["data-row"] for n in section.find() if "data-row" in n.attributes}
        assert marks == rows, "every mark belongs to a row of its own section"


def test_the_best_of_each_method_stands_out_where_there_are_many(
    page_of: PageOf, grid: list[dict[str, Any]]
) -> None:
    page, _ = page_of(grid)
    legend = sections(page)[0].find("p", class_="legend")[0]
    names = [span.text for span in legend.find("span") if "data-row" in span.attributes]
    assert names == [
        "joint",
        "replay buffer_size=100, freeze_depth=0",
        "naive",
        "dgr (as-released)",
    ]
    assert "the other rows" in legend.text
    few, _ = page_of([r for r in grid if "freeze_depth=1" not in r["settings"]])
    legend = sections(few)[0].find("p", class_="legend")[0]
    assert len([span for span in legend.find("span") if "data-row" in span.attributes]) == 5
    assert "the other rows" not in legend.text


def test_a_method_has_one_colour_on_the_whole_page(
    page_of: PageOf, grid: list[dict[str, Any]]
) -> None:
    page, _ = page_of(grid)
    colours: dict[str, set[str]] = {}
    for tr in page.find("tr"):
        if "data-row" in tr.attributes:
            method = tr.find("th")[0].text.split()[0]
            row = tr.attributes["data-row"]
            for node in page.find("", data_row=row):
                found = re.findall(r"\bc\d\b", node.attributes.get("class", ""))
                colours.setdefault(method, set()).update(found)
    assert all(len(found) == 1 for found in colours.values())
    assert len(set.union(*colours.values())) == 4


def test_memories_of_one_method_look_different(page_of: PageOf, make_record: Make) -> None:
    records = [
        make_record("glr", settings=f"memory={name}", options={"memory": {"name": name}})
        for name in ("gmm", "vae")
    ]
    page, _ = page_of(records)
    swatches = [th.find("span")[0].attributes["class"] for th in page.find("th", class_="method")]
    assert len(set(swatches)) == 2


def test_paired_differences_are_those_of_the_function(
    page_of: PageOf, grid: list[dict[str, Any]]
) -> None:
    page, pooled = page_of(grid)
    expected = paired_differences(pd.DataFrame(grid), "naive")
    table = sections(page)[0].find("table")[1]
    head, *rows = table.find("tr")
    assert [th.text for th in head.find("th")] == [
        *("method", "settings", "less naive", "less joint"),
        "less replay buffer_size=100, freeze_depth=0, the best other than the bounds",
    ]
    for row in rows:
        method, settings = row.find("th")[0].text.split()[0], row.find("td")[0]
        cell = row.find("td", class_="accuracy")[0]
        if method == "naive":
            assert cell.text == "the reference"
            continue
        (one,) = expected[
            (expected["scenario"] == "class-incremental")
            & (expected["method"] == method)
            & (expected["settings"] == settings.attributes["data-v"])
        ].to_dict("records")
        assert value(cell) == one["difference"]
        unsure = one["low"] <= 0 <= one["high"]
        assert ("unsure" in cell.attributes["class"]) == unsure
    assert len(rows) == len(pooled.table) / 2


def test_names_from_files_are_text_and_nothing_else(page_of: PageOf, make_record: Make) -> None:
    names = {"method": HOSTILE, "settings": HOSTILE, "dataset": HOSTILE, "engram": HOSTILE}
    memory = {"memory": {"name": HOSTILE, "k": HOSTILE}, "buffer_size": 10}
    records = [
        make_record(seed=seed, options=memory | {"freeze_depth": f, "x": HOSTILE}, **names)
        | {"id": f"{seed} {f} {dataset}", "settings": f"{HOSTILE}{f}", "dataset": dataset}
        for seed in range(2)
        for f in range(2)
        for dataset in (HOSTILE, "other")
    ]
    page, _ = page_of(records, About(*[HOSTILE] * 5))
    assert len(page.find("script")) == 1
    assert page.find("img") == []
    assert not [n for n in page.find() for name in n.attributes if name.startswith("on")]
    assert page.find("h1")[0].text == HOSTILE
    assert page.find("pre")[0].text == page.find("code")[0].text == HOSTILE
    assert sections(page)[0].find("h2")[0].text.startswith(HOSTILE)
    assert boards(page)[0][0][1].text.startswith(HOSTILE)
    assert page.find("h4")[0].text == HOSTILE
    tips = [n.attributes["data-tip"] for n in page.find() if "data-tip" in n.attributes]
    assert any(tip.startswith(HOSTILE) for tip in tips)


def test_charts_are_there_only_with_their_data(page_of: PageOf, make_record: Make) -> None:
    lonely = [make_record("replay", seed, options={"buffer_size": 10}) for seed in range(2)]
    page, _ = page_of(lonely)
    assert [h.text for h in page.find("h3")] == [
        "Accuracy after each task",
        "Final accuracy on each task",
    ]
    bare = [{k: v for k, v in r.items() if k not in {"accuracy", "config"}} for r in lonely]
    page, _ = page_of(bare)
    assert page.find("h3") == page.find("p", class_="legend") == []
    assert len(boards(page)[0]) == 1


def test_one_task_has_no_curves(page_of: PageOf, make_record: Make) -> None:
    page, _ = page_of([make_record(final=[0.9])])
    assert page.find("h3") == []


def test_what_did_not_finish_is_told(page_of: PageOf, make_record: Make) -> None:
    records = [
        make_record("naive", 0),
        make_record("naive", 1, outcome="diverged"),
        make_record("ewc", 0, outcome="error"),
    ]
    planned = [*records, make_record("glr", 0), make_record("naive", 2)]
    page, _ = page_of(records, planned=planned)
    facts = {d.find("dt")[0].text: d.find("dd")[0].text for d in page.find("dl")[0].find("div")}
    assert facts["trials finished"] == "1 of 5"
    assert (facts["diverged"], facts["with errors"], facts["missing"]) == ("1", "1", "2")
    problems = {row[1].text: row[-1].text for row in boards(page)[0]}
    assert problems == {
        "naive": "1 missing, 1 diverged",
        "ewc": "1 with errors",
        "glr": "1 missing",
    }
    assert math.isnan(value(boards(page)[0][1][3]))
    assert "Trials not in the means: 2 missing, 1 diverged, 1 with errors." in page.text
    (naive,) = sections(page)[0].find("span", class_="bounds")
    assert naive.text == "one seed"


def test_nothing_but_missing_trials(page_of: PageOf, make_record: Make) -> None:
    page, _ = page_of([], planned=[make_record()])
    assert "0 of 1" in page.text
    assert page.find("figure") == []


def test_no_trials_at_all(page_of: PageOf) -> None:
    page, _ = page_of([])
    assert sections(page) == []
    assert "No trials yet." in page.find("main")[0].text


def test_the_head_says_what_where_and_how(page_of: PageOf, grid: list[dict[str, Any]]) -> None:
    about = About(
        "digits", "A first look.", "Shin et al. 2017", "engram run digits", "name: digits"
    )
    page, _ = page_of(grid, about)
    assert page.find("title")[0].text == "digits · Engram leaderboard"
    head = page.find("header")[0]
    for text in ("A first look.", "Repeats: Shin et al. 2017", "engram run digits", "name: digits"):
        assert text in head.text
    facts = {d.find("dt")[0].text: d.find("dd")[0].text for d in head.find("div") if d.find("dt")}
    assert facts["run on"] == "2026-03-01 to 2026-03-03"
    assert (facts["Engram"], facts["PyTorch"], facts["device"]) == ("0.1.0", "2.13.0", "cpu")
    assert "GPU" not in facts


def test_the_page_is_saved_beside_the_table(grid: list[dict[str, Any]], tmp_path: Path) -> None:
    pooled = pool(pd.DataFrame(grid))
    text = to_html(pooled)
    storage = Storage(tmp_path)
    saved = save(pooled.table, storage, "of/grid", text)
    names = [f"leaderboard.{suffix}" for suffix in ("md", "parquet", "html")]
    assert saved == tuple(str(tmp_path / "of" / "grid" / name) for name in names)
    assert (tmp_path / "of" / "grid" / "leaderboard.html").read_text(encoding="utf-8") == text
    assert len(save(pooled.table, storage, "grid")) == 2


def test_the_same_records_give_the_same_page(grid: list[dict[str, Any]]) -> None:
    text = to_html(pool(pd.DataFrame(grid)))
    assert to_html(pool(pd.DataFrame(grid[::-1]))) == text
    assert json.dumps(text)  # no lone surrogates
