"""Every mistake of a file, collected and told at once: where, what, and what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from orchestrator.errors import UserError, did_you_mean
from orchestrator.yaml_file import Place, YamlFile


class InvalidFile(UserError):
    """A file with one or more problems; the message has one line for each."""


@dataclass
class Problems:
    """Collects what is wrong with a file, each mistake once."""

    file: YamlFile
    found: dict[tuple[int, str], None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.found)

    def add(self, place: Place, message: str) -> None:
        """Note a problem at a place of the file."""
        key = dotted(place)
        self.found[self.file.line(place), f"{key}: {message}" if key else message] = None

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
            Where in the file each option was given.
        around : Place
            Where the whole thing stands, for problems that belong to no single option.
        """
        for detail in error.errors():
            inner, owner = _resolve(model, tuple(detail["loc"]))
            message = _explain(detail, owner)
            if inner:
                first, *rest = inner
                self.add((*places.get(str(first), (*around, first)), *rest), message)
            else:
                named = [place for option, place in places.items() if option in message]
                self.add(named[0] if named else around, message)

    def raise_if_any(self) -> None:
        """Raise :class:`InvalidFile` with all problems, in the order of the file."""
        if self.found:
            lines = sorted(self.found)
            raise InvalidFile("\n".join(f"{self.file.name}:{line}: {text}" for line, text in lines))


def dotted(place: Place) -> str:
    """Write a place as a reader would name it: ``replay.buffer_size``, ``seed[2]``."""
    if place[:1] == ("method",) and len(place) > 2:
        place = place[2:]
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _models(annotation: Any) -> list[type[BaseModel]]:
    """All pydantic models in an annotation such as ``Annotated[A | B, …]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _resolve(
    model: type[BaseModel], loc: tuple[str | int, ...]
) -> tuple[Place, type[BaseModel] | None]:
    """Turn pydantic's location into keys of the file, and find the model that the last key is of.

    Pydantic inserts the tag of a tagged union, which does not stand in the file.
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
        case "missing":
            return "is missing"
        case "literal_error":
            words = context["expected"].replace(" or ", ", ").split(", ")
            return f"cannot be {value!r}" + did_you_mean(value, [w.strip("'") for w in words])
        case "union_tag_invalid":
            words = [word.strip("'") for word in context["expected_tags"].split(", ")]
            return f"cannot be {context['tag']!r}" + did_you_mean(context["tag"], words)
        case "union_tag_not_found":
            return "needs a name, such as {name: …}"
        case "value_error":
            return str(context["error"])
        case "model_type" | "model_attributes_type":
            return f"should be a mapping, not {value!r}"
    message: str = detail["msg"]
    return (
        f"{message[0].lower()}{message[1:]}".replace("input should be", "should be").replace(
            "should be a valid", "should be a"
        )
        + f", not {value!r}"
    )
