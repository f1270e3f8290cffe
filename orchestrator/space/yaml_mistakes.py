"""What is wrong with a file that is no YAML, in the words of the person who wrote it."""

from __future__ import annotations

import re

import yaml

from orchestrator.errors import shown

#: A key at the start of a line, behind the dashes of a list; then what follows it.
_KEY = re.compile(r"^(\s*(?:- +)*)([^\s:#'\"\[\]{}][^:#'\"\[\]{}]*?) *:(?=\s|$)(.*)$")
#: A key and a value with something else than a colon and a space between them.
_NO_COLON = re.compile(r"^(\s*(?:- +)*)([A-Za-z_][\w.-]*?)(?:\s*=\s*|:|\s+)(\S.*)$")
#: An item of a list without a key.
_ITEM = re.compile(r"^(\s*-)(?= )()")
_NO_SPACE = re.compile(r"^\s*-(\w.*)$")
_COMMENT = re.compile(r"(^|\s)#.*$")
_CLOSING = {"[": "]", "{": "}"}


def explain(error: yaml.MarkedYAMLError, text: str) -> tuple[int, tuple[str, ...], str]:
    """Return where a file stops being YAML, and why.

    The parser complains where it can go on no longer, which may be lines after the mistake.

    Parameters
    ----------
    error : yaml.MarkedYAMLError
    text : str
        The whole file.

    Returns
    -------
    line : int
        From 1.
    keys : tuple of str
        The keys around the mistake, from the top; empty where there is none.
    message : str
    """
    lines = text.split("\n")
    at, message = _mistake(error, text, lines)
    at = min(at, len(lines) - 1)
    return at + 1, _keys(lines, at), message


def _mistake(error: yaml.MarkedYAMLError, text: str, lines: list[str]) -> tuple[int, str]:
    """Return a line, from 0, and what is wrong there."""
    context, problem = error.context or "", error.problem or "cannot be read"
    here = 0 if error.problem_mark is None else _line(error.problem_mark, text)
    start = here if error.context_mark is None else _line(error.context_mark, text)
    if "'\\t'" in problem:
        return here, "a tab stands here; indent with spaces"
    if "cannot start any token" in problem:
        sign = problem.removeprefix("found character ")[:3]
        return here, f"text that begins with {sign} needs quotes"
    if context.startswith("while parsing a flow") and error.context_mark is not None:
        return _in_brackets(error.context_mark, here, problem, text, lines)
    if "quoted scalar" in context and "end of stream" in problem:
        return start, "the quote that begins here is not closed"
    if problem == "could not find expected ':'":
        return start, _without_colon(lines[start])
    if problem == "mapping values are not allowed here" and error.problem_mark is not None:
        return _second_value(lines, here, error.problem_mark.column)
    if problem.startswith("expected '<document start>'"):  # a line that is no key, then a key
        return _second_value(lines, here, 0)
    if problem.startswith("expected <block end>"):
        return here, _indentation(lines[here])
    return here, f"is not valid YAML: {', '.join(filter(None, (context, problem)))}"


def _in_brackets(
    opened: yaml.Mark, here: int, problem: str, text: str, lines: list[str]
) -> tuple[int, str]:
    bracket = text[opened.index]
    closing = _CLOSING.get(bracket)
    if closing is None:
        return here, f"is not valid YAML: {problem}"
    found = problem.rpartition("but got ")[2].strip("'")
    start = _line(opened, text)
    behind = here >= len(lines) or _indent(lines[here]) <= _indent(lines[start])
    if found in {"]", "}", "<stream end>"} or (here > start and behind):
        return start, f"{bracket} is not closed; put {closing} behind its last value"
    return here, f"a comma or {closing} is missing between {bracket} and {closing}"


def _line(mark: yaml.Mark, text: str) -> int:
    """Return the line of a mark as editors count, for whom U+2028 and the like end none."""
    return text.count("\n", 0, mark.index)


def _without_colon(line: str) -> str:
    if item := _NO_SPACE.match(line):
        return f"a dash needs a space behind it; did you mean {shown(f'- {_value(item[1])}')}?"
    if pair := _NO_COLON.match(line):
        written = f"{pair[2]}: {_value(pair[3])}"
        return f"a key needs a colon and a space behind it; did you mean {shown(written)}?"
    return "is neither a key with its value, as in tasks: 5, nor an item of a list, as in - naive"


def _second_value(lines: list[str], here: int, column: int) -> tuple[int, str]:
    """Explain a colon where a key cannot be."""
    line = lines[here]
    if re.search(r":\s", line[:column]):
        return here, "has a second colon; put text that holds a colon into quotes"
    before = [i for i in range(here) if _COMMENT.sub("", lines[i]).strip()]
    if before and _KEY.match(lines[before[-1]]) is None:
        return before[-1], _without_colon(lines[before[-1]])
    return here, _indentation(line)


def _indentation(line: str) -> str:
    spaces = _indent(line)
    said = "1 space" if spaces == 1 else f"{spaces} spaces"
    return f"the indent of {said} fits no line above; keys that belong together begin alike"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _value(text: str) -> str:
    return _COMMENT.sub("", text).strip()


def _keys(lines: list[str], at: int) -> tuple[str, ...]:
    """Return the key on a line, and those that it stands beneath."""
    own = _KEY.match(lines[at]) or _ITEM.match(lines[at]) or _NO_COLON.match(lines[at])
    if own is None:
        return ()
    keys, indent = [own[2]] if own[2] else [], len(own[1])
    for line in reversed(lines[:at]):
        above = _KEY.match(line)
        if above is None:
            continue
        opens = not _value(above[3])
        if "\t" in own[1] and len(keys) == 1:  # as deep as the line above it, or one deeper
            indent = len(above[1]) + opens
        if len(above[1]) < indent:
            if not opens:
                break  # it has a value: nothing can stand beneath it
            keys.insert(0, above[2])
            indent = len(above[1])
    return tuple(keys)
