from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET

import pytest

from orchestrator.leaderboard.charts import Drawn, bytes_chart, curves_chart, spelled
from orchestrator.leaderboard.heatmap import Cell, heat_map, shade_key, shades
from orchestrator.leaderboard.looks import Look
from orchestrator.leaderboard.statistics import Interval
from orchestrator.leaderboard.surface import Budget, Surface
from orchestrator.leaderboard.svg import Scale, label, log_ticks, picture, tick_texts, ticks

HOSTILE = "<script>alert('x')</script>\" onload=\"a&b"
TITLES = ("tasks learned", "accuracy")


def drawn(i: int = 0, name: str = "replay", **other: bool) -> Drawn:
    return Drawn(f"r{i}", name, f"{i} {name}", Look(i % 8, i % 6), **other)


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(str(svg))


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in parsed(svg).iter("text")]


def marked(svg: str, row: str) -> list[ET.Element]:
    return [e for e in parsed(svg).iter() if e.get("data-row") == row]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.19, 0.98, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.961, 0.998, [0.96, 0.97, 0.98, 0.99, 1.0]),
        (0.5, 0.5, []),
        (3, 47, [0, 10, 20, 30, 40, 50]),
    ],
)
def test_ticks_are_round_and_enclose(low: float, high: float, expected: list[float]) -> None:
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 6
    if expected:
        assert found == pytest.approx(expected)


@pytest.mark.parametrize(("low", "high"), [(1e3, 1e8), (2.7e5, 4.4e5), (9.9e5, 1.01e6)])
def test_logarithmic_ticks_lie_between(low: float, high: float) -> None:
    found = log_ticks(low, high)
    assert len(found) >= 3 or high / low < 1.1
    assert found
    assert all(low <= tick <= high for tick in found)
    assert found == sorted(set(found))


def test_texts_of_ticks_have_the_decimals_they_need() -> None:
    assert [text for _, text in tick_texts([0.0, 0.5, 1.0])] == ["0", ".5", "1.0"]
    assert [text for _, text in tick_texts([0.95, 1.0])] == [".95", "1.00"]


def test_scales() -> None:
    assert Scale(0, 10, 100, 200)(2.5) == 125
    assert Scale(0, 1, 200, 100)(0.25) == 175
    assert Scale(1, 100, 0, 100, log=True)(10) == 50
    assert (Scale(0, 1, 0, 100)(-3), Scale(0, 1, 0, 100)(7)) == (0, 100)
    assert Scale(1, 100, 0, 100, log=True)(0) == 0


def test_texts_are_escaped() -> None:
    assert label(0, 0, "a<b & c").count("&lt;") == 1
    title = parsed(picture(1, 1, HOSTILE, [])).get("aria-label")
    assert title == HOSTILE


def test_curves_show_every_value_where_it_is() -> None:
    values = [Interval(1.0, 0.9, 1.1, 3), Interval(0.5, 0.4, 0.6, 3), Interval(0.0, 0.0, 0.0, 3)]
    svg = curves_chart([(drawn(), values)], TITLES, "after task")
    band, curve = marked(svg, "r0")
    line = next(e for e in curve if e.get("class") == "line")
    points = [tuple(map(float, p.split())) for p in (line.get("d") or "")[1:].split("L")]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.2)
    assert y1 - y0 == pytest.approx(y2 - y1, abs=0.2)
    assert y0 < y2  # higher is further up
    assert band.get("class") == "band c0"
    tips = [e.get("data-tip") for e in curve if e.get("data-tip")]
    assert tips[1] == "replay\nafter task 2: .500 [.400, .600], 3 seeds"
    assert {"1", "2", "3", *TITLES} <= set(texts(svg))


def test_rows_that_do_not_stand_out_are_thin_and_under_the_others() -> None:
    values = [Interval(0.9, 0.8, 1.0, 3), Interval(0.5, 0.4, 0.6, 3)]
    weak = drawn(1, strong=False)
    svg = curves_chart([(drawn(0), values), (weak, values)], TITLES, "after task")
    (one,) = marked(svg, "r1")
    assert (one.get("class") or "").startswith("weak")
    assert str(svg).index('data-row="r1"') < str(svg).index('class="c0"')


def test_one_seed_has_no_band_and_one_task_is_a_mark() -> None:
    single = Interval(0.9, math.nan, math.nan, 1)
    assert "band" not in curves_chart([(drawn(), [single, single])], TITLES, "after task")
    assert "NaN" not in str(curves_chart([(drawn(), [single])], TITLES, "after task"))
    assert spelled(single) == ".900 (one seed)"


def test_long_streams_keep_their_numbers_apart() -> None:
    values = [Interval(0.5, 0.4, 0.6, 3)] * 50
    svg = curves_chart([(drawn(), values)], TITLES, "after task")
    assert [t for t in texts(svg) if t.isdigit() and t != "0"] == [str(5 * i) for i in range(1, 11)]


