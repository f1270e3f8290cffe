from __future__ import annotations

import pytest

from orchestrator.reference.docstrings import in_a_cell, inline, linked, read_docstring, to_markdown

DOCSTRING = r"""Do one thing, and say so in a line that
        goes on (eq. 3).

        With :math:`F_t` after task ``t``, the loss of :class:`~methods.core.method.Method` gains

        .. math:: \frac{\lambda}{2} \sum_i F_i (\theta_i - \theta^*_i)^2

        after Someone 2017, arXiv:1612.00796. There are

        - items
          of two lines;
        - others.

        Parameters
        ----------
        x : Tensor

        Defects mended
        --------------
        - The code squares sums, where eq. 3 sums squares: here each
          gradient is squared.
        - It forgets.
        """


def test_a_docstring_has_its_parts() -> None:
    said = read_docstring(DOCSTRING)
    assert said.summary == "Do one thing, and say so in a line that goes on (eq. 3)."
    assert said.body.split("\n\n") == [
        "With $`F_t`$ after task `t`, the loss of `Method` gains",
        "$$\n\\frac{\\lambda}{2} \\sum_i F_i (\\theta_i - \\theta^\\ast _i)^2\n$$",
        "after Someone 2017, [arXiv:1612.00796](https://arxiv.org/abs/1612.00796). There are",
        "- items of two lines;\n- others.",
    ]
    assert said.sections == {
        "Parameters": "x : Tensor",
        "Defects mended": "- The code squares sums, where eq. 3 sums squares: here each "
        "gradient is squared.\n- It forgets.",
    }


def test_a_line_alone_and_nothing_are_docstrings() -> None:
    assert read_docstring("One line.") == ("One line.", "", {})
    assert read_docstring(None) == ("", "", {})


@pytest.mark.parametrize(
    ("rst", "markdown"),
    [
        (".. math:: a \\, b", "$$\na \\thinspace b\n$$"),
        (
            ".. math::\n\n    a &= \\{b\\} \\\\\n    + c\n\nend",
            "$$\na &= \\lbrace b\\rbrace \\cr + c\n$$\n\nend",
        ),
        (".. math::\n    - a <b", "$$\n{} - a \\lt b\n$$"),
        ("before\n\n.. math:: \\|a\\|^2\n\nafter", "before\n\n$$\n\\Vert a\\Vert ^2\n$$\n\nafter"),
    ],
)
def test_formulas_survive_markdown(rst: str, markdown: str) -> None:
    assert to_markdown(rst) == markdown


def test_simple_tables_become_markdown_s() -> None:
    rst = (
        "===== ============ ===\n"
        "depth block        of\n"
        "===== ============ ===\n"
        "1     ``conv`` and a | b\n"
        "      pooling      64\n"
        "2 + i the same     9\n"
        "===== ============ ==="
    )
    assert to_markdown(rst).splitlines() == [
        "| depth | block | of |",
        "| --- | --- | --- |",
        "| 1 | `conv` and pooling | a \\| b 64 |",
        "| 2 + i | the same | 9 |",
    ]


def test_papers_are_linked_once() -> None:
    link = "[arXiv:2004.07211](https://arxiv.org/abs/2004.07211)"
    assert linked("Someone 2020, arXiv:2004.07211, and more") == f"Someone 2020, {link}, and more"
    assert linked(link) == link
    assert linked("`arXiv:2004.07211`") == "`arXiv:2004.07211`"


def test_cells_hold_one_line() -> None:
    assert in_a_cell("a\n  | b") == "a \\| b"
    assert inline(":func:`step` and :attr:`~a.b.entry`") == "`step` and `entry`"
