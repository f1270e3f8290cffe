"""What pydantic finds, in the words of the person who wrote the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel

from methods import memories, networks
from orchestrator.errors import did_you_mean, shown
from orchestrator.space.levels import models_in, unknown_key
from orchestrator.space.suggestions import nearest
from orchestrator.space.yaml_file import Place

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
_NUMBERS = {"float_type", "int_type", "int_from_float", "bool_type"}
_WHOLE = {"int_type", "int_from_float"}
_LISTS = {"list_type", "tuple_type"}
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(r"(?:range\s*\()?\s*(\d+)\s*(\.{2,}|-|–|to|,|:)\s*(\d+)\s*(\))?")


def resolve(
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
            models_in(known[part].annotation) if isinstance(part, str) and part in known else []
        )
    return tuple(place), owner


def of_words(detail: Any) -> bool:
    """Whether pydantic complains that a value is none of several words."""
    return detail["type"] in {"literal_error", "enum"}


def misspelt_name(detail: Any) -> str | None:
    """Return the key of a mapping without a name that was meant to be ``name``."""
    if detail["type"] != "union_tag_not_found" or not isinstance(detail["input"], dict):
        return None
    return next((key for key in detail["input"] if nearest(key, ["name"])), None)


def explain(
    detail: Any, owner: type[BaseModel] | None, beside: Mapping[str, Any] = MappingProxyType({})
) -> str:
    """Say what pydantic found.

    Parameters
    ----------
    detail : dict
        One of ``ValidationError.errors()``.
    owner : type, optional
        The model that the last key of its place is of, where there is one.
    beside : mapping
        What is given of a method's entry, for a key that stands there itself.
    """
    value, context = detail["input"], detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            known = [] if owner is None else list(owner.model_fields)
            return unknown_key(str(detail["loc"][-1]), known, owner, beside)
        case _ if of_words(detail):
            words = context["expected"].replace(" or ", ", ").split(", ")
            return f"cannot be {shown(value)}" + did_you_mean(value, [w.strip("'") for w in words])
        case "union_tag_invalid":
            words = [word.strip("'") for word in context["expected_tags"].split(", ")]
            presets = memories.PRESETS | networks.PRESETS
            words += [preset for preset, options in presets.items() if options["name"] in words]
            return f"cannot be {context['tag']!r}" + did_you_mean(context["tag"], words)
        case "union_tag_not_found":
            assert owner is not None  # the union is an option of one
            members = models_in(owner.model_fields[detail["loc"][-1]].annotation)
            fitting = [m for m in members if m.model_fields.keys() >= set(value)] or members
            names = ", ".join(sorted(m.model_fields["name"].default for m in fitting))
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
    return f"should {wanted}, not {shown(value)}" + _rewritten(value, detail["type"])


def _rewritten(value: Any, wanted: str) -> str:
    """Return the end of a message: a value as it should have been written, where that is plain."""
    if wanted in _LISTS and not isinstance(value, (dict, list, type(None))):
        written = value if isinstance(value, str) else shown(value)
        return f"; write [{written}]"
    if wanted in _WHOLE and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    if wanted == "string_type" and isinstance(value, (int, float)):
        return f'; write "{shown(value)}"'
    if wanted not in _NUMBERS or not isinstance(value, str):
        return ""
    unquoted = r"true|false" if wanted == "bool_type" else _NUMBER
    if re.fullmatch(unquoted, value.strip(), re.I):
        return f"; write it without quotes: {value.strip()}"
    return list_or_range(value)


def list_or_range(value: object) -> str:
    """Return the end of a message about text that was meant as several numbers.

    Examples
    --------
    >>> list_or_range("0-4"), list_or_range("1, 2, 5")
    ('; write 0..4', '; write [1, 2, 5]')
    """
    text = str(value).strip()
    if (match := _RANGE.fullmatch(text)) and (match[2] != "," or match[4]):
        first, last = int(match[1]), int(match[3]) - (match[4] is not None)
        return f"; write {first}..{last}" if first <= last else ""
    if re.fullmatch(rf"{_NUMBER}(\s*,\s*{_NUMBER})+,?", text):
        return f"; write [{', '.join(part.strip() for part in text.strip(',').split(','))}]"
    return ""
