"""Tables of options: name, type in words, default and meaning, out of a configuration's fields."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from methods.core.config import Config
from methods.core.training import OptimizerConfig
from methods.memories import MemoryConfig
from methods.networks import NetworkConfig
from orchestrator.reference.docstrings import in_a_cell, inline
from orchestrator.space.levels import models_in

#: Parts that have a section of their own, by the models that they can be.
_PARTS: tuple[tuple[str, frozenset[type[BaseModel]]], ...] = tuple(
    (text, frozenset(models_in(union)))
    for text, union in (
        ("a [memory](#memories)", MemoryConfig),
        ("a [network](#networks)", NetworkConfig),
        ("an [optimizer](#optimizer)", OptimizerConfig),
    )
)
_BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
_NAMES = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text"}


def configs_in(annotation: Any) -> list[type[Config]]:
    """Return the configurations that an annotation such as ``Annotated[A | B, …]`` has."""
    return [model for model in models_in(annotation) if issubclass(model, Config)]


def options_table(
    model: type[Config], names: Iterable[str] | None = None, *, within: str = ""
) -> str:
    """Return a Markdown table of options; empty if there are none.

    Parameters
    ----------
    model : type
        The configuration.
    names : iterable of str, optional
        The options wanted; by default all but the name of a part.
    within : str
        What stands before each name, such as ``budget.``.
    """
    rows = list(option_rows(model, names, within=within))
    head = ["option", "type", "default", "meaning"]
    return table(head, rows) if rows else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> str:
    """Return a Markdown table; ``align`` has an ``r`` for each column of numbers, else a blank."""
    marks = ["---:" if mark == "r" else "---" for mark in align.ljust(len(head))]
    lines = [head, marks, *([in_a_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def option_rows(
    model: type[Config], names: Iterable[str] | None = None, *, within: str = ""
) -> Iterator[list[str]]:
    """Yield name, type, default and meaning of each option, as :func:`options_table` has them."""
    usual = _usual(model)
    for name in [n for n in model.model_fields if n != "name"] if names is None else names:
        info = model.model_fields[name]
        inner = _own_mapping(info)
        words = "a mapping" if inner else in_words(info.annotation, info.metadata)
        default = "as below" if inner else _value(usual.get(name), info.annotation)
        if info.get_default() is None and usual.get(name) is not None:
            default += ", by other options"
        yield [f"`{within}{name}`", words, default, inline(info.description or "")]
        if inner:
            yield from option_rows(inner, within=f"{within}{name}.")


def _own_mapping(info: FieldInfo) -> type[Config] | None:
    """Return the model of a mapping that is described nowhere else: its options follow it."""
    model = info.annotation
    if not isinstance(model, type) or not issubclass(model, Config):
        return None
    return None if any(model in members for _, members in _PARTS) else model


def _usual(model: type[Config]) -> Mapping[str, Any]:
    """Return what options are where none is given, validators included."""
    default = model()
    return {name: getattr(default, name) for name in model.model_fields}


def in_words(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """Say of what type an option is, such as ``whole number > 0, or none``."""
    models = frozenset(models_in(annotation))
    for text, members in _PARTS:
        if models and all(issubclass(model, tuple(members)) for model in models):
            (*_, one) = models
            only = f": `{one.model_fields['name'].default}`" if len(models) == 1 else ""
            return text + only + (", or none" if type(None) in get_args(annotation) else "")
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return in_words(inner[0], [*inner[1:], *metadata])
    if origin in (Literal, Union, types.UnionType):
        *others, last = _alternatives(annotation)
        text = " or ".join(filter(None, (", ".join(others), last)))
        return text + (", or none" if type(None) in inner else "")
    if origin is tuple:
        of = in_words(inner[0])
        return f"list: {of}" if inner[-1] is Ellipsis else f"list of {len(inner)}: {of}"
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return f"a mapping: {', '.join(f'`{name}`' for name in annotation.model_fields)}"
    text = _NAMES.get(annotation, f"`{getattr(annotation, '__name__', annotation)}`")
    return " ".join((text, _bounds(metadata))).rstrip()


def _alternatives(annotation: Any) -> list[str]:
    """Return what an option can be, without none, each in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return [f"`{word}`" for word in inner]
    if origin in (Union, types.UnionType):
        return [text for part in inner for text in _alternatives(part)]
    return [] if annotation is type(None) else [in_words(annotation)]


def _bounds(metadata: Iterable[Any]) -> str:
    flat = [part for one in metadata for part in (getattr(one, "metadata", None) or [one])]
    found = [
        f"{sign} {getattr(part, name):g}"
        for name, sign in _BOUNDS
        for part in flat
        if getattr(part, name, None) is not None
    ]
    return " and ".join(found)


def _value(value: Any, annotation: Any = None) -> str:
    """Write a default as a search space would have it; ``–`` where there is none."""
    if value is None:
        return "–"
    if isinstance(value, Config):
        given = {key: inner for key, inner in value if inner is not None}
        if "name" in given:  # a bare name stands for the part's own defaults
            own = type(value)()
            changed = {k: inner for k, inner in given.items() if inner != getattr(own, k)}
            given = {"name": given["name"]} | changed
        if set(given) == {"name"}:
            return f"`{given['name']}`"
        return f"`{as_yaml(given)}`"
    return f"`{as_yaml(value)}`"


def as_yaml(value: Any) -> str:
    """Write a value in one line, as a search space would have it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}".replace("e-0", "e-").replace("e+0", "e")
    if isinstance(value, (tuple, list)):
        return f"[{', '.join(map(as_yaml, value))}]"
    if isinstance(value, Config):
        return as_yaml(dict(value))
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {as_yaml(inner)}' for key, inner in value.items())}}}"
    return str(value)
