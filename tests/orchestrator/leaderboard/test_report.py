from __future__ import annotations

import io
import json
import math
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
import pytest
from rich.console import Console

from orchestrator.leaderboard import build_leaderboard, report
from orchestrator.leaderboard.audit import AUDIT_COLUMNS
from orchestrator.leaderboard.report import TerminalReport, save, to_markdown, write_parquet
from orchestrator.metrics import METRICS
from orchestrator.storage import Storage


def records(method: str, accuracies: list[float], **other: Any) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{method}-{seed}-{sorted(other.items())}",
            "dataset": "split-digits",
            "scenario": "class-incremental",
            "method": method,
            "settings": "",
            "setup": json.dumps({"tasks": 5}),
            "variant": "corrected",
            "seed": seed,
            "stream_seed": 0,
            "outcome": "finished",
            **dict.fromkeys(METRICS, accuracy),
            "learning_accuracy": 0.95,
            "backward_transfer": accuracy - 0.95,
            "forgetting": 0.95 - accuracy,
            "forward_transfer": math.nan,
            "bytes_kept": 123_456.0,
            "seconds": 83.0,
            "samples_per_second": 5000.0,
        }
        | other
        for seed, accuracy in enumerate(accuracies)
    ]


@pytest.fixture
def table() -> pd.DataFrame:
    return build_leaderboard(
        pd.DataFrame(
            records("latent-replay", [0.91, 0.92, 0.90], settings="buffer_size=50, freeze_depth=1")
            + records("glr", [0.8, 0.9, 0.85], settings="memory=gmm, freeze_depth=2")
            + records("naive", [0.2])
            + records("dgr", [0.95, 0.96], variant="as-released")
            + records("odd|name[bold]", [0.3, 0.3], scenario="task-incremental")
            + records("ewc", [math.nan] * 2, outcome="diverged")
        )
    )


@pytest.fixture
def clean() -> pd.DataFrame:
    return build_leaderboard(pd.DataFrame(records("naive", [0.2, 0.3])))


def printed(table: pd.DataFrame, width: int = 120, **console: Any) -> str:
    out = io.StringIO()
    Console(file=out, width=width, **console).print(TerminalReport(table))
    return out.getvalue()


def line(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if word in line)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_plain_text_fits_and_is_clean(table: pd.DataFrame, width: int) -> None:
    text = printed(table, width)
    assert "\x1b" not in text
    assert all(len(line) <= width for line in text.splitlines())
    assert "…" not in text
    for word in ("latent-replay", "(as-released)", "buffer_size=50", "freeze_depth=1", ".910 ["):
        assert word in text


@pytest.mark.parametrize("width", [1, 20, 40])
def test_any_width_is_survived(table: pd.DataFrame, width: int) -> None:
    assert all(len(line) <= width for line in printed(table, width).splitlines())


def test_one_titled_table_per_dataset_and_scenario(table: pd.DataFrame) -> None:
    text = printed(table)
    titles = [line for line in text.splitlines() if line.startswith("split-digits")]
    assert titles == ["split-digits, class-incremental", "split-digits, task-incremental"]


def test_a_row_of_the_terminal(table: pd.DataFrame) -> None:
    interval = table.iloc[0]
    low, high = (f"{interval['average_accuracy_' + end]:.3f}"[1:] for end in ("low", "high"))
    cells = re.split(r"\s{2,}", line(printed(table, 160), "latent-replay").strip())
    assert " ".join(cells) == (
        f"1 latent-replay buffer_size=50, freeze_depth=1 .910 [{low}, {high}] "
        ".040 -.040 .950 123 KB 1.4 min 3"
    )


def test_no_rank_no_interval_no_colour_needed(table: pd.DataFrame) -> None:
    text = printed(table, 160)
    assert re.match(r"- +dgr \(as-released\)", line(text, "dgr"))
    assert ".200 (one seed)" in line(text, "naive")
    assert re.match(r"- +ewc +default +- ", line(text, "ewc"))
    assert "2 diverged" in line(text, "ewc")
    coloured = printed(table, 160, force_terminal=True, color_system="truecolor")
    assert "\x1b" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == text


def test_problems_are_shown_only_if_there_are_any(table: pd.DataFrame, clean: pd.DataFrame) -> None:
    assert "problems" in printed(table)
    assert "problems" not in printed(clean)


def test_names_are_not_read_as_markup(table: pd.DataFrame) -> None:
    assert "odd|name[bold]" in printed(table, 160)


def test_a_narrow_terminal_says_what_it_leaves_out(table: pd.DataFrame) -> None:
    assert (
        "Left out for lack of room: backward transfer, learning accuracy, memory, time."
        in " ".join(printed(table, 80).split())
    )
    assert "Left out for lack of room: learning accuracy." in printed(table, 110)
    assert "Left out" not in printed(table, 120)


