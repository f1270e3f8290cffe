"""Reads a YAML file and remembers on which line each value stands."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import UserError

#: A place in a file: keys and list indices from the top.
Place = tuple[str | int, ...]

#: More values than any search space has; aliases that multiply without end stop here.
_MOST_NODES = 100_000


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
    """

    name: str
    text: str = ""
    value: Any = None
    lines: dict[Place, int] = field(default_factory=dict)
    repeated: list[Place] = field(default_factory=list)
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
            problem = getattr(error, "problem", None) or str(error).splitlines()[0]
            raise UserError(f"{where}: is not valid YAML: {problem}") from None
        except (RecursionError, ValueError) as error:
            raise UserError(f"{name}: is not valid YAML: {error}") from None
        return file

    def _plain(self, loader: _Loader, node: yaml.Node, place: Place) -> Any:
        self._nodes += 1
        if self._nodes > _MOST_NODES:
            raise ValueError(f"more than {_MOST_NODES:,} values")
        self.lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(loader, item, (*place, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            own = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            self.repeated += [(*place, key) for key in sorted(set(own)) if own.count(key) > 1]
            loader.flatten_mapping(node)  # `<<` merges, which own keys may override
            mapping: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = loader.construct_object(key_node, deep=True)
                if not isinstance(key, str):
                    key = str(key)
                inner = (*place, key)
                self.lines[inner] = key_node.start_mark.line + 1
                mapping[key] = self._plain(loader, value_node, inner)
            return mapping
        return loader.construct_object(node, deep=True)

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest thing around it that has one."""
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)
