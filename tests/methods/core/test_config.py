"""Configurations: strict, frozen, comparable, flat."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from methods.core.config import Config, by_name, flatten
from methods.core.registry import method_class, method_names


class Part(Config):
    """A part of something."""

    size: int = 3
    """How large."""
    share: float = 0.5


class Whole(Config):
    """Something."""

    part: Part = Part()
    name: str = "whole"


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"siez": 4}, ("siez",)),
        ({"part": {"siez": 4}}, ("part", "siez")),
        ({"part": {"size": "4"}}, ("part", "size")),
        ({"part": {"size": 4.0}}, ("part", "size")),
        ({"part": {"size": None}}, ("part", "size")),
        ({"name": 4}, ("name",)),
    ],
)
def test_unknown_keys_and_wrong_types_are_errors(
    values: dict[str, Any], place: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationError) as error:
        Whole.model_validate(values)
    assert [detail["loc"] for detail in error.value.errors()] == [place]


def test_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Whole().name = "other"  # type: ignore[misc]


def test_equal_configs_have_equal_canonical_forms() -> None:
    written = Whole.model_validate({"part": {"size": 3}})
    assert written == Whole()
    assert hash(written) == hash(Whole())
    assert written.canonical() == {"part": {"size": 3, "share": 0.5}, "name": "whole"}
    assert written.canonical() != Whole(part=Part(size=4)).canonical()


def test_fields_take_their_description_from_the_docstring() -> None:
    assert Part.model_fields["size"].description == "How large."


def test_flatten() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {
        "a.b.c": 1,
        "a.d": [2],
        "e": None,
    }
    assert flatten({}) == {}


def test_by_name() -> None:
    assert by_name("mlp") == {"name": "mlp"}
    assert by_name({"name": "mlp"}) == {"name": "mlp"}


@pytest.mark.parametrize("name", method_names())
def test_every_method_can_be_configured(name: str) -> None:
    """Each option has a default and a description, and survives a journey through JSON."""
    method = method_class(name)
    default = method.Config()
    read = method.Config.model_validate(json.loads(json.dumps(default.canonical())))
    assert read == default
    for option, field in method.Config.model_fields.items():
        assert field.description, option
    assert method.axes | method.protocol <= set(method.Config.model_fields)
