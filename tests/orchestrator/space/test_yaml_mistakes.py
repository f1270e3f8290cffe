from __future__ import annotations

import pytest

from orchestrator.errors import UserError
from orchestrator.space.yaml_file import YamlFile

OPEN = "is not closed; put"
COLON = "a key needs a colon and a space behind it; did you mean"

MISTAKES: dict[str, tuple[str, int, str]] = {
    "tab": ("a:\n  b: 1\n\tc: 2\n", 3, "a.c: a tab stands here; indent with spaces"),
    "tab after a key": ("a:\n\tb: 1\n", 2, "a.b: a tab stands here"),
    "open list": ("a: 1\nb: [1, 2\nc: 3\n", 2, f"b: [ {OPEN} ] behind its last value"),
    "open list at the end": ("a: 1\nb: [1, 2\n", 2, f"b: [ {OPEN}"),
    "open list within": ("a: {b: [1, 2}\n", 1, f"a: [ {OPEN}"),
    "open mapping": ("a: {b: 1, c: [2]\nd: 3\n", 1, f"a: {{ {OPEN} }} behind"),
    "open mapping of an item": (
        "method:\n  - replay:\n      memory:\n        - {name: gmm\n        - gmm\n",
        4,
        f"replay.memory: {{ {OPEN}",
    ),
    "comma in a list of several lines": (
        "a:\n  [1,\n   {b: 1} {c: 2}]\nd: 1\n",
        3,
        "a comma or ] is missing between [ and ]",
    ),
    "open quote": ("a: 1\nb: 'c\nd: 2\n", 2, "b: the quote that begins here is not closed"),
    "no colon": ("a: 1\ntasks 5\nb: 1\n", 2, f"tasks: {COLON} 'tasks: 5'?"),
    "no colon in the first line": ("tasks 5  # of 2\nb: 1\n", 1, f"tasks: {COLON} 'tasks: 5'?"),
    "no colon in the last line": ("a: 1\ntasks 5\n", 2, f"tasks: {COLON} 'tasks: 5'?"),
    "equals": ("a: 1\ntasks = 5\nb: 1\n", 2, f"tasks: {COLON} 'tasks: 5'?"),
    "no space": ("a: 1\nseed:0..2\nb: 1\n", 2, f"seed: {COLON} 'seed: 0..2'?"),
    "no colon beneath keys": ("a:\n  b:\n    c 1\n    d: 2\n", 3, f"a.b.c: {COLON} 'c: 1'?"),
    "no space behind a dash": ("m:\n- a\n-b\nc: 1\n", 3, "did you mean '- b'?"),
    "a sentence": ("what is\nthis\na: 1\n", 2, "is neither a key with its value"),
    "second colon": ("a: 1\nb: c: d\n", 2, "b: has a second colon; put text that holds a colon"),
    "too deep": ("a: 1\n  b: 2\n", 2, "b: the indent of 2 spaces fits no line above"),
    "between": ("a:\n  b:\n    c: 1\n   d: 2\n", 4, "a.b.d: the indent of 3 spaces fits no line"),
    "less than the list": ("m:\n  - a\n - b\n", 3, "m: the indent of 1 space fits no line above"),
    "strange sign": ("a: 1\nb: @c\n", 2, "b: text that begins with '@' needs quotes"),
    "no value": ("a: [1,, 2]\n", 1, "a: is not valid YAML: "),
    "after a line that is none": ("# x\u2028\u2028\na: 1\nb: [1\n", 3, f"b: [ {OPEN}"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_is_no_yaml_is_told_where_it_begins(case: str) -> None:
    text, line, message = MISTAKES[case]
    with pytest.raises(UserError) as caught:
        YamlFile.parse(text, "file.yaml")
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"file.yaml:{line}: ")
    assert len(str(caught.value).splitlines()) == 1
