from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, PositiveInt, ValidationError, model_validator

from methods.core.config import Config
from orchestrator.errors import did_you_mean, shown, unknown
from orchestrator.space.problems import InvalidFile, Problems, dotted
from orchestrator.space.yaml_file import Place, YamlFile

TEXT = """\
size: 1
shape: {name: box, side: 1}
method:
  - one: {size: 2, weight: 3}
"""


class Box(Config):
    name: Literal["box"] = "box"
    side: PositiveInt = 1
    corners: tuple[PositiveInt, ...] = ()


class Ball(Config):
    name: Literal["ball"] = "ball"
    radius: PositiveInt = 1


class Thing(Config):
    size: PositiveInt = 1
    weight: Literal["light", "heavy"] | Annotated[float, Field(gt=0, lt=1)] = "light"
    shape: Annotated[Box | Ball, Field(discriminator="name")] = Box()
    exact: bool = True

    @model_validator(mode="after")
    def _balanced(self) -> Thing:
        if self.size == 2 and self.weight == "heavy":
            raise ValueError("weight is too much for that size")
        return self


def problems() -> Problems:
    return Problems(YamlFile.parse(TEXT, "file.yaml"))


def told(found: Problems) -> list[str]:
    try:
        found.raise_if_any()
    except InvalidFile as error:
        return str(error).splitlines()
    return []


def validated(values: dict[str, Any], places: dict[str, Place], around: Place = ()) -> list[str]:
    found = problems()
    with pytest.raises(ValidationError) as caught:
        Thing.model_validate(values)
    found.add_validation(caught.value, Thing, places, around)
    return told(found)


def test_no_problem_raises_nothing() -> None:
    assert told(problems()) == []
    assert len(problems()) == 0


def test_problems_are_sorted_by_line_and_told_once() -> None:
    found = problems()
    for _ in range(2):
        found.add(("method", 0, "one", "weight"), "b")
        found.add(("shape", "side"), "c")
        found.add(("shape",), "a")
        found.add((), "everything")
    assert len(found) == 4
    assert told(found) == [
        "file.yaml:1: everything",
        "file.yaml:2: shape.side: c",
        "file.yaml:2: shape: a",
        "file.yaml:4: one.weight: b",
    ]


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ((), ""),
        (("seed",), "seed"),
        (("seed", 2), "seed[2]"),
        (("network", "widths", 1), "network.widths[1]"),
        (("method",), "method"),
        (("method", 2), "method[2]"),
        (("method", 2, "replay"), "replay"),
        (("method", 2, "replay", "policy", 0), "replay.policy[0]"),
        (("method", "replay", "policy"), "replay.policy"),
    ],
)
def test_dotted(place: Place, text: str) -> None:
    assert dotted(place) == text


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": "x"}, "size: should be a whole number, not 'x'"),
        ({"size": 0}, "size: should be greater than 0, not 0"),
        ({"size": None}, "size: should be a whole number, not null"),
        ({"exact": 1}, "exact: should be true or false, not 1"),
        ({"siez": 1}, "siez: unknown key; did you mean 'size'?"),
        ({"shape": {"name": "box", "sied": 1}}, "shape.sied: unknown key; did you mean 'side'?"),
        ({"shape": {"name": "ball", "side": 1}}, "shape.side: unknown key; possible: name, radius"),
        ({"shape": {"name": "bax"}}, "shape.name: cannot be 'bax'; did you mean 'box'?"),
        ({"shape": {}}, "shape: needs a name, as in {name: …}; possible: ball, box"),
        ({"shape": 5}, "shape: should be a mapping, not 5"),
        ({"weight": "hevy"}, "weight: cannot be 'hevy'; did you mean 'heavy'?"),
        ({"weight": 3.0}, "weight: should be less than 1, not 3.0"),
        ({"weight": [1]}, "weight: should be a number, not [1]"),
        (
            {"shape": {"name": "box", "corners": (1, "x" * 500)}},
            f"shape.corners[1]: should be a whole number, not '{'x' * 79}…",
        ),
    ],
)
def test_pydantic_in_the_words_of_whoever_wrote_the_file(
    values: dict[str, Any], message: str
) -> None:
    (text,) = validated(values, {key: (key,) for key in values})
    assert text.split(": ", 1)[1] == message


def test_a_problem_stands_where_its_option_was_given() -> None:
    given = {"size": ("size",), "shape": ("shape",), "shape.side": ("method", 0, "one", "weight")}
    assert validated({"size": 0, "shape": {"name": "box", "side": 0}}, given) == [
        "file.yaml:1: size: should be greater than 0, not 0",
        "file.yaml:4: one.weight: should be greater than 0, not 0",
    ]


def test_a_problem_of_several_options_stands_at_the_entry_s_own() -> None:
    entry: Place = ("method", 0, "one")
    wrong = {"size": 2, "weight": "heavy"}
    here, shared = (*entry, "size"), ("size",)
    message = "weight is too much for that size"
    assert validated(wrong, {"size": here, "weight": ("shape",)}, entry) == [
        f"file.yaml:4: one.size: {message}"
    ]
    assert validated(wrong, {"size": shared, "weight": ("shape",)}, entry) == [
        f"file.yaml:2: shape: {message}"  # neither is its own: the one that is named first
    ]
    assert validated(wrong, {}, entry) == [f"file.yaml:4: one: {message}"]


def test_suggestions() -> None:
    assert did_you_mean("mnits", ["digits", "mnist"]) == "; did you mean 'mnist'?"
    assert did_you_mean("x", ["b", "a"]) == "; possible: a, b"
    assert did_you_mean("x", []) == ""
    assert unknown("source", None, ["a"]) == "unknown source null; possible: a"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (1.0, "1.0"), ("a\nb", r"'a\nb'"), ([True], "[True]")],
)
def test_shown(value: Any, text: str) -> None:
    assert shown(value) == text