def test_bytes_chart_has_points_whiskers_and_the_front() -> None:
    rows = [
        (drawn(0, "cheap"), Interval(0.5, 0.45, 0.55, 3), 1e4),
        (drawn(1, "good"), Interval(0.9, 0.85, 0.95, 3), 1e6),
        (drawn(2, "worse"), Interval(0.6, 0.55, 0.65, 3), 1e7),
        (drawn(3, "leaky", ranked=False), Interval(0.99, 0.98, 1.0, 3), 2e4),
    ]
    svg = bytes_chart(rows, ("kept", "average accuracy"))
    front = next(e.get("d") or "" for e in parsed(svg).iter() if e.get("class") == "front")
    corners = [tuple(map(float, p.split())) for p in front[1:].split("L")]
    assert len(corners) == 4  # start, below the better one, the better one, to the edge
    assert corners[0][1] == corners[1][1] > corners[2][1] == corners[3][1]
    marks = {r: marked(svg, r)[0].findall("path")[-1].get("transform", "") for r in ("r0", "r1")}
    assert marks["r0"].startswith("translate({:g} {:g})".format(*corners[0]))
    assert marks["r1"].startswith("translate({:g} {:g})".format(*corners[2]))
    assert len(re.findall('class="whisker', str(svg))) == 4
    assert len(re.findall("mark hollow", str(svg))) == 1
    assert marked(svg, "r1")[0].get("data-tip") == ("good\n.900 [.850, .950], 3 seeds\n1.0 MB kept")
    assert {"0 cheap", "1 good"} <= set(texts(svg))
    assert {"10 KB", "1 MB"} <= set(texts(svg))


def test_names_in_a_chart_do_not_cover_each_other() -> None:
    rows = [
        (drawn(i, "a-rather-long-name"), Interval(0.5 + i / 1000, 0.4, 0.6, 3), 1e5 * (1 + i / 500))
        for i in range(40)
    ]
    svg = bytes_chart(rows, ("kept", "average accuracy"))
    names = [e for e in parsed(svg).iter("text") if e.get("class") == "name"]
    boxes = []
    for e in names:
        width = len(e.text or "") * 6.72
        x = (
            float(e.get("x", 0))
            - {"middle": 0.5, "end": 1.0}.get(e.get("text-anchor", ""), 0) * width
        )
        boxes.append((x, float(e.get("y", 0)), width))
    for i, (x, y, width) in enumerate(boxes):
        assert x >= 0
        assert x + width <= 400
        for other_x, other_y, other_width in boxes[:i]:
            apart = x >= other_x + other_width or other_x >= x + width or abs(y - other_y) >= 12
            assert apart


def test_points_of_one_price_are_drawn() -> None:
    rows = [(drawn(i), Interval(0.5, math.nan, math.nan, 1), 1e5) for i in range(2)]
    assert "nan" not in str(bytes_chart(rows, ("kept", "average accuracy"))).lower()


SURFACE = Surface(
    "rehearsal",
    "buffer",
    "",
    (0, 2),
    (Budget(30, ""), Budget(100, "")),
    {(Budget(30, ""), 0): 0, (Budget(100, ""), 0): 1, (Budget(100, ""), 2): 2},
    {("naive", 0): 3},
)


def cell(i: int, mean: float, low: float = math.nan, n: int = 3, problems: str = "") -> Cell:
    return Cell(f"r{i}", f"row {i}", Interval(mean, low, 2 * mean - low, n), problems)


def test_heat_map_has_its_cells_where_they_belong() -> None:
    nothing = Cell("r2", "row 2", Interval(math.nan, math.nan, math.nan, 0), "3 diverged")
    cells = {0: cell(0, 0.5, 0.45), 1: cell(1, 0.9, n=1), 2: nothing, 3: cell(3, 0.2, 0.1)}
    svg = heat_map(SURFACE, cells, (0.2, 0.9))
    groups = {
        next(e.text for e in group.iter("text")): group
        for group in parsed(svg).iter("g")
        if group.get("data-row")
    }
    assert set(groups) == {".500", ".900", ".200"}

    def where(number: str) -> tuple[float, float]:
        (box,) = groups[number].iter("rect")
        return float(box.get("x", 0)), float(box.get("y", 0))

    def shade(number: str) -> float:
        (box,) = groups[number].iter("rect")
        return float(box.get("fill-opacity", 0))

    assert where(".500")[0] == where(".900")[0] == where(".200")[0]
    assert where(".900")[1] < where(".500")[1] < where(".200")[1]  # larger budgets further up
    assert shade(".200") < shade(".500") < shade(".900") == 1
    assert groups[".500"].get("data-tip") == "row 0\n.500 [.450, .550], 3 seeds"
    assert [e.text for e in groups[".500"].iter("text")] == [".500", "±.050"]
    assert [e.text for e in groups[".900"].iter("text")] == [".900", "one seed"]
    tips = [str(e.get("data-tip")) for e in parsed(svg).iter("g") if not e.get("data-row")]
    assert sorted(tips) == ["no trial", "no trial", "row 2\n3 diverged"]
    assert {"30", "100", "naive", "0", "2", "stored items"} <= set(texts(svg))


def test_shades_do_not_make_noise_look_large() -> None:
    assert shades([0.2, 0.9]) == (0.2, 0.9)
    low, high = shades([0.90, 0.91])
    assert high - low == pytest.approx(0.05)
    assert low + high == pytest.approx(1.81)
    assert texts(shade_key((0.2, 0.9))) == [".200", ".900"]


def test_names_in_pictures_are_escaped() -> None:
    named = Cell("r0", HOSTILE, Interval(0.5, 0.4, 0.6, 3), "")
    surface = Surface(
        "m", HOSTILE, "", (0,), (Budget(1, HOSTILE),), {(Budget(1, HOSTILE), 0): 0}, {}
    )
    for svg in (
        heat_map(surface, {0: named}, (0.0, 1.0)),
        curves_chart([(drawn(0, HOSTILE), [named.accuracy] * 2)], (HOSTILE, HOSTILE), HOSTILE),
        bytes_chart([(drawn(0, HOSTILE), named.accuracy, 10.0)], (HOSTILE, HOSTILE)),
    ):
        assert "<script" not in svg
        assert not [e for e in parsed(svg).iter() if e.get("onload")]
