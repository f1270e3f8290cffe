from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.reference.experiments_page import experiments_page
from orchestrator.reference.published import Figure, beside, figures
from orchestrator.search_space import packaged_spaces, read_space
from orchestrator.space.measured import Measured, Row, Span

NONE = Span(None, None, None)
USUAL = Row(
    *("rotated-mnist", "domain-incremental", "naive", "", "corrected"),
    *(1, 5, 5, 0, 0, 0),
    accuracy=Span(0.5, 0.45, 0.55),
    forgetting=0.25,
    bytes_kept=2_400_000.0,
    seconds=30.0,
    difference=NONE,
    pairs=0,
)


def row(**other: Any) -> Row:
    return replace(USUAL, **other)


def measured(*rows: Row, sweep: str = "glr-rotated-small") -> Measured:
    return Measured(sweep, "naive", {"PyTorch": "2.13.0+cpu", "device": "cpu"}, "", rows)


def section(page: str, title: str) -> str:
    _, _, rest = page.partition(f"\n## {title}\n")
    return re.split(r"\n## ", rest, maxsplit=1)[0]


def page_with(found: Measured) -> str:
    return experiments_page({found.sweep: found}.get)


def test_every_search_space_is_there_whether_it_was_measured_or_not() -> None:
    page = experiments_page(lambda _: None)
    for name in packaged_spaces():
        space, _ = read_space(name)
        text = section(page, name)
        assert " ".join(space.header.description.split())[:40] in text
        for reading in (space, *space.others):
            command = f"engram run {name}" + (f" --budget {reading.budget}" * bool(reading.budget))
            assert re.search(rf"(?m)^\| `{command}` \| [\d,]+ \| not measured \| – \|$", text)
        assert "Results" not in text


def test_results_stand_beside_the_published_figures() -> None:
    replay = row(
        method="replay",
        settings="buffer_size=200",
        rank=1,
        accuracy=Span(0.875, 0.85, 0.9),
        difference=Span(0.375, 0.3, 0.45),
        pairs=5,
    )
    released = row(
        method="glr",
        settings="buffer_size=6000, freeze_depth=2, variant=as-released",
        variant="as-released",
        rank=None,
        difference=Span(0.1, -0.05, 0.25),
        pairs=4,
    )
    text = section(page_with(measured(replay, USUAL, released)), "glr-rotated")
    assert "### Results with --budget small" in text
    assert "15 of 15 trials. Measured when the search space had 15 trials, not 55." in text
    assert "Computed with PyTorch 2.13.0+cpu, device cpu." in text
    assert "rotated-mnist, domain-incremental:" in text
    assert text.split("domain-incremental:\n\n")[1].splitlines()[:5] == [
        "| method | settings | accuracy | less naive, paired | forgetting | kept | n | published |",
        "| --- | --- | --- | --- | ---: | ---: | ---: | ---: |",
        "| `replay` | buffer_size=200 | .875 [.850, .900] | +.375 [+.300, +.450] | .250 | 2.4 MB "
        "| 5 | 0.894 |",
        "| `naive` | – | .500 [.450, .550] |  | .250 | 2.4 MB | 5 | 0.582 |",
        "| `glr` (as released) | buffer_size=6000, freeze_depth=2, variant=as-released "
        "| .500 [.450, .550] | +.100 [-.050, +.250], 4 pairs | .250 | 2.4 MB | 5 | 0.875 |",
    ]


def test_what_is_missing_makes_a_partial_result() -> None:
    some = row(n=1, missing=4, accuracy=Span(0.5, None, None), seconds=60.0)
    none = row(
        method="joint",
        n=0,
        missing=5,
        rank=None,
        accuracy=NONE,
        **dict.fromkeys(("forgetting", "bytes_kept", "seconds")),
    )
    text = section(page_with(measured(some, none)), "glr-rotated")
    assert "**Partial**: 1 of 10 trials." in text
    assert "| `naive` | – | .500 | .250 | 2.4 MB | 1, 4 missing: partial | 0.582 |" in text
    assert "| `joint` |" not in text
    assert "rotated-mnist, domain-incremental, not yet run: `joint`." in text
    # 60 s each: 55 minutes for the 55 trials of today.
    size = "55 | 0.9 h, extrapolated | partial: 1 of 10 |"
    assert f"| `engram run glr-rotated --budget small` | {size}" in text


def test_other_pages_with_the_command_are_named() -> None:
    others = {
        "latent.md": "# Latent replay\n\n`engram run glr-rotated --budget small`, a page.",
        "other.md": "# Other\n\n`engram run glr-rotated-more`",
    }
    text = experiments_page(lambda _: None, others)
    link = "Its figures are told, and explained, in: [Latent replay](latent.md)"
    assert link in section(text, "glr-rotated")
    assert text.count("told, and explained") == 1


def test_trials_that_did_not_finish_are_told() -> None:
    text = section(page_with(measured(row(n=3, diverged=1, errors=1))), "glr-rotated")
    assert "| 3, 1 diverged, 1 with errors |" in text
    assert "all but 2, which did not finish" in text
    assert "Partial" not in text


def test_a_gpu_is_named() -> None:
    found = replace(measured(USUAL), computed_with={"GPU": "NVIDIA A100"})
    text = section(page_with(found), "glr-rotated")
    assert re.search(r"--budget small` \| 55 \| 28 min on NVIDIA A100 \| all \|", text)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("naive", 0),
        ("naive[freeze_depth=2]", 1),
        ("replay[buffer_size=200]", 2),
        ("replay", None),
        ("replay[buffer_size=20]", None),
        ("glr[freeze_depth=2]", 4),
        ("replay, 200 images", None),
        ("source", None),
    ],
)
def test_figures_belong_to_rows_that_they_name(label: str, expected: int | None) -> None:
    rows = [
        row(),
        row(settings="freeze_depth=2"),
        row(method="replay", settings="buffer_size=200, replay_loss=mean"),
        row(method="replay", settings="buffer_size=2000, replay_loss=mean"),
        row(method="glr", settings="buffer_size=600, freeze_depth=2"),
    ]
    found = beside(figures({label: 0.5}), rows)
    assert found == ({} if expected is None else {rows[expected]: Figure((label,), 0.5)})


def test_figures_may_be_of_a_dataset_or_a_scenario() -> None:
    other = row(scenario="task-incremental")
    published = {
        "source": "Table 2",
        "task-incremental": {"naive": {"accuracy": 0.9}},
        "domain-incremental": {"naive": 0.6, "joint": "none"},
    }
    found = {
        one: figure.value for one, figure in beside(figures(published), [USUAL, other]).items()
    }
    assert found == {USUAL: 0.6, other: 0.9}
    assert figures("none") == []
