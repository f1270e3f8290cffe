"""Docstrings as Markdown: numpy style and a little reStructuredText, as GitHub shows it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import NamedTuple

#: What is left alone where links are made: formulas, code, and links that are there.
_KEPT = re.compile(r"(\$`[^`]*`\$|`[^`]*`|\[[^]]*\]\([^)]*\))")
_MATH = re.compile(r":math:`([^`]*)`", re.DOTALL)
_ROLE = re.compile(r":[a-z]+:`~(?:\w+\.)*(\w+)`|:[a-z]+:`([^`]*)`")
_CODE = re.compile(r"``([^`]*)``")
_ARXIV = re.compile(r"arXiv:(\d{4}\.\d{4,5})")
_FORMULA = ".. math::"
#: TeX of which Markdown would take the backslash away, and what means the same.
_SPELT_OUT = {
    r"\,": r"\thinspace ",
    r"\;": r"\thickspace ",
    r"\!": r"\negthinspace ",
    r"\{": r"\lbrace ",
    r"\}": r"\rbrace ",
    r"\|": r"\Vert ",
    "*": r"\ast ",
    "<": r"\lt ",
    ">": r"\gt ",
}


class Docstring(NamedTuple):
    """The parts of a docstring, each as Markdown.

    Attributes
    ----------
    summary : str
        The first line.
    body : str
        What follows, up to the first section.
    sections : dict of str to str
        Numpy-style sections by title, in their order.
    """

    summary: str
    body: str
    sections: dict[str, str]


def read_docstring(text: str | None) -> Docstring:
    """Take a docstring apart."""
    lines = inspect.cleandoc(text or "").splitlines()
    starts = [i for i in range(len(lines) - 1) if _is_title(lines[i], lines[i + 1])]
    ends = [*starts, len(lines)][1:]
    sections = {
        lines[start]: to_markdown("\n".join(lines[start + 2 : end]))
        for start, end in zip(starts, ends, strict=True)
    }
    before = lines[: starts[0]] if starts else lines
    blank = before.index("") if "" in before else len(before)
    summary = to_markdown(" ".join(before[:blank]))
    return Docstring(summary, to_markdown("\n".join(before[blank:])), sections)


def to_markdown(text: str) -> str:
    """Turn reStructuredText, as our docstrings have it, into Markdown.

    Formulas become ``$$`` blocks, simple tables Markdown's own, and paragraphs one line each.
    """
    blocks = [_block(block) for block in _blocks(text.strip("\n").splitlines())]
    return re.sub(r"(?m)^(- .*)\n\n(?=- )", r"\1\n", "\n\n".join(blocks))


def in_a_cell(text: str) -> str:
    """Return Markdown as it can stand in a cell of a table."""
    return " ".join(text.split()).replace("|", r"\|")


def inline(text: str) -> str:
    """Turn the marks within a paragraph into Markdown, and numbers of papers into links."""
    text = _MATH.sub(lambda match: f"$`{' '.join(match[1].split())}`$", text)
    text = _ROLE.sub(lambda match: f"`{match[1] or match[2]}`", text)
    return linked(_CODE.sub(r"`\1`", text))


def linked(text: str) -> str:
    """Turn the numbers of papers into links."""
    parts = _KEPT.split(text)
    parts[::2] = [_ARXIV.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", part) for part in parts[::2]]
    return "".join(parts)


def _is_title(line: str, under: str) -> bool:
    return bool(line.strip()) and set(under) == {"-"} and len(under) >= len(line.rstrip())


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Yield paragraphs, items of lists, formulas and tables, each as its lines."""
    block: list[str] = []
    for line in lines:
        formula = bool(block) and block[0].startswith(_FORMULA)
        goes_on = not line or line.startswith(" ") if formula else bool(line)
        starts = line.startswith(("- ", _FORMULA))
        if block and (not goes_on or starts):
            yield block
            block = []
        if line or block:
            block.append(line)
    if block:
        yield block


def _block(lines: list[str]) -> str:
    if lines[0].startswith(_FORMULA):
        formula = " ".join([lines[0].removeprefix(_FORMULA), *lines[1:]])
        return f"$$\n{_spelt_out(formula)}\n$$"
    if set(lines[0]) <= {"=", " "}:
        return _table(lines)
    return inline(" ".join(line.strip() for line in lines))


def _table(lines: list[str]) -> str:
    """Turn a simple table, whose columns lie under rules of ``=``, into a Markdown table."""
    starts = [match.start() for match in re.finditer("=+", lines[0])]
    ends = [*starts[1:], None]
    rows: list[list[str]] = []
    for line in lines:
        if set(line) <= {"=", " "}:
            continue
        cells = [line[start:end].strip() for start, end in zip(starts, ends, strict=True)]
        if rows and not cells[0]:  # what has no first cell goes on with the row above
            rows[-1] = [" ".join(filter(None, pair)) for pair in zip(rows[-1], cells, strict=True)]
        else:
            rows.append(cells)
    rows.insert(1, ["---"] * len(starts))
    return "\n".join(f"| {' | '.join(in_a_cell(inline(cell)) for cell in row)} |" for row in rows)


def _spelt_out(tex: str) -> str:
    """Return a formula in one line, in which Markdown finds nothing that it would change.

    Of two lines the second could begin with a sign, and be taken for an item of a list.
    """
    # A doubled backslash ends a row: Markdown would leave one, which is a blank.
    tex = tex.replace("\\\\", r"\cr ")
    for short, long in _SPELT_OUT.items():
        tex = tex.replace(short, long)
    tex = " ".join(tex.split())
    return "{} " + tex if tex.startswith(("+", "-", "#")) else tex
