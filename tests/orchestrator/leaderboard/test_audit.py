from __future__ import annotations

import io
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from orchestrator.leaderboard import build_leaderboard, mean_interval, to_markdown, write_parquet
from orchestrator.leaderboard.audit import (
    AUDIT_COLUMNS,
    KEYS,
    MEASURES,
    Flagged,
    audit_of,
    audit_rows,
    flag_notes,
    flags_of,
)
from orchestrator.leaderboard.report import TerminalReport

Make = Callable[..., dict[str, Any]]


def audit(*agreements: float, **other: float) -> list[dict[str, float]]:
    """The numbers after each task; all but the labels that are right are ``other``, or 0.5."""
    rest = dict.fromkeys(KEYS, 0.5) | other
    return [rest | {"agreement": value} for value in agreements]


@pytest.fixture
def audited(make_record: Make) -> Callable[..., dict[str, Any]]:
    """Makes a record with an audit: ``audited([0.9, 0.8], ["", "a flag"], method="dgr")``."""

    def make(agreements: list[float], flags: list[str] | None = None, **other: Any) -> Any:
        given = {"method": "glr"} | other
        numbers = audit(*agreements, **given.pop("numbers", {}))
        raised = flags or [""] * len(agreements)
        return make_record(**given, audit=numbers, audit_flags=raised)

    return make


def test_seeds_are_pooled_after_each_task_and_after_the_last(
    audited: Callable[..., dict[str, Any]],
) -> None:
    seeds = [[1.0, 0.9], [0.9, 0.5], [0.95, 0.6]]
    pooled = audit_of([[audited(values, seed=seed)] for seed, values in enumerate(seeds)])
    assert pooled is not None
    assert pooled.n == 3
    assert pooled.last["agreement"] == mean_interval([0.9, 0.5, 0.6])
    assert pooled.last["drift"] == (0.5, 0.5, 0.5, 3)
    assert pooled.agreement == [mean_interval(values) for values in zip(*seeds, strict=True)]
    assert pooled.flagged is None


def test_trials_of_one_group_are_averaged(audited: Callable[..., dict[str, Any]]) -> None:
    pooled = audit_of([[audited([0.2]), audited([0.4])], [audited([0.6])]])
    assert pooled is not None
    assert pooled.last["agreement"] == pytest.approx(mean_interval([0.3, 0.6]))


@pytest.mark.parametrize("nothing", [{}, {"audit": None}, {"audit": math.nan}, {"audit": []}])
def test_records_without_an_audit(nothing: dict[str, Any], make_record: Make) -> None:
    assert audit_rows(nothing) == flags_of(nothing) == []
    assert audit_of([[nothing]]) is None
    assert audit_of([]) is None
    row = build_leaderboard(pd.DataFrame([make_record(**nothing)])).iloc[0]
    assert row[list(AUDIT_COLUMNS)].isna().all()


def test_only_audited_seeds_count(audited: Callable[..., dict[str, Any]]) -> None:
    pooled = audit_of([[audited([0.5])], [{"audit": []}], [audited([0.7])]])
    assert pooled is not None
    assert (pooled.n, pooled.last["agreement"].mean) == (2, pytest.approx(0.6))


def test_a_number_that_an_audit_lacks_is_not_known() -> None:
    some = [{"audit": [{"agreement": 0.5, "drift": None}]}, {"audit": [{"agreement": 0.5}]}]
    pooled = audit_of([[one] for one in some])
    assert pooled is not None
    assert pooled.last["agreement"].mean == 0.5
    assert math.isnan(pooled.last["drift"].mean)
    assert math.isnan(pooled.last["copying"].mean)


def test_pairs_of_arrow_are_read_as_mappings() -> None:
    import pyarrow as pa

    kind = pa.list_(pa.map_(pa.string(), pa.float64()))
    columns = {
        "audit": pa.array([[{"agreement": 0.5}, {"agreement": 0.25}], []], type=kind),
        "audit_flags": pa.array([["", "wrong"], []], type=pa.list_(pa.string())),
    }
    first, second = pa.table(columns).to_pandas().to_dict("records")
    assert audit_rows(first) == [{"agreement": 0.5}, {"agreement": 0.25}]
    assert flags_of(first) == ["", "wrong"]
    assert audit_rows(second) == flags_of(second) == []


