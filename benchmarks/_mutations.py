"""Search spaces broken on purpose: one mistake in a good file, and what has to be said of it.

A mistake is made in the text of a file, at a place that PyYAML's own nodes give, so that line and
key are known without Engram. ``benchmarks/_mistakes.py`` has the mistakes themselves.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

#: Keys and indices from the top of a file.
Path_ = tuple[str | int, ...]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
#: Good files that a mistake is tried on before the next one has its turn.
_ATTEMPTS = 30
#: What YAML reads as something else than text.
_NO_WORDS = {"", "y", "n", "yes", "no", "on", "off", "null", "true", "false"}


@dataclass(frozen=True)
class Spot:
    """A key of a file, or a value.

    Attributes
    ----------
    path : tuple
        A value's is that of its key, or of its place in a list.
    node : yaml.Node
    """

    path: Path_
    node: yaml.Node

    @property
    def line(self) -> int:
        """Line of a key or of an item of a list, from 1."""
        return self.node.start_mark.line + 1

    @property
    def text(self) -> str:
        """A scalar as it is written."""
        return str(self.node.value)


@dataclass
class Good:
    """A search space without a mistake.

    Attributes
    ----------
    name : str
    text : str
    keys, values : list of Spot
        All keys; all values, collections too.
    """

    name: str
    text: str
    keys: list[Spot] = field(default_factory=list)
    values: list[Spot] = field(default_factory=list)

    def __post_init__(self) -> None:
        root = yaml.compose(self.text, yaml.SafeLoader)
        assert root is not None
        self._walk(root, ())

    def _walk(self, node: yaml.Node, path: Path_) -> None:
        self.values.append(Spot(path, node))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = (*path, str(key.value))
                self.keys.append(Spot(inner, key))
                self._walk(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for i, item in enumerate(node.value):
                self._walk(item, (*path, i))

    def key_of(self, value: Spot) -> Spot:
        """Return the key of a value, or the value itself where it is an item of a list."""
        return next((key for key in self.keys if key.path == value.path), value)

    def with_text(self, spot: Spot, text: str) -> str:
        """Return the file with something else in a place."""
        start, end = spot.node.start_mark.index, spot.node.end_mark.index
        return self.text[:start] + text + self.text[end:]


@dataclass(frozen=True)
class Broken:
    """A file with a mistake, and what has to be said of it.

    Attributes
    ----------
    kind : str
        The row of the table that it counts in.
    source : str
        The good file.
    mistake : str
        What was done to it.
    content : bytes, optional
        Of the file; None where there is none.
    line : int, optional
        Where the mistake stands; None where it is the file itself.
    key : str
        The key of it, as a message names it: ``replay.memory.policy[1]``; empty where the place is
        of no key.
    repair : str
        What the message must say for its suggestion to be right; empty where several repairs are
        as likely, so that none is known.
    """

    kind: str
    source: str
    mistake: str
    content: bytes | None
    line: int | None
    key: str
    repair: str = ""

    def lines_about(self, file: str, told: Sequence[str]) -> list[str]:
        """Return the lines of a message that name file, line and key of the mistake."""
        where = f"{file}: " if self.line is None else f"{file}:{self.line}: "
        return [line for line in told if line.startswith(where + (self.key and f"{self.key}: "))]

    def is_mended_by(self, lines: Sequence[str]) -> bool:
        """Whether the lines about it tell the repair, where it is known."""
        return any(self.repair in line for line in lines)


#: Breaks a good file; None where it has nothing that the mistake could be made with.
Mistake = Callable[[Good, random.Random], "Broken | None"]


def good_spaces(root: Path) -> list[Good]:
    """Return the packaged search spaces and the whole ones among the documented examples."""
    spaces = [
        Good(path.stem, path.read_text(encoding="utf-8"))
        for path in sorted((root / "search_spaces").glob("*.yaml"))
    ]
    for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
        for i, block in enumerate(blocks):
            if re.search(r"^dataset:", block, re.M) and re.search(r"^method:", block, re.M):
                spaces.append(Good(f"{page.stem}-{i}", block))
    return spaces


def broken_spaces(
    goods: Sequence[Good], mistakes: Sequence[Mistake], count: int, seed: int
) -> list[Broken]:
    """Return so many different broken files, as evenly over the mistakes as they allow."""
    found: dict[bytes | str, Broken] = {}
    rng = random.Random(seed)
    for mistake in itertools.islice(itertools.cycle(mistakes), 10 * count):
        for _ in range(_ATTEMPTS):
            broken = mistake(rng.choice(goods), rng)
            if broken and found.setdefault(broken.content or broken.mistake, broken) is broken:
                break
        if len(found) == count:
            break
    return list(found.values())


def named(path: Path_) -> str:
    """Write a place as a message names it: a method's entry is called by the method's name."""
    around, path = (path[:2], path[2:]) if path[:1] == ("budgets",) else ((), path)
    if path[:1] == ("method",):
        words = [i for i, part in enumerate(path) if i and isinstance(part, str)]
        path = path[words[0] :] if words else path
    text = ""
    for part in (*around, *path):
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def inside(path: Path_) -> Path_:
    """Return a place without the budget that it stands in, and without indices."""
    path = path[2:] if path[:1] == ("budgets",) and len(path) > 1 else path
    return tuple(part for part in path if isinstance(part, str))


def typo(word: str, rng: random.Random) -> str:
    """Drop, swap, double or replace one letter of a word."""
    for _ in range(100):
        i = rng.choice([i for i, c in enumerate(word) if c.isalpha()])
        other = rng.choice(_LETTERS)
        made = rng.choice(
            [
                word[:i] + word[i + 1 :],
                word[:i] + word[i + 1 : i + 2] + word[i] + word[i + 2 :],
                word[:i] + word[i] + word[i:],
                word[:i] + other + word[i + 1 :],
            ]
        )
        if made != word and made not in _NO_WORDS and not made[0].isdigit():
            return made
    raise ValueError(f"{word!r} is too short for a typo")


def random_edits(text: str, rng: random.Random) -> str:
    """Return a text after one to four edits that know nothing of its meaning."""
    return list(_edits(text, rng))[-1]


def _edits(text: str, rng: random.Random) -> Iterator[str]:
    """Yield a text as it goes from edit to edit."""
    for _ in range(rng.randint(1, 4)):
        lines = text.split("\n")
        i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.choice(["insert", "delete", "replace", "drop", "repeat", "swap", "indent"]):
            case "insert" | "delete" | "replace" as how:
                at = rng.randrange(len(text) + 1)
                new = rng.choice("\t\n\0:-[]{},&*!|>'\"%@`#?~=<. \u2028\u00e4\U0001f600019aey")
                kept = at + (how != "insert")
                text = text[:at] + ("" if how == "delete" else new) + text[kept:]
            case "drop":
                text = "\n".join(lines[:i] + lines[i + 1 :])
            case "repeat":
                text = "\n".join([*lines[:j], lines[i], *lines[j:]])
            case "swap":
                lines[i], lines[j] = lines[j], lines[i]
                text = "\n".join(lines)
            case _:
                lines[i] = " " * rng.randint(1, 4) + lines[i]
                text = "\n".join(lines)
        yield text
