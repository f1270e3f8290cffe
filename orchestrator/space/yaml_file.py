"""Reads a YAML file and remembers on which line each value stands."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import UserError, shown
from orchestrator.space.yaml_mistakes import explain

#: A place in a file: keys and list indices from the top.
Place = tuple[str | int, ...]
#: Where a file has its named budgets.
BUDGETS: Place = ("budgets",)

#: More values than any search space has; aliases that multiply without end stop here.
_MOST_NODES = 100_000
#: Bytes of a file, and characters of a number: what is longer takes hours to read.
_LARGEST, _LONGEST_NUMBER = 4_000_000, 100

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_Pair = tuple[yaml.Node, yaml.Node]


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads ``1e-3`` as a number, as YAML 1.2 does and people expect."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+|\d+\.\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)


@dataclass
class YamlFile:
    """The content of a file as plain values, and where each stands.

    Attributes
    ----------
    name : str
        The file, as the user calls it.
    text : str
        The file as it stands.
    value : Any
        dicts, lists and scalars.
    lines : dict
        Line (1-based) of each place; for a key, the line of the key.
    repeated : dict
        Keys that stand twice in one mapping, and the line where each does first.
    moved : dict
        Where values really stand that ``value`` has in another place.
    """

    name: str
    text: str = ""
    value: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    repeated: dict[Place, int] = field(default_factory=dict)
    moved: dict[Place, Place] = field(default_factory=dict)
    _nodes: int = 0
    _breaks: list[int] = field(default_factory=list, repr=False)

    @classmethod
    def read(cls, path: Path) -> YamlFile:
        """Read a file.

        Raises
        ------
        UserError
            If it cannot be read or is not YAML; with the line where there is one.
        """
        try:
            if path.stat().st_size > _LARGEST:
                raise UserError(f"{path}: is too large; give a file of at most 4 MB")
            content = path.read_bytes()
            return cls.parse(content.decode(), str(path))
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError as error:
            line, byte = content.count(b"\n", 0, error.start) + 1, content[error.start]
            raise UserError(
                f"{path}:{line}: byte {byte:#04x} is no text in UTF-8; save the file in UTF-8"
            ) from None

    @classmethod
    def parse(cls, text: str, name: str) -> YamlFile:
        """Read YAML from a string."""
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        file = cls(name, text)
        try:
            loader = _Loader(text)
            node = loader.get_single_node()
            file.value = None if node is None else file._plain(loader, node, ())
        except yaml.MarkedYAMLError as error:
            line, keys, problem = explain(error, text)
            place = f"{dotted(keys)}: " if keys else ""
            raise UserError(f"{name}:{line}: {place}{problem}") from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            raise UserError(
                f"{name}:{line}: character {error.character:#06x} cannot stand in a YAML file"
            ) from None
        except RecursionError:
            raise UserError(f"{name}: is nested too deeply, or within itself") from None
        return file

    def _plain(self, loader: _Loader, node: yaml.Node, place: Place) -> Any:
        self._count()
        self.lines.setdefault(place, self._line_of(node))
        if not isinstance(node, yaml.ScalarNode) and node.tag not in {f"{_TAG}seq", f"{_TAG}map"}:
            tag = node.tag.replace(_TAG, "!!")
            raise self._wrong(
                node, f"{shown(tag)} is not understood; give plain lists and mappings"
            )
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(loader, item, (*place, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            merged, own = self._pairs(loader, node)
            counts = Counter(key for key, _, _ in own)
            for key, key_node, _ in own:
                if counts[key] > 1:
                    self.repeated.setdefault((*place, key), self._line_of(key_node))
            mapping: dict[str, Any] = {}
            for key, (key_node, value_node) in {**merged, **{k: (n, v) for k, n, v in own}}.items():
                inner = (*place, key)
                self.lines[inner] = self._line_of(key_node)
                mapping[key] = self._plain(loader, value_node, inner)
            return mapping
        return self._scalar(loader, node)

    def _pairs(
        self, loader: _Loader, node: yaml.MappingNode
    ) -> tuple[dict[str, _Pair], list[tuple[str, yaml.Node, yaml.Node]]]:
        """Return what ``<<`` merges into a mapping, the first of several first, and its own keys.

        PyYAML's own merging writes into the node, which another alias may show again, and has no
        bound.
        """
        merged: dict[str, _Pair] = {}
        own: list[tuple[str, yaml.Node, yaml.Node]] = []
        for key_node, value_node in node.value:
            self._count()
            if key_node.tag != _MERGE:
                if not isinstance(key_node, yaml.ScalarNode):
                    raise self._wrong(key_node, "a key should be a word")
                own.append((str(self._scalar(loader, key_node)), key_node, value_node))
                continue
            listed = isinstance(value_node, yaml.SequenceNode)
            for source in value_node.value if listed else [value_node]:
                if not isinstance(source, yaml.MappingNode):
                    raise self._wrong(source, "<< merges mappings only")
                theirs, its_own = self._pairs(loader, source)
                merged = theirs | {k: (n, v) for k, n, v in its_own} | merged
        return merged, own

    def _scalar(self, loader: _Loader, node: yaml.Node) -> Any:
        kind = node.tag.rpartition(":")[2]
        try:
            if kind in {"int", "float"} and len(node.value) > _LONGEST_NUMBER:
                raise ValueError
            if kind in {"int", "float"} and ":" in node.value:  # minutes and seconds, in YAML 1.1
                raise self._wrong(node, f"{shown(node.value)} is no number; put text in quotes")
            return loader.construct_object(node, deep=True)
        except (AttributeError, LookupError, ValueError):  # such as the date 2026-13-01
            raise self._wrong(node, f"{shown(node.value)} is no {kind}; put it in quotes") from None

    def _line_of(self, node: yaml.Node) -> int:
        """Return the line of a node as editors count, for whom U+2028 and the like end none."""
        if not self._breaks:
            self._breaks = [match.start() for match in re.finditer("\n", f"{self.text}\n")]
        return bisect_left(self._breaks, node.start_mark.index) + 1

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise UserError(f"{self.name}: holds more than {_MOST_NODES:,} values")

    def _wrong(self, node: yaml.Node, problem: str) -> UserError:
        return UserError(f"{self.name}:{self._line_of(node)}: {problem}")

    def origin(self, place: Place) -> Place:
        """Return where in the file a value stands that has been moved; others where they are."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.moved:
                return (*self.moved[place[:length]], *place[length:])
        return place

    def has(self, place: Place) -> bool:
        """Whether something stands at a place."""
        return self.origin(place) in self.lines

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest thing around it that has one."""
        place = self.origin(place)
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def enclosing(key: str) -> Iterator[str]:
    """Yield ``a``, ``a.b`` and ``a.b.c`` for ``a.b.c``."""
    return itertools.accumulate(key.split("."), "{}.{}".format)


def dotted(place: Place) -> str:
    """Write a place as a reader would name it: ``replay.buffer_size``, ``seed[2]``."""
    around, place = (place[:2], place[2:]) if place[:1] == BUDGETS else ((), place)
    if place[:1] == ("method",):
        named = [i for i, part in enumerate(place) if i and isinstance(part, str)]
        place = place[named[0] :] if named else place
    text = ""
    for part in (*around, *place):
        if isinstance(part, int):
            text += f"[{part}]"
        else:  # on one line, whatever is in it
            word = part if part.isprintable() else repr(part)[1:-1]
            text += f".{word}" if text else word
    return text
