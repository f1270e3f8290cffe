from __future__ import annotations

import re

import pytest
from pydantic import PositiveFloat

from methods.core.classifier import Classifier
from methods.core.method import Method
from methods.core.registry import method_class, method_names
from methods.core.task import Scenario
from orchestrator.reference import methods_page as page_module
from orchestrator.reference.methods_page import methods_page


class Pulls(Classifier):
    r"""Pull weights back.

    .. math:: \lambda \|\theta\|^2

    Defects mended
    --------------
    - The code pushes; here it pulls.
    """

    name = "pulls"
    paper = "Someone 2020, arXiv:2001.00001"
    scenarios = frozenset({Scenario.TASK_INCREMENTAL})
    axes = Classifier.axes | {"strength"}

    class Config(Classifier.Config):
        """Strength."""

        has_released_variant = True

        strength: PositiveFloat = 2.0
        """λ."""


class PullsHard(Pulls):
    """Pull harder."""

    name = "pulls+"
    axes = Pulls.axes

    class Config(Pulls.Config):
        """More strength."""

        strength: PositiveFloat = 20.0
        """λ, large."""


Pulls.__module__ = PullsHard.__module__ = "methods.pulls"


def section(page: str, title: str, level: str = "###") -> str:
    _, _, rest = page.partition(f"\n{level} {title}\n")
    assert rest, title
    return re.split(r"\n#{2,3} ", rest, maxsplit=1)[0]


@pytest.fixture
def with_pulls(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, type[Method]] = {
        "naive": method_class("naive"),
        "pulls": Pulls,
        "pulls+": PullsHard,
    }
    monkeypatch.setattr(page_module, "method_names", lambda: sorted(known))
    monkeypatch.setattr(page_module, "method_class", lambda name: known[name])


@pytest.mark.usefixtures("with_pulls")
def test_a_method_is_told_with_all_that_it_says_of_itself() -> None:
    page = methods_page()
    link = "Someone 2020, [arXiv:2001.00001](https://arxiv.org/abs/2001.00001)"
    assert f"| [`pulls`](#pulls) | Pull weights back. | task-incremental | {link} |" in page
    assert section(page, "pulls").split("\n\n") == [
        "\nPull weights back.",
        f"- Paper: {link}\n- Scenarios: task-incremental\n"
        "- Axes, which a list at the top of a search space expands: `strength`\n"
        "- `variant: as-released` runs it with the defects of its published code: it is marked in "
        "every record, and never ranked.\n- Code: [methods/pulls.py](../methods/pulls.py)",
        "$$\n\\lambda \\Vert \\theta\\Vert ^2\n$$",
        "| option | type | default | meaning |\n| --- | --- | --- | --- |\n"
        "| `strength` | number > 0 | `2` | λ. |",
        "#### Defects mended",
        "- The code pushes; here it pulls.\n",
    ]


@pytest.mark.usefixtures("with_pulls")
def test_a_method_that_extends_another_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    hard = section(methods_page(), "pulls+")
    assert "- Built on [`pulls`](#pulls)\n" in hard
    assert "| `strength` | number > 0 | `20` | λ, large. |" in hard
    # Where the other one tells its points by their options, it is one of them.
    monkeypatch.setattr(Pulls, "named_point", classmethod(lambda cls, _: cls))
    hard = section(methods_page(), "pulls+")
    assert "- A named point of [`pulls`](#pulls)\n" in hard
    assert "All other options are those of [`pulls`](#pulls)." in hard


def test_every_method_has_its_section_and_a_link_to_it() -> None:
    page = methods_page()
    own = [name for name in method_names() if method_class(name).__module__.startswith("methods.")]
    assert {"naive", "glr", "der++"} <= set(own)
    titles = re.findall(r"(?m)^#+ (.*)$", page)
    slugs: list[str] = []
    for title in titles:  # as GitHub makes them
        slug = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        before = len([one for one in slugs if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", one)])
        slugs.append(f"{slug}-{before}" if slug in slugs else slug)
    for name in own:
        section(page, name)
        (link,) = re.findall(rf"(?m)^\| \[`{re.escape(name)}`\]\(#(.*?)\) \|", page)
        assert titles[slugs.index(link)] == name


def test_points_are_told_from_what_they_are_points_of() -> None:
    page = methods_page()
    for name in ("replay", "latent-replay", "glr", "dgr"):
        assert "- A named point of [`rehearsal`](#rehearsal)" in section(page, name)
    assert "| `memory` | a [memory](#memories) | `gmm` |" in section(page, "glr")
    assert "`buffer_size` | whole" not in section(page, "glr")
    assert "point of" not in section(page, "ewc")
    assert "`freeze_depth` |" not in section(page, "ewc")
    assert "\\sum_i F_{t,i}" in section(page, "ewc")


def test_methods_of_other_packages_are_not_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"naive": method_class("naive"), "theirs": type("Theirs", (Pulls,), {})}
    known["theirs"].__module__ = "their_package.method"
    monkeypatch.setattr(page_module, "method_names", lambda: sorted(known))
    monkeypatch.setattr(page_module, "method_class", lambda name: known[name])
    assert "`theirs`" not in methods_page()