def test_a_narrow_terminal_keeps_what_fits(clean: pd.DataFrame) -> None:
    text = printed(clean, 80)
    assert "Left out for lack of room: backward transfer, learning accuracy." in text
    assert "1.4 min" in line(text, "naive")


def test_long_names_are_folded_and_numbers_stay_whole() -> None:
    name, settings = "a-very-long-method-name-indeed", "optimizer.learning_rate=0.000125, budget=3"
    trials = records(name, [0.91, 0.92], settings=settings, seconds=1e5)
    text = printed(
        build_leaderboard(pd.DataFrame(trials + records("x", [0.0], outcome="error"))), 80
    )
    cells = re.split(r"\s{2,}", line(text, ".915").strip())
    assert cells[3:] == [".915 [.851, .979]", ".035", "2"]
    assert name in re.sub(r"\s", "", "".join(row[3:20].split("  ")[0] for row in text.splitlines()))


def test_ascii_terminals_get_ascii(table: pd.DataFrame) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    Console(file=out, width=120).print(TerminalReport(table))


def test_footnotes(table: pd.DataFrame, clean: pd.DataFrame) -> None:
    assert report.footnotes(table) == [
        "Intervals: 95 % Student-t interval over n seeds.",
        "Trials not in the means: 0 missing, 2 diverged, 0 with errors.",
        "A row with n = 1 has no interval: one seed shows no spread.",
        "As-released variants keep published defects and are not ranked.",
    ]
    assert len(report.footnotes(clean)) == 2
    assert report.footnotes(build_leaderboard(pd.DataFrame())) == ["No trials yet."]


def parsed(markdown: str) -> pd.DataFrame:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    rows = [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    return pd.DataFrame([rows[0], *rows[2:]][1:], columns=rows[0])


def test_markdown_is_one_table_with_the_columns_of_the_leaderboard(table: pd.DataFrame) -> None:
    markdown = to_markdown(table)
    assert markdown.startswith("# Leaderboard\n\n| dataset | scenario | method | settings | rank ")
    back = parsed(markdown)
    bounds = [c for c in table.columns if re.search("_(low|high)$", c)]
    kept = ["average_accuracy_low", "average_accuracy_high"]
    gone = {*(c for c in bounds if c not in kept), "forward_transfer", *AUDIT_COLUMNS}  # all empty
    assert list(back.columns) == [c for c in table.columns if c not in gone]
    assert len(back) == len(table)
    first = back.iloc[0]
    assert (first["method"], first["n"], first["rank"]) == ("latent-replay", "3", "1")
    assert first["average_accuracy"] == "0.9100"
    assert first["average_accuracy_low"] == f"{table['average_accuracy_low'][0]:.4f}"
    assert (first["bytes_kept"], first["samples_per_second"]) == ("123456", "5000.0")
    assert back.set_index("method").loc["naive", "average_accuracy_high"] == "-"
    assert "\n- Intervals: 95 % Student-t interval over n seeds.\n" in markdown


def test_markdown_cells_cannot_break_the_table(table: pd.DataFrame) -> None:
    table.loc[0, "settings"] = "a\\|b\n<i>`*"
    back = parsed(to_markdown(table))
    assert back["settings"][0] == r"a\\\|b \<i>\`\*"
    assert r"odd\|name[bold]" in back["method"].tolist()


def test_parquet_keeps_values_and_types(table: pd.DataFrame, tmp_path: Path) -> None:
    path = write_parquet(table, tmp_path / "deep" / "table.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(path), table)


def test_save_writes_both_and_leaves_nothing_else(
    table: pd.DataFrame, clean: pd.DataFrame, tmp_path: Path
) -> None:
    folder, storage = tmp_path / "results" / "one", Storage(tmp_path / "results")
    save(clean, storage, "one")
    markdown, parquet = map(Path, save(table, storage, "one"))
    assert markdown == folder / "leaderboard.md"
    assert parquet == folder / "leaderboard.parquet"
    assert sorted(folder.iterdir()) == [markdown, parquet]
    assert markdown.read_text(encoding="utf-8") == to_markdown(table)
    assert len(pd.read_parquet(parquet)) == len(table)


def test_a_file_is_replaced_and_never_rewritten(
    table: pd.DataFrame, clean: pd.DataFrame, tmp_path: Path
) -> None:
    storage = Storage(tmp_path)
    for path in map(Path, save(clean, storage, "one")):
        reader = path.with_name("open-elsewhere")
        reader.unlink(missing_ok=True)
        os.link(path, reader)  # as a reader that opened the file before
        before = reader.read_bytes()
        save(table, storage, "one")
        assert path.read_bytes() != before
        assert reader.read_bytes() == before
        save(clean, storage, "one")


def test_a_failed_write_leaves_the_old_file(clean: pd.DataFrame, tmp_path: Path) -> None:
    path = write_parquet(clean, tmp_path / "table.parquet")
    before = path.read_bytes()
    unwritable = clean.assign(method=pd.Series([object()], dtype=object))
    with pytest.raises(Exception, match="object"):
        write_parquet(unwritable, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