def test_the_first_flag_is_told_with_how_many_seeds_have_one(
    audited: Callable[..., dict[str, Any]],
) -> None:
    groups = [
        [audited([1, 1, 1], ["", "", "late"], seed=0)],
        [audited([1, 1, 1], ["", "early", "later"], seed=1)],
        [audited([1, 1, 1], ["", "as early", ""], seed=2)],
        [audited([1, 1, 1], seed=3)],
    ]
    pooled = audit_of(groups)
    assert pooled is not None
    assert pooled.flagged == Flagged(3, 4, 2, "early")
    assert str(pooled.flagged) == "3 of 4 seeds, first after task 2: early"
    assert str(Flagged(1, 1, 1, "x")) == "one seed, first after task 1: x"


@pytest.fixture
def table(audited: Callable[..., dict[str, Any]], make_record: Make) -> pd.DataFrame:
    flags = ["", "41 % of replayed labels are right"]
    numbers = {"frechet": 123.456}
    return build_leaderboard(
        pd.DataFrame(
            [
                *(make_record("naive", seed) for seed in range(3)),
                *(audited([1, 0.9], seed=s, final=[0.7, 0.9]) for s in range(3)),
                *(
                    audited([0.8, 0.4 + s / 100], flags, seed=s, method="dgr", numbers=numbers)
                    for s in range(3)
                ),
                audited([0.1, 0.1], ["x", "x"], seed=3, method="dgr", outcome="diverged"),
            ]
        )
    )


def test_columns_of_the_leaderboard(table: pd.DataFrame) -> None:
    rows = table.set_index("method")
    assert rows.loc["dgr", "audit_agreement"] == pytest.approx(0.41)
    assert rows.loc["dgr", "audit_frechet"] == pytest.approx(123.456)
    assert rows["audit_flagged"].dropna().to_dict() == {"glr": 0, "dgr": 3}
    assert rows.loc["dgr", "audit_flag"] == (
        "3 of 3 seeds, first after task 2: 41 % of replayed labels are right"
    )
    assert rows.loc[["naive", "glr"], "audit_flag"].isna().all()
    assert rows.loc["naive", list(AUDIT_COLUMNS)].isna().all()


def test_parquet_keeps_the_audit(table: pd.DataFrame, tmp_path: Path) -> None:
    back = pd.read_parquet(write_parquet(table, tmp_path / "table.parquet"))
    pd.testing.assert_frame_equal(back, table)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_terminal_marks_flagged_rows(table: pd.DataFrame, width: int) -> None:
    out = io.StringIO()
    Console(file=out, width=width).print(TerminalReport(table))
    text = out.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    marked = [line for line in text.splitlines() if re.match(r" ?[\d-]+ ", line) and "(!)" in line]
    assert len(marked) == 1
    assert "dgr (!)" in marked[0]
    words = " ".join(text.split())
    assert "(!) dgr: 3 of 3 seeds, first after task 2: 41 % of replayed labels are right." in words


def test_markdown_marks_flagged_rows(table: pd.DataFrame) -> None:
    markdown = to_markdown(table)
    head, _, *lines = [line for line in markdown.splitlines() if line.startswith("|")]
    names = [name.strip() for name in head.split("|")[1:-1]]
    assert "audit_flag" not in names
    cells = [dict(zip(names, map(str.strip, x.split("|")[1:-1]), strict=True)) for x in lines]
    shown = {row["method"]: (row["audit_flagged"], row["audit_agreement"]) for row in cells}
    assert shown == {"glr": ("0", "0.9000"), "dgr": ("3 (!)", "0.4100"), "naive": ("-", "-")}
    assert "\n- (!) dgr: 3 of 3 seeds, first after task 2: 41 % of" in markdown


def test_flags_in_footnotes_cannot_become_markup(audited: Callable[..., dict[str, Any]]) -> None:
    markdown = to_markdown(
        build_leaderboard(pd.DataFrame([audited([0.1], ["<img src=x> [a](b) | `c`"])]))
    )
    assert r"\<img src=x> [a]\(b) \| \`c\`" in markdown


def test_many_flagged_rows_are_not_all_told() -> None:
    row = {"settings": "", "audit_flagged": 1, "audit_flag": "wrong"}
    rows = [row | {"method": f"m{i}"} for i in range(6)]
    rows.insert(0, {"method": "fine", "settings": "", "audit_flagged": 0, "audit_flag": None})
    notes = flag_notes(rows)
    assert notes[1:] == [*(f"(!) m{i}: wrong." for i in range(3)), "(!) and 3 more rows."]
    assert flag_notes(rows[:1]) == []


def test_distances_have_three_digits() -> None:
    (show,) = (measure.show for measure in MEASURES if measure.key == "frechet")
    shown = [show(value) for value in (0.0, 0.01234, 0.9994, 1.0, 4.567, 56.78, 1234.5, math.nan)]
    assert shown == [".000", ".012", ".999", "1.00", "4.57", "56.8", "1234", "-"]
