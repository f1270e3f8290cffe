from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from _mistakes import MISTAKES
from _mutations import Broken, Good, broken_spaces, good_spaces, random_edits

from orchestrator.errors import UserError
from orchestrator.plan import make_plan
from orchestrator.search_space import parse_space
from orchestrator.space.yaml_file import YamlFile

ROOT = Path(__file__).parents[3]

#: In place of what a machine may lack: the one source that is always there, which is small.
SMALL = {"mnist": "digits", "test_per_task: 1000": "test_per_task: 9", "12000": "30", "2000": "9"}


def on_digits(text: str) -> str:
    for one, other in SMALL.items():
        text = text.replace(one, other)
    return text


#: Other sources, networks that digits are too small for, and a method registered in its guide only.
ELSEWHERE = (
    *("svhn", "cifar", "emnist", "qmnist", "fashion-mnist", "miniimagenet", "mini-imagenet"),
    *("prer-cnn", "anchor"),
)
GOODS = [
    Good(good.name, on_digits(good.text))
    for good in good_spaces(ROOT)
    if not any(word in good.text for word in ELSEWHERE)
]
BROKEN = broken_spaces(GOODS, MISTAKES, 2 * len(MISTAKES), seed=0)


def told(path: Path) -> list[str]:
    """What is said of a file."""
    try:
        make_plan(path, path.parent / "data")
    except UserError as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("good", GOODS, ids=lambda good: good.name)
def test_the_good_ones_are_good(good: Good, tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(good.text, encoding="utf-8")
    assert told(path) == []


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.mistake)
def test_a_mistake_is_named_with_file_line_and_key_and_its_repair(
    broken: Broken, tmp_path: Path
) -> None:
    path = tmp_path / "space.yaml"
    if broken.content is not None:
        path.write_bytes(broken.content)
    lines = told(path)
    assert all(line.startswith(f"{path}:") for line in lines)
    about = broken.lines_about(str(path), lines)
    assert about, (broken.kind, broken.line, broken.key, lines)
    assert broken.is_mended_by(about), (broken.kind, broken.repair, lines)


def test_every_kind_of_mistake_is_made() -> None:
    assert len(BROKEN) == 2 * len(MISTAKES)
    assert len({broken.kind for broken in BROKEN}) == len(MISTAKES)
    assert sum(bool(broken.repair) for broken in BROKEN) > len(BROKEN) / 2


def test_a_wrong_line_a_wrong_key_and_a_wrong_repair_would_be_seen() -> None:
    broken = Broken("kind", "good", "mistake", b"", 3, "tusks", "did you mean 'tasks'?")
    right = "a.yaml:3: tusks: unknown key; did you mean 'tasks'?"
    assert broken.lines_about("a.yaml", [right]) == [right]
    assert broken.is_mended_by([right])
    for wrong in (right.replace(":3:", ":4:"), right.replace("tusks", "tasks"), f"b{right}"):
        assert broken.lines_about("a.yaml", [wrong]) == []
    assert not broken.is_mended_by([right.replace("'tasks'", "'seed'")])


@pytest.mark.parametrize("seed", range(10))
def test_random_edits_are_read_or_answered_in_short_time(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(30):
        text = random_edits(rng.choice(GOODS).text, rng)
        start, said = time.process_time(), ""
        try:
            parse_space(YamlFile.parse(text, "space.yaml"))[1].raise_if_any()
        except UserError as error:
            said = str(error)
        assert all(line.startswith("space.yaml") for line in said.splitlines()), text
        assert time.process_time() - start < 1, text


@pytest.mark.parametrize("seed", range(3))
def test_random_edits_of_a_file_that_is_planned_raise_nothing_else(
    seed: int, tmp_path: Path
) -> None:
    rng = random.Random(1000 + seed)
    small = [good for good in GOODS if good.name in {"README-0", "search-spaces-0", "mlflow-0"}]
    path = tmp_path / "space.yaml"
    for _ in range(20):
        path.write_text(random_edits(rng.choice(small).text, rng), encoding="utf-8")
        told(path)
