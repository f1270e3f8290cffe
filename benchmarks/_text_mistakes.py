"""Mistakes that leave no search space to be read: broken YAML, other files, none at all."""

from __future__ import annotations

import random
from itertools import pairwise

import yaml
from _mutations import Broken, Good, Mistake, Spot, named
from _spots import did_you_mean, on_one_line, pick, value_of


def _line_key(good: Good, spot: Spot) -> str:
    """Return the key that begins the line of a spot, or what the line stands in."""
    line, path = good.text.split("\n")[spot.line - 1], spot.path
    if on_line := [key for key in good.keys if key.line == spot.line]:
        begins = not line[: on_line[0].node.start_mark.column].strip(" -")
        path = on_line[0].path if begins else on_line[0].path[:-1]
    return named(tuple(part for part in path if isinstance(part, str)))


def _tab(good: Good, rng: random.Random) -> Broken | None:
    lines = good.text.split("\n")
    starts = [k for k in good.keys if on_one_line(good, k) and k.node.start_mark.column > 0]
    spot = pick([k for k in starts if lines[k.line - 1].startswith("  ")], rng)
    if spot is None:
        return None
    line = spot.line
    lines[line - 1] = "\t" + lines[line - 1].lstrip()
    mistake = f"a tab before line {line} in {good.name}"
    text = "\n".join(lines).encode()
    return Broken("yaml: tab", good.name, mistake, text, line, _line_key(good, spot), "spaces")


def _open_bracket(good: Good, rng: random.Random) -> Broken | None:
    flows = [
        v
        for v in good.values
        if isinstance(v.node, yaml.CollectionNode) and v.node.flow_style and v.path
    ]
    spot = pick(flows, rng)
    if spot is None:
        return None
    end = spot.node.end_mark.index
    text = good.text[: end - 1] + good.text[end:]
    line, bracket = spot.line, good.text[spot.node.start_mark.index]
    mistake = f"{bracket} not closed on line {line} in {good.name}"
    key, repair = _line_key(good, spot), f"{bracket} is not closed"
    return Broken("yaml: open bracket", good.name, mistake, text.encode(), line, key, repair)


def _missing_colon(good: Good, rng: random.Random) -> Broken | None:
    spots = [k for k in good.keys if len(k.path) == 1 and on_one_line(good, k)]
    spots = [k for k in spots if isinstance(value_of(good, k).node, yaml.ScalarNode)]
    spot = pick(spots, rng)
    if spot is None:
        return None
    value = value_of(good, spot)
    how = rng.choice([" ", ":", "="])
    end = spot.node.end_mark.index
    text = good.text[:end] + how + good.text[value.node.start_mark.index :]
    mistake = f"{spot.text}{how}{value.text} in {good.name}"
    repair = did_you_mean(f"{spot.text}: {value.text}")
    return Broken("yaml: colon", good.name, mistake, text.encode(), spot.line, spot.text, repair)


def _wrong_indent(good: Good, rng: random.Random) -> Broken | None:
    """Indent a key of the top that follows one with a scalar value."""
    tops = [k for k in good.keys if len(k.path) == 1]
    pairs = [
        later
        for earlier, later in pairwise(tops)
        if isinstance(value_of(good, earlier).node, yaml.ScalarNode) and on_one_line(good, earlier)
    ]
    spot = pick(pairs, rng)
    if spot is None:
        return None
    start = spot.node.start_mark.index
    text = good.text[:start] + rng.choice([" ", "  ", "    "]) + good.text[start:]
    mistake = f"{spot.text} indented in {good.name}"
    key = spot.text
    return Broken("yaml: indentation", good.name, mistake, text.encode(), spot.line, key, "indent")


def _bytes(good: Good, rng: random.Random) -> Broken | None:
    at = rng.randrange(len(good.text))
    before = good.text[:at].encode()
    line = before.count(b"\n") + 1
    content = before + b"\xe4" + good.text[at:].encode()
    return Broken("file: not UTF-8", good.name, f"a byte E4 in {good.name}", content, line, "")


def _whole_file(good: Good, rng: random.Random) -> Broken | None:
    content, line, what = rng.choice(
        [
            (b"", 1, "empty"),
            (b"# to do\n", 1, "a comment"),
            (b"- dataset: split-digits\n- method: naive\n", 1, "a list"),
            (b"split-digits\n", 1, "a word"),
            (b"null\n", 1, "null"),
            (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", 2, "a PDF"),
            (None, None, "no file"),
        ]
    )
    return Broken("file: as a whole", good.name, f"{what} for {good.name}", content, line, "")


TEXT_MISTAKES: tuple[Mistake, ...] = (
    _tab,
    _open_bracket,
    _missing_colon,
    _wrong_indent,
    _bytes,
    _whole_file,
)
