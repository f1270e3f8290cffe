"""Every mistake of a file, collected and told at once: where, what, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError

from orchestrator.credentials import looks_like_credentials, without_credentials
from orchestrator.errors import UserError
from orchestrator.space.validation_words import explain, misspelt_name, of_words, resolve
from orchestrator.space.yaml_file import BUDGETS, Place, YamlFile, dotted

_CREDENTIAL = (
    "looks like a password, a key or a token; search spaces are shown in reports and in MLflow: "
    "leave it out, and give it in an environment variable to what needs it"
)


class InvalidFile(UserError):
    """A file with one or more problems; the message has one line for each."""


@dataclass
class Problems:
    """Collects what is wrong with a file, each mistake once.

    Attributes
    ----------
    file : YamlFile
    note : str
        When it is wrong, such as ``in budget small``; said of what does not stand in that budget.
    found : dict
        The note of each problem, by line and text.
    """

    file: YamlFile
    note: str = ""
    found: dict[tuple[int, str], str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.found)

    def add(self, place: Place, message: str) -> None:
        """Note a problem at a place of the file."""
        origin = self.file.origin(place)
        key = dotted(origin)
        note = "" if origin[:1] == BUDGETS else self.note
        self.found.setdefault(
            (self.file.line(place), f"{key}: {message}" if key else message), note
        )

    def add_credentials(self) -> None:
        """Note what looks like a password, key or token, in comments too."""
        lines = set()
        for place, value in _leaves(self.file.value, ()):
            key = next((part for part in reversed(place) if isinstance(part, str)), "")
            if looks_like_credentials(key, value):
                self.add(place, _CREDENTIAL)
                lines.add(self.file.line(place))
        if without_credentials(self.file.text) == self.file.text:
            return
        for number, line in enumerate(self.file.text.splitlines(), 1):
            if number not in lines and without_credentials(line) != line:
                self.found[number, _CREDENTIAL] = ""

    def include(self, others: Problems) -> None:
        """Note what was found in another reading of the same file, unless it is known already."""
        self.found = others.found | self.found

    def add_validation(
        self,
        error: ValidationError,
        model: type[BaseModel],
        places: dict[str, Place],
        around: Place,
        given: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Note what pydantic found.

        Parameters
        ----------
        error : ValidationError
        model : type
            The model that was validated.
        places : dict
            Where in the file each option was given; ``optimizer.lr`` for what reaches into one.
        around : Place
            Where the whole thing stands, for problems that belong to no single option.
        given : mapping
            The options of an entry, each with all its values: unknown keys may belong into one.
        """
        found: dict[Place, tuple[Any, type[BaseModel] | None]] = {}
        for detail in error.errors():
            inner, owner = resolve(model, tuple(detail["loc"]))
            # A union complains once for each of its members: what it says of words suits a word.
            if inner not in found or isinstance(detail["input"], str) == of_words(detail):
                found[inner] = detail, owner
        for inner, (detail, owner) in found.items():
            message = explain(detail, owner, given if len(inner) == 1 else {})
            if (key := misspelt_name(detail)) is not None:
                inner, message = (*inner, key), "unknown key; did you mean 'name'?"
            elif detail["type"] == "union_tag_invalid":
                inner = (*inner, "name")
            if inner:
                here = [k for k in range(1, len(inner) + 1) if _key(inner[:k]) in places]
                known = max(here, default=0)
                place = places[_key(inner[:known])] if known else around
                if detail["type"] == "extra_forbidden" and known == len(inner):
                    place = _without_index(place)  # the key is wrong, not one of its values
                place = (*place, *inner[known:])
                if detail["type"] == "union_tag_invalid" and not self.file.has(place):
                    place = place[:-1]  # a bare word that stands for its name
                self.add(place, message)
            else:  # about several options: one in the entry itself, the one named first
                named = sorted((o for o in places if o in message), key=message.index)
                own = [option for option in named if places[option][: len(around)] == around]
                self.add(next((places[o] for o in own or named), around), message)

    def raise_if_any(self) -> None:
        """Raise :class:`InvalidFile` with all problems, in the order of the file."""
        if self.found:
            lines = [
                f"{self.file.name}:{line}: {without_credentials(text)}"
                + (f" ({note})" if note else "")
                for (line, text), note in sorted(self.found.items())
            ]
            raise InvalidFile("\n".join(lines))


def _leaves(value: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """Yield each value that is no mapping or list, and its place."""
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, (*place, key))
    else:
        yield place, value


def _without_index(place: Place) -> Place:
    return place[:-1] if isinstance(place[-1], int) else place


def _key(place: Place) -> str:
    """Write keys as an axis has them: ``optimizer.lr``."""
    return ".".join(map(str, place))
