"""Leaderboards on the command line: of which sweep, in which form, into which file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

Write = Callable[..., Path]


def test_leaderboard_in_every_form(answer: Callable[..., Any], done: Path, home: Path) -> None:
    results = done / "results"
    terminal = answer("leaderboard", "--results", results)
    assert terminal.status == 0
    assert "split-digits, class-incremental" in terminal.out
    assert "2 missing" in terminal.out

    markdown = answer("leaderboard", "tiny", "--results", results, "--format", "md")
    assert markdown.status == 0
    header, _, *rows = [line for line in markdown.out.splitlines() if line.startswith("|")]
    columns = [name.strip() for name in header.strip("|").split("|")]
    wanted = {
        *("dataset", "scenario", "method", "n"),
        *("average_accuracy", "average_accuracy_low", "average_accuracy_high"),
    }
    assert wanted <= set(columns)
    assert len(rows) == 6
    assert all(line.count("|") == header.count("|") for line in rows), "no line is folded"

    for form in ("md", "parquet", "terminal"):
        output = home / "deep" / f"board.{form}"
        given = answer("leaderboard", "--results", results, "--format", form, "--output", output)
        assert given.status == 0
        assert f"{output}: 6 rows" in given.out
    assert (home / "deep/board.md").read_text().strip() == markdown.out.strip()
    terminal = (home / "deep/board.terminal").read_text()
    assert "buffer_size=20" in terminal
    assert "\x1b" not in terminal
    table = pd.read_parquet(home / "deep/board.parquet")
    assert wanted <= set(table.columns)
    assert table["n"].sum() == 10
    assert table["missing"].sum() == 2
    bounds = table[["average_accuracy_low", "average_accuracy", "average_accuracy_high"]].dropna()
    assert len(bounds) == 5
    assert (bounds.diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)


def test_leaderboard_as_a_page(answer: Callable[..., Any], done: Path, home: Path) -> None:
    shutil.copytree(done / "results", home / "results")
    given = answer("leaderboard", "tiny", "--format", "html")
    path = Path("results/leaderboards/tiny/leaderboard.html")
    assert (given.status, given.err) == (0, "")
    assert given.out == f"{path}: open it in a browser; it needs no network\n"
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "Accuracy after each task" in page

    output = home / "deep" / "page.html"
    given = answer("leaderboard", "tiny", "--format", "html", "--output", output)
    assert given.status == 0
    assert output.read_text(encoding="utf-8") == page
    assert answer("leaderboard", "--format", "html").status == 0
    assert "All sweeps" in (home / "results/leaderboards/leaderboard.html").read_text()


def test_leaderboard_by_the_file_of_its_space(answer: Callable[..., Any], done: Path) -> None:
    given = answer("leaderboard", done / "tiny.yaml", "--results", done / "results")
    assert given.status == 0
    assert given.out == answer("leaderboard", "tiny", "--results", done / "results").out


def test_leaderboard_by_a_file_that_is_not_named_after_its_space(
    answer: Callable[..., Any], done: Path, write: Write, tiny: str
) -> None:
    given = answer("leaderboard", write(tiny, "other.yaml"), "--results", done / "results")
    assert given.status == 0
    assert given.out == answer("leaderboard", "tiny", "--results", done / "results").out


def test_leaderboard_mistakes(answer: Callable[..., Any], done: Path, home: Path) -> None:
    results = done / "results"
    (home / "file").write_text("")
    for arguments, message in (
        (["tyni"], "holds no sweep 'tyni'; there are: tiny"),
        (["--format", "parquet"], "--output FILE"),
        (["--format", "md", "--output", "file/x.md"], "file/x.md: cannot be written ("),
        (["--format", "parquet", "--output", "."], ".: is a folder; give a file"),
        (["--format", "html", "--output", "file/x.html"], "file/x.html: cannot be written ("),
    ):
        given = answer("leaderboard", *arguments, "--results", results)
        assert (given.status, given.err.count("\n")) == (2, 1)
        assert message in given.err


def test_leaderboard_of_an_empty_folder_is_empty(answer: Callable[..., Any], home: Path) -> None:
    (home / "results").mkdir()
    given = answer("leaderboard")
    assert (given.status, given.err) == (0, "")
    assert "No trials yet." in given.out


def test_leaderboard_with_only_missing_trials(
    answer: Callable[..., Any], done: Path, home: Path
) -> None:
    (home / "results").mkdir()
    shutil.copytree(done / "results" / "sweeps", home / "results" / "sweeps")
    given = answer("leaderboard", "--format", "parquet", "--output", "board.parquet")
    assert given.status == 0
    table = pd.read_parquet(home / "board.parquet")
    assert table["n"].sum() == 0
    assert table["missing"].sum() == 12
