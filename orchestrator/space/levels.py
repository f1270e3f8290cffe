"""Where each option of a search space belongs: at its top, in a method's entry, in a mapping."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel

from methods.core.method import Method
from methods.core.registry import method_class, method_names
from orchestrator.data.stream_config import StreamConfig
from orchestrator.errors import did_you_mean
from orchestrator.space.config import MAPPINGS, Header
from orchestrator.space.suggestions import alike, nearest

#: Keys at the top that are neither axes nor mappings nor of the header.
_OTHERS = ("method", "seed", "budgets")
#: Keys of the stream that a method's entry may have too.
_OF_ENTRIES = ("scenario",)


@dataclass
class _Index:
    """Every option there is.

    Attributes
    ----------
    top : set of str
    methods : dict
        The methods that have an option in their entries, by option.
    inner : dict
        Of options within mappings, the dotted mappings, and of each the names that have it:
        ``components`` is an option of the ``memory`` called ``gmm``.
    mappings : dict
        The dotted mapping that a model is of.
    """

    top: set[str]
    methods: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    inner: dict[str, dict[str, list[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    mappings: dict[type[BaseModel], str] = field(default_factory=dict)

    def add(self, model: type[BaseModel], mapping: str) -> None:
        """Add what a mapping may hold."""
        if model in self.mappings:
            return
        self.mappings[model] = mapping
        name = "" if "name" not in model.model_fields else str(model.model_fields["name"].default)
        for option in model.model_fields.keys() - {"name"}:
            self.inner[option][mapping].append(name)
        self.add_mappings(model, f"{mapping}.")

    def add_mappings(self, model: type[BaseModel], before: str = "") -> None:
        """Add what the mappings among a model's options may hold."""
        for option, info in model.model_fields.items():
            for inner in models_in(info.annotation):
                self.add(inner, f"{before}{option}")

    def spread(self, mapping: str) -> int:
        """Return how many methods have a mapping in their entries; all, if it is no method's."""
        head = mapping.partition(".")[0]
        return len(self.methods[head]) if head in self.methods else len(method_names())

    def words(self) -> set[str]:
        """All options, wherever they belong."""
        return self.top | self.methods.keys() | self.inner.keys()


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """All pydantic models in an annotation such as ``Annotated[A | B, …]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in models_in(inner)]


def unknown_key(key: str, own: Iterable[str], owner: type[BaseModel] | None = None) -> str:
    """Say of a key that it is unknown, and which one was meant, or where it belongs.

    Parameters
    ----------
    key : str
        As it is written; of one with dots, its head is unknown.
    own : iterable of str
        Keys that can stand in its place.
    owner : type, optional
        The model whose keys these are; None for the top of a search space.
    """
    own = [*own, *(_OF_ENTRIES if owner is not None and issubclass(owner, Method.Config) else ())]
    head, dot, rest = key.partition(".")
    index = _index()
    # A mapping that Engram does not know, such as a plug-in's: nothing is known beyond it.
    known = owner is None or owner in index.mappings or issubclass(owner, Method.Config)
    others = index.words() - set(own) if known else set()
    meant = alike(head, own)
    if meant is None and (other := alike(head, others)) is not None:
        return f"unknown key here; {_home(other, owner, index)}"
    meant = meant or nearest(head, own)
    if meant is not None:
        return f"unknown key; did you mean {meant + dot + rest!r}?"
    if (other := nearest(head, others)) is not None:
        return f"unknown key; {_home(other, owner, index)}"
    return "unknown key" + did_you_mean(head, own)


def _home(option: str, owner: type[BaseModel] | None, index: _Index) -> str:
    """Say where an option belongs that cannot stand where it does."""
    of_methods, inner = index.methods.get(option), index.inner.get(option, {})
    here = index.mappings.get(owner, "") if owner is not None else ""
    if here in inner:
        return f"{option} is an option of {', '.join(sorted(inner[here]))}"
    in_entry = owner is not None and issubclass(owner, Method.Config)
    if of_methods and (in_entry or not inner):
        if in_entry:
            return f"{option} is an option of {', '.join(of_methods)}"
        if owner is None:
            return f"did you mean {option!r}, an option of {', '.join(of_methods)}?"
        return f"{option} stands at the top of the file, or in a method's entry"
    if inner:
        mapping = min(inner, key=lambda name: (-index.spread(name), name))
        if mapping in MAPPINGS:
            return f"did you mean '{mapping}: {{{option}: …}}'?"
        return f"did you mean '{mapping}.{option}'?"
    return f"{option} stands at the top of the file"


@cache
def _index() -> _Index:
    index = _Index({*Header.model_fields, *StreamConfig.model_fields, *_OTHERS, *MAPPINGS})
    for key, model in MAPPINGS.items():
        index.add(model, key)
    for name in method_names():
        config = method_class(name).Config
        index.add_mappings(config)
        for option in config.model_fields:
            index.methods[option].append(name)
    return index
