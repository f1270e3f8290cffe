"""Every mistake of a file, collected and told at once: where, what, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from orchestrator.errors import UserError, did_you_mean, shown
from orchestrator.yaml_file import Place, YamlFile

#: Where a file has its named budgets.
BUDGETS: Place = ("budgets",)

#: Pydantic's types in the words of a YAML file.
_WANTED = {
    "bool_type": "be true or false",
    "dict_type": "be a mapping",
    "float_type": "be a number",
    "int_from_float": "be a whole number",
    "int_type": "be a whole number",
    "list_type": "be a list",
    "model_attributes_type": "be a mapping",
    "model_type": "be a mapping",
    "string_type": "be text",
    "tuple_type": "be a list",
}


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

    def include(self, others: Problems) -> None:
        """Note what was found in another reading of the same file, unless it is known already."""
        self.found = others.found | self.found

    def add_validation(
        self,
        error: ValidationError,
        model: type[BaseModel],
        places: dict[str, Place],
        around: Place,
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
        """
        found: dict[Place, tuple[Any, type[BaseModel] | None]] = {}
        for detail in error.errors():
            inner, owner = _resolve(model, tuple(detail["loc"]))
            # A union complains once for each of its members: what it says of words suits a word.
            if inner not in found or isinstance(detail["input"], str) == _of_words(detail):
                found[inner] = detail, owner
        for inner, (detail, owner) in found.items():
            message = _explain(detail, owner)
            if inner:
                given = [k for k in range(1, len(inner) + 1) if _key(inner[:k]) in places]
                known = max(given, default=0)
                place = places[_key(inner[:known])] if known else around
                if detail["type"] == "extra_forbidden" and isinstance(place[-1], int):
                    place = place[:-1]  # the key is wrong, not one of its values
                self.add((*place, *inner[known:]), message)
            else:  # about several options: one in the entry itself, the one named first
                named = sorted((o for o in places if o in message), key=message.index)
                own = [option for option in named if places[option][: len(around)] == around]
                self.add(next((places[o] for o in own or named), around), message)

    def raise_if_any(self) -> None:
        """Raise :class:`InvalidFile` with all problems, in the order of the file."""
        if self.found:
            lines = [
                f"{self.file.name}:{line}: {text}" + (f" ({note})" if note else "")
                for (line, text), note in sorted(self.found.items())
            ]
            raise InvalidFile("\n".join(lines))


def dotted(place: Place) -> str:
    """Write a place as a reader would name it: ``replay.buffer_size``, ``seed[2]``."""
    around, place = (place[:2], place[2:]) if place[:1] == BUDGETS else ((), place)
    if place[:1] == ("method",):
        named = [i for i, part in enumerate(place) if i and isinstance(part, str)]
        place = place[named[0] :] if named else place
    text = ""
    for part in (*around, *place):
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _of_words(detail: Any) -> bool:
    return detail["type"] in {"literal_error", "enum"}


def _key(place: Place) -> str:
    """Write keys as an axis has them: ``optimizer.lr``."""
    return ".".join(map(str, place))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """All pydantic models in an annotation such as ``Annotated[A | B, …]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _resolve(
    model: type[BaseModel], loc: tuple[str | int, ...]
) -> tuple[Place, type[BaseModel] | None]:
    """Turn pydantic's location into keys of the file, and find the model that the last key is of.

    Pydantic inserts what it calls the members of a union, which do not stand in the file.
    """
    place: list[str | int] = []
    owner: type[BaseModel] | None = None
    candidates = [model]
    for part in loc:
        tagged = [m for m in candidates if "name" in m.model_fields] if place else []
        chosen = [m for m in tagged if m.model_fields["name"].default == part]
        if chosen and len(candidates) > 1:
            candidates = chosen
            continue
        if not candidates and isinstance(part, str):
            continue  # one way to read a value that has several
        owner = candidates[0] if len(candidates) == 1 else None
        place.append(part)
        known = {} if owner is None else owner.model_fields
        candidates = (
            _models(known[part].annotation) if isinstance(part, str) and part in known else []
        )
    return tuple(place), owner


def _explain(detail: Any, owner: type[BaseModel] | None) -> str:
    """Say what pydantic found in the words of the person who wrote the file."""
    value, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            known = [] if owner is None else list(owner.model_fields)
            return "unknown key" + did_you_mean(detail["loc"][-1], known)
        case _ if _of_words(detail):
            words = context["expected"].replace(" or ", ", ").split(", ")
            return f"cannot be {shown(value)}" + did_you_mean(value, [w.strip("'") for w in words])
        case "union_tag_invalid":
            words = [word.strip("'") for word in context["expected_tags"].split(", ")]
            return f"cannot be {context['tag']!r}" + did_you_mean(context["tag"], words)
        case "union_tag_not_found":
            assert owner is not None  # the union is an option of one
            members = _models(owner.model_fields[detail["loc"][-1]].annotation)
            names = ", ".join(sorted(m.model_fields["name"].default for m in members))
            return f"needs a name, as in {{name: …}}; possible: {names}"
        case "value_error":
            return str(context["error"])
        case "too_short":
            least = context["min_length"]
            return f"should hold at least {least} value{'s' * (least > 1)}, not {shown(value)}"
    wanted = _WANTED.get(detail["type"])
    if wanted is None:
        message: str = detail["msg"]
        wanted = f"{message[0].lower()}{message[1:]}".removeprefix("input ").removeprefix("should ")
    return f"should {wanted}, not {shown(value)}"
