from __future__ import annotations

import time
from textwrap import dedent
from typing import Any

import pytest

from orchestrator.errors import UserError
from orchestrator.space.yaml_file import Place, YamlFile


def parse(text: str) -> YamlFile:
    return YamlFile.parse(dedent(text), "file.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("-1e3", -1e3),
        ("2.5E+4", 2.5e4),
        (".5e1", 5.0),
        ("1e3", 1000.0),
        ("3", 3),
        ("0.1", 0.1),
        ("'1e-3'", "1e-3"),
        ("1e", "1e"),
        ("e3", "e3"),
        ("0..4", "0..4"),
        ("1/t", "1/t"),
        ("yes", True),
        ("~", None),
        ("class-incremental", "class-incremental"),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    found = parse(f"key: {text}\n").value["key"]
    assert found == value
    assert type(found) is type(value)


def test_each_value_has_the_line_on_which_it_stands() -> None:
    file = parse(
        """\
        # a comment
        name: lines
        method:
          - naive
          - replay:
              buffer_size:
                - 50
                - 200
          - {joint: {}}

        network: {name: mlp,
                  widths: [1,
                           2]}
        """
    )
    lines: dict[Place, int] = {
        (): 2,
        ("name",): 2,
        ("method",): 3,
        ("method", 0): 4,
        ("method", 1, "replay"): 5,
        ("method", 1, "replay", "buffer_size"): 6,
        ("method", 1, "replay", "buffer_size", 1): 8,
        ("method", 2, "joint"): 9,
        ("network",): 11,
        ("network", "widths"): 12,
        ("network", "widths", 1): 13,
    }
    assert {place: file.line(place) for place in lines} == lines
    assert file.line(("network", "depth")) == 11, "what is not there: the thing it would be in"
    assert file.line(("nowhere", 3)) == 2


def test_keys_are_text() -> None:
    assert parse("{1: a, 2.5: b, yes: c, null: d}").value == {
        "1": "a",
        "2.5": "b",
        "True": "c",
        "None": "d",
    }


def test_repeated_keys_are_found_at_any_depth_on_their_second_line() -> None:
    file = parse(
        """\
        seed: 0
        method:
          - replay:
              policy: reservoir
              policy: reservoir
        seed: 1
        """
    )
    assert file.repeated == {("method", 0, "replay", "policy"): 4, ("seed",): 1}
    assert file.line(("seed",)) == 6
    assert file.line(("method", 0, "replay", "policy")) == 5


def test_anchors_and_merges() -> None:
    file = parse(
        """\
        small: &small {widths: [10], name: mlp}
        seeds: &seeds [0, 1]
        network:
          <<: *small
          widths: [20]
        both:
          <<: [{a: 1, b: 1}, {b: 2, c: 2}]
        seed: *seeds
        again: *seeds
        """
    )
    assert file.value["network"] == {"name": "mlp", "widths": [20]}
    assert file.value["both"] == {"a": 1, "b": 1, "c": 2}, "the first of several wins"
    assert file.value["seed"] == file.value["again"] == [0, 1]
    assert file.line(("network", "name")) == 1, "where it is written"
    assert file.line(("network", "widths", 0)) == 5, "what overrides stands where it overrides"
    assert file.line(("again",)) == 9


def test_a_merged_key_that_is_overridden_does_not_stand_twice() -> None:
    file = parse(
        """\
        a: &a {x: 1}
        b: &b {<<: *a, x: 2}
        c: *b
        d: {<<: *b, x: 3}
        """
    )
    assert file.repeated == {}
    assert [file.value[key]["x"] for key in "abcd"] == [1, 2, 2, 3]


def bomb(leaf: str, again: str) -> str:
    """Nine times nine times nine …: 9^12 values in thirteen lines."""
    lines = [f"a: &a {leaf}"]
    for before, here in zip("abcdefghijkl", "bcdefghijklm", strict=True):
        inner = ", ".join([f"*{before}"] * 9)
        lines.append(f"{here}: &{here} {again.replace('@', f'[{inner}]')}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb("1", "@"), "holds more than 100,000 values"),
        (bomb("{k: 1}", "{<<: @}"), "holds more than 100,000 values"),
        ("a: &a [*a]", "within itself"),
        ("a: &a {<<: *a}", "within itself"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_what_grows_without_end_is_refused_at_once(text: str, message: str) -> None:
    start = time.process_time()
    with pytest.raises(UserError, match=message):
        YamlFile.parse(text, "file.yaml")
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        ("a: 1\nb: [1, 2", "file.yaml:2: b: ", r"\[ is not closed"),
        ("a: 1\n\tb: 2", "file.yaml:2: b: ", "a tab stands here; indent with spaces"),
        ("a: 1\nb: 1:30", "file.yaml:2: ", "'1:30' is no number"),
        ("a: 1\nb: *nowhere", "file.yaml:2: ", "undefined alias 'nowhere'"),
        ("a: 1\nb: !!python/name:os.system x", "file.yaml:2: ", "could not determine"),
        ("a: 1\nb: !thing x", "file.yaml:2: ", "could not determine"),
        ("a: 1\nday: 2026-13-01", "file.yaml:2: ", "'2026-13-01' is no timestamp"),
        ("a: 1\nb: !!bool maybe", "file.yaml:2: ", "'maybe' is no bool"),
        ("a: 1\nb: !!int x", "file.yaml:2: ", "'x' is no int"),
        ("a: 1\n? [b, c]\n: 2", "file.yaml:2: ", "a key should be a word"),
        ("a: 1\nb: {<<: 3}", "file.yaml:2: ", "<< merges mappings only"),
        ("a: 1\n---\nb: 1", "file.yaml:2: ", "found another document"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_place(
    text: str, where: str, message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        parse(text)
    assert str(caught.value).startswith(where)
    assert len(str(caught.value).splitlines()) == 1


def test_an_empty_file_is_nothing() -> None:
    assert parse("").value is None
    assert parse("# only a comment\n").value is None


def test_a_byte_order_mark_is_no_key() -> None:
    assert YamlFile.parse("\ufeffname: a\n", "file.yaml").value == {"name": "a"}
