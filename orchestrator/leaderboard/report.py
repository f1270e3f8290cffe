"""The leaderboard for readers: in the terminal, as Markdown, as Parquet."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from orchestrator.leaderboard.audit import MARK, flag_notes, is_flagged
from orchestrator.leaderboard.formats import ABSENT, duration, fraction, size
from orchestrator.leaderboard.statistics import CONFIDENCE
from orchestrator.leaderboard.table import AS_RELEASED
from orchestrator.storage import Storage
from orchestrator.storage.atomic import replacing
from orchestrator.terminal import printable

_PROBLEMS = ("missing", "diverged", "errors")
_GAP = 2  # blanks between the columns of a terminal table
_NARROWEST_TEXT = 8
_LONGEST_WORD = 24  # longer ones are folded where room is short
_COMMAS = re.compile("(?<=,) ")
_BLANKS = re.compile(rf" (?!{re.escape(MARK)})")  # the mark stays with what it marks
_LEFT_OUT = ("learning\naccuracy", "backward\ntransfer", "time", "memory")  # in this order
_DECIMALS = {"bytes_kept": 0, "samples_per_second": 1}


class _Column(NamedTuple):
    """A column of the terminal report; numbers never wrap, texts wrap between their words."""

    header: str
    cell: Callable[[Any], str]
    words: re.Pattern[str] | None = None  # the blanks at which a text may wrap


@dataclass(frozen=True)
class TerminalReport:
    """A leaderboard that a rich console can print, one table per dataset and scenario.

    It fits itself to the width of the console: where columns have no room, it leaves out the less
    important ones and says so. What colour shows is always in the text as well.

    Parameters
    ----------
    table : pandas.DataFrame
        From :func:`~orchestrator.leaderboard.table.build_leaderboard`.

    Examples
    --------
    >>> rich.console.Console().print(TerminalReport(build_leaderboard(records)))
    """

    table: pd.DataFrame

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = _columns(problems=bool(self.table[list(_PROBLEMS)].to_numpy().any()))
        widths = _widths(columns, self.table.to_dict("records"), options.max_width)
        shown = [column for column in columns if column.header in widths]
        for (dataset, scenario), block in self.table.groupby(["dataset", "scenario"], sort=False):
            yield Text(f"{dataset}, {scenario}", style="bold")
            yield _terminal_table(block, shown, widths)
            yield Text()
        notes = [*footnotes(self.table), *flag_notes(self.table.to_dict("records"))]
        if len(shown) < len(columns):
            left_out = ", ".join(column.header for column in columns if column not in shown)
            notes.append(f"Left out for lack of room: {left_out.replace(chr(10), ' ')}.")
        for note in notes:
            yield Text(note, style="dim")


def to_markdown(table: pd.DataFrame) -> str:
    """Return the leaderboard as one Markdown table with the footnotes under it.

    The headers are the column names of the table; metrics and seconds have four decimals, and
    ``-`` stands for what is not known. To stay readable the table has the bounds of the average
    accuracy only, and no column that is empty throughout: the Parquet file has everything.

    Parameters
    ----------
    table : pandas.DataFrame
        From :func:`~orchestrator.leaderboard.table.build_leaderboard`.
    """
    columns = [column for column in table.columns if _in_markdown(table, column)]
    aligned = ["---:" if pd.api.types.is_numeric_dtype(table[c]) else "---" for c in columns]
    rows = table.to_dict("records")
    cells = [[_markdown_cell(column, row[column]) for column in columns] for row in rows]
    lines = ["| " + " | ".join(line) + " |" for line in (columns, aligned, *cells)]
    flags = map(_markdown_text, flag_notes(rows))
    notes = [f"- {note}" for note in (*footnotes(table), *flags)]
    return "\n".join(["# Leaderboard", "", *lines, "", *notes, ""])


def _in_markdown(table: pd.DataFrame, column: str) -> bool:
    if column.startswith("average_accuracy") or table.empty:
        return True
    if column == "audit_flag":  # a long sentence, for which there are footnotes
        return False
    return not column.endswith(("_low", "_high")) and bool(table[column].notna().any())


def footnotes(table: pd.DataFrame) -> list[str]:
    """Return the sentences without which the table could mislead.

    They say what the intervals are, how many trials are not in the means, and, where it applies,
    that single seeds have no interval and as-released variants no rank.
    """
    if table.empty:
        return ["No trials yet."]
    missing, diverged, errors = (int(table[problem].sum()) for problem in _PROBLEMS)
    notes = [
        f"Intervals: {100 * CONFIDENCE:g} % Student-t interval over n seeds.",
        f"Trials not in the means: {missing} missing, {diverged} diverged, {errors} with errors.",
    ]
    if (table["n"] == 1).any():
        notes.append("A row with n = 1 has no interval: one seed shows no spread.")
    if (table["variant"] == AS_RELEASED).any():
        notes.append("As-released variants keep published defects and are not ranked.")
    return notes


def write_parquet(table: pd.DataFrame, path: str | Path) -> Path:
    """Write the leaderboard with its column types; a reader sees the old file or the new one.

    Missing folders are made. Returns the path.
    """
    return _write(Path(path), _parquet(table))


def write_text(text: str, path: str | Path) -> Path:
    """Write Markdown or HTML as UTF-8; a reader sees the old file or the new one.

    Missing folders are made. Returns the path.
    """
    return _write(Path(path), text.encode())


def save(
    table: pd.DataFrame, storage: Storage, folder: str, page: str | None = None
) -> tuple[str, ...]:
    """Write ``leaderboard.md``, ``.parquet`` and, given the page, ``.html``; return where they are.

    Each file is replaced as a whole, so that a reader never sees half of one.

    Parameters
    ----------
    table : pandas.DataFrame
    storage : Storage
    folder : str
        A folder in it, such as ``leaderboards/quickstart``.
    page : str, optional

    Raises
    ------
    OSError
        If one cannot be written.
    """
    files = {"md": to_markdown(table).encode(), "parquet": _parquet(table)}
    if page is not None:
        files["html"] = page.encode()
    for suffix, content in files.items():
        storage.write(f"{folder}/leaderboard.{suffix}", content)
    return tuple(storage.path(f"{folder}/leaderboard.{suffix}") for suffix in files)


def _columns(problems: bool) -> list[_Column]:
    columns = [
        _Column("#", lambda row: ABSENT if pd.isna(row["rank"]) else str(row["rank"])),
        _Column("method", _method, _BLANKS),
        _Column("settings", lambda row: row["settings"] or "default", _COMMAS),
        _Column("accuracy", _accuracy),
        _Column("forgetting", lambda row: fraction(row["forgetting"])),
        _Column("backward\ntransfer", lambda row: fraction(row["backward_transfer"])),
        _Column("learning\naccuracy", lambda row: fraction(row["learning_accuracy"])),
        _Column("memory", lambda row: size(row["bytes_kept"])),
        _Column("time", lambda row: duration(row["seconds"])),
        _Column("n", lambda row: str(row["n"])),
    ]
    return [*columns, _Column("problems", _problems, _COMMAS)] if problems else columns


def _widths(columns: list[_Column], rows: list[Any], room: int) -> dict[str, int]:
    """Return the width of each column that is shown, by header.

    Texts get the room that their words need, less where there is none, then, from left to right,
    what is left over.
    """
    least, most = {}, {}
    for header, cell, blanks in columns:
        cells = [cell(row) for row in rows]
        words = [word for text in cells for word in (blanks.split(text) if blanks else [text])]
        longest = max(map(cell_len, words), default=0)
        title = max(map(len, header.split("\n")))
        least[header] = max(title, min(longest, _LONGEST_WORD) if blanks else longest)
        most[header] = max(least[header], *map(cell_len, cells), 0)
    for header in _LEFT_OUT:
        if sum(least.values()) + _GAP * (len(least) - 1) > room:
            del least[header]
    spare = room - sum(least.values()) - _GAP * (len(least) - 1)
    texts = [column.header for column in columns if column.words]
    while spare < 0 and least[widest := max(texts, key=least.__getitem__)] > _NARROWEST_TEXT:
        least[widest] -= 1  # words are folded; numbers stay whole
        spare += 1
    spare = max(0, spare)
    for header, width in list(least.items()):
        least[header] = min(width + spare, most[header])
        spare -= least[header] - width
    return least


def _terminal_table(block: pd.DataFrame, columns: list[_Column], widths: dict[str, int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        left = column.words or column.header == "accuracy"
        table.add_column(
            Text(column.header),
            justify="left" if left else "right",
            width=widths[column.header],
            overflow="fold",
        )
    for row in block.to_dict("records"):
        style = "dim" if pd.isna(row["rank"]) else "bold" if row["rank"] == 1 else None
        # Text, because names such as glr[memory=gmm] would be read as markup.
        table.add_row(*(Text(column.cell(row)) for column in columns), style=style)
    return table


def _method(row: Any) -> str:
    released = f"({AS_RELEASED})" if row["variant"] == AS_RELEASED else ""
    return " ".join(filter(None, (row["method"], released, MARK if is_flagged(row) else "")))


def _accuracy(row: Any) -> str:
    mean, low, high = (fraction(row[f"average_accuracy{end}"]) for end in ("", "_low", "_high"))
    if row["n"] == 0:
        return ABSENT
    return f"{mean} (one seed)" if row["n"] == 1 else f"{mean} [{low}, {high}]"


def _problems(row: Any) -> str:
    counts = {"missing": row["missing"], "diverged": row["diverged"]}
    counts["error" if row["errors"] == 1 else "errors"] = row["errors"]
    return ", ".join(f"{count} {problem}" for problem, count in counts.items() if count)


def _markdown_cell(column: str, value: Any) -> str:
    if pd.isna(value):
        return ABSENT
    if isinstance(value, float):
        return f"{value:z.{_DECIMALS.get(column, 4)}f}"
    if column == "audit_flagged" and value:
        return f"{value} {MARK}"
    return _markdown_text(value)


def _markdown_text(value: Any) -> str:
    text = printable(" ".join(str(value).split()))
    return re.sub(r"([\\|`*<]|(?<=\])\()", r"\\\1", text)  # nothing becomes a link or a picture


def _parquet(table: pd.DataFrame) -> bytes:
    content: bytes = table.to_parquet(index=False)
    return content


def _write(path: Path, content: bytes) -> Path:
    with replacing(path) as file:
        file.write(content)
    return path
