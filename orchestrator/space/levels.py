"""Where each option of a search space belongs: at its top, in a method's entry, in a mapping."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel

from methods import memories, networks
from methods.core.method import Method
from methods.core.registry import method_class, method_names
from orchestrator.data.stream_config import StreamConfig
from orchestrator.errors import did_you_mean
from orchestrator.space.config import MAPPINGS, Header
from orchestrator.space.suggestions import alike, misspelt, nearest

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
    names : set of str
        Those of all memories, networks and optimizers.
    """

    top: set[str]
    methods: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    inner: dict[str, dict[str, list[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    mappings: dict[type[BaseModel] | None, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def add(self, model: type[BaseModel], mapping: str) -> None:
        """Add what a mapping may hold."""
        if model in self.mappings:
            return
        self.mappings[model] = mapping
        name = "" if "name" not in model.model_fields else str(model.model_fields["name"].default)
        self.names.add(name)
        for option in model.model_fields.keys() - {"name"}:
            self.inner[option][mapping].append(name)
        self.add_mappings(model, f"{mapping}.")

    def add_mappings(self, model: type[BaseModel], before: str = "") -> None:
        """Add what the mappings among a model's options may hold."""
        for option, info in model.model_fields.items():
            for inner in models_in(info.annotation):
                self.add(inner, f"{before}{option}")

    def having(self, mapping: str) -> set[str]:
        """Return the methods that have a mapping in their entries; all, if it is no method's."""
        return set(self.methods.get(mapping.partition(".")[0], method_names()))

    def reached(self, own: Iterable[str], owner: type[BaseModel] | None) -> set[str]:
        """Return the mappings that can stand beside some keys; of an entry, those of its method."""
        every = {mapping for mappings in self.inner.values() for mapping in mappings}
        if (here := self.mappings.get(owner)) is not None:
            return {mapping for mapping in every if self.having(mapping) & self.having(here)}
        beside = {*own, *MAPPINGS}
        return {mapping for mapping in every if mapping.partition(".")[0] in beside}


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """All pydantic models in an annotation such as ``Annotated[A | B, …]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in get_args(annotation) for model in models_in(inner)]


def unknown_key(
    key: str,
    own: Iterable[str],
    owner: type[BaseModel] | None = None,
    given: Mapping[str, Any] = MappingProxyType({}),
) -> str:
    """Say of a key that it is unknown, and which one was meant, or where it belongs.

    Parameters
    ----------
    key : str
        As it is written; of one with dots, its head is unknown.
    own : iterable of str
        Keys that can stand in its place.
    owner : type, optional
        The model whose keys these are; None for the top of a search space.
    given : mapping
        Values beside it, or lists of them: an option of the memory that is given is the memory's.
    """
    own = [*own, *(_OF_ENTRIES if _is_entry(owner) else ())]
    head, dot, rest = key.partition(".")
    index = _index()
    # A mapping that Engram does not know, such as a plug-in's: nothing is known beyond it.
    known = owner is None or owner in index.mappings or _is_entry(owner)
    reached = index.reached(own, owner)
    inner = {option for option, mappings in index.inner.items() if reached & mappings.keys()}
    others = (index.top | index.methods.keys() | inner) - {*own}
    if not known or len(head) == 1:  # the symbol of a formula is that of an option beside it
        others = set()
    meant = alike(head, own)
    if meant is None and (other := alike(head, others)) is not None:
        return f"unknown key here; {_home(other, owner, reached, given)}"
    meant = meant or nearest(head, own)
    if meant is not None:
        return f"unknown key; did you mean {meant + dot + rest!r}?"
    if alike(head, index.inner) is None:  # an option of what cannot stand here is no typo
        other = misspelt(head, others) or nearest(head, others & inner)
        if other is not None:
            return f"unknown key; {_home(other, owner, reached, given)}"
    return "unknown key" + did_you_mean(head, own)


def _is_entry(owner: type[BaseModel] | None) -> bool:
    return owner is not None and issubclass(owner, Method.Config)


def _home(
    option: str, owner: type[BaseModel] | None, reached: set[str], given: Mapping[str, Any]
) -> str:
    """Say where an option belongs that cannot stand where it does."""
    index = _index()
    of_methods = index.methods.get(option)
    inner = {k: names for k, names in index.inner.get(option, {}).items() if k in reached}
    here = index.mappings.get(owner, "")
    if here in inner:
        return f"{option} is an option of {', '.join(sorted(set(inner[here])))}"
    if inner:
        mapping = min(
            inner,
            key=lambda k: (_lacks(k, inner[k], owner, given), -len(index.having(k)), k),
        )
        if mapping in MAPPINGS:
            return f"did you mean '{mapping}: {{{option}: …}}'?"
        return f"did you mean '{mapping}.{option}'?"
    if of_methods and _is_entry(owner):
        return f"{option} is an option of {', '.join(of_methods)}"
    if of_methods and owner is None:
        return f"did you mean {option!r}, an option of {', '.join(of_methods)}?"
    if of_methods:
        return f"{option} stands at the top of the file, or in a method's entry"
    return f"{option} stands at the top of the file"


def _lacks(
    mapping: str, names: Iterable[str], owner: type[BaseModel] | None, given: Mapping[str, Any]
) -> bool:
    """Whether a mapping is there under other names than those with which it has an option."""
    value = given.get(mapping, given.get(f"{mapping}.name"))
    if value is None and owner is not None:
        value = getattr(owner(), mapping, None)  # what it is where nothing is given
    chosen = {_name(one) for one in (value if isinstance(value, list) else [value])} - {None}
    return bool(chosen) and chosen.isdisjoint(names)


def _name(value: Any) -> str | None:
    """Return the name of a memory, a network or an optimizer that was given, or nearly so."""
    name = value.get("name") if isinstance(value, dict) else getattr(value, "name", value)
    presets = memories.PRESETS | networks.PRESETS
    meant = nearest(name, _index().names | presets.keys()) if isinstance(name, str) else None
    return presets[meant]["name"] if meant in presets else meant


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
