"""Reads a YAML file and remembers on which line each value stands."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import UserError, shown

#: A place in a file: keys and list indices from the top.
Place = tuple[str | int, ...]

#: More values than any search space has; aliases that multiply without end stop here.
_MOST_NODES = 100_000

_MERGE = "tag:yaml.org,2002:merge"
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
    repeated : list of Place
        Keys that stand twice in one mapping.
    moved : dict
        Where values really stand that ``value`` has in another place.
    """

    name: str
    text: str = ""
    value: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    repeated: list[Place] = field(default_factory=list)
    moved: dict[Place, Place] = field(default_factory=dict)
    _nodes: int = 0

    @classmethod
    def read(cls, path: Path) -> YamlFile:
        """Read a file.

        Raises
        ------
        UserError
            If it cannot be read or is not YAML; with the line where there is one.
        """
        try:
            return cls.parse(path.read_text(encoding="utf-8"), str(path))
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise UserError(f"{path}: is not a text file; give a YAML file in UTF-8") from None

    @classmethod
    def parse(cls, text: str, name: str) -> YamlFile:
        """Read YAML from a string."""
        file = cls(name, text)
        try:
            loader = _Loader(text)
            node = loader.get_single_node()
            file.value = None if node is None else file._plain(loader, node, ())
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{name}:{mark.line + 1}" if mark else name
            said = (getattr(error, "context", None), getattr(error, "problem", None))
            problem = ", ".join(filter(None, said)) or str(error).splitlines()[0]
            raise UserError(f"{where}: is not valid YAML: {problem}") from None
        except RecursionError:
            raise UserError(f"{name}: is nested too deeply, or within itself") from None
        return file

    def _plain(self, loader: _Loader, node: yaml.Node, place: Place) -> Any:
        self._count()
        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(loader, item, (*place, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            merged, own = self._pairs(loader, node)
            counts = Counter(key for key, _, _ in own)
            self.repeated += [(*place, key) for key, count in counts.items() if count > 1]
            mapping: dict[str, Any] = {}
            for key, (key_node, value_node) in {**merged, **{k: (n, v) for k, n, v in own}}.items():
                inner = (*place, key)
                self.lines[inner] = key_node.start_mark.line + 1
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
        try:
            return loader.construct_object(node, deep=True)
        except (AttributeError, LookupError, ValueError):  # such as the date 2026-13-01
            kind = node.tag.rpartition(":")[2]
            raise self._wrong(node, f"{shown(node.value)} is no {kind}; put it in quotes") from None

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise UserError(f"{self.name}: holds more than {_MOST_NODES:,} values")

    def _wrong(self, node: yaml.Node, problem: str) -> UserError:
        return UserError(f"{self.name}:{node.start_mark.line + 1}: {problem}")

    def origin(self, place: Place) -> Place:
        """Return where in the file a value stands that has been moved; others where they are."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.moved:
                return (*self.moved[place[:length]], *place[length:])
        return place

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest thing around it that has one."""
        place = self.origin(place)
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)


def enclosing(key: str) -> Iterator[str]:
    """Yield ``a``, ``a.b`` and ``a.b.c`` for ``a.b.c``."""
    return itertools.accumulate(key.split("."), "{}.{}".format)
