"""``docs/methods.md``: every method, memory and network, as the registries have them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from methods import memories, networks
from methods.core.classifier import Classifier
from methods.core.config import Config
from methods.core.method import Method
from methods.core.registry import method_class, method_names
from methods.core.task import Scenario
from methods.core.training import Budget, OptimizerConfig
from methods.memories import MemoryConfig
from methods.networks import NetworkConfig
from orchestrator.reference.docstrings import Docstring, linked, read_docstring
from orchestrator.reference.options import as_yaml, configs_in, options_table, table

_HEAD = """\
# Methods

Every method that is registered: its formula, its options, and which defects of its published code
are mended. Then the memories and the networks. A [search space](search-spaces.md) names them;
[experiments](experiments.md) shows how they compare; [add a method](add-a-method.md) tells how to
add one.

`make docs` makes this page of the docstrings in `methods/`."""

_COMMON = """\
## Options of every method

All methods have these, with these defaults; what follows lists only what a method has besides. An
option stands in a method's entry of a search space, and reaches into a mapping with a dot:
`budget.iterations: 200`."""

_RELEASED = (
    "`variant: as-released` runs it with the defects of its published code: it is marked in every "
    "record, and never ranked."
)
#: Where Engram's own methods are: those of other packages are not on its page.
_OWN = "methods."
#: Sections of a class's docstring that tell a reader of its code, not of the method.
_LEFT_OUT = {"Parameters", "Attributes", "Examples", "Raises", "Returns"}


def methods_page() -> str:
    """Return the page."""
    names = [n for n in method_names() if method_class(n).__module__.startswith(_OWN)]
    slugs = _slugs(names)
    parts = [_HEAD, _overview(names, slugs), *_common(), "## The methods"]
    for name in names:
        parts += _method(name, slugs)
    parts += ["## Memories", _presets("memory", memories.PRESETS)]
    for memory in configs_in(MemoryConfig):
        parts += _part(memory)
    parts += ["## Networks", _presets("network", networks.PRESETS)]
    for network in configs_in(NetworkConfig):
        parts += _part(network)
    return "\n\n".join(parts) + "\n"


def _slugs(names: list[str]) -> dict[str, str]:
    """Return the anchor that GitHub gives the section of each method."""
    seen: Counter[str] = Counter()
    slugs = {}
    for name in names:
        slug = re.sub(r"[^\w-]", "", name.lower())
        slugs[name] = f"#{slug}-{seen[slug]}" if seen[slug] else f"#{slug}"
        seen[slug] += 1
    return slugs


def _overview(names: list[str], slugs: dict[str, str]) -> str:
    rows = []
    for name in names:
        cls = method_class(name)
        summary = read_docstring(cls.__doc__).summary
        rows.append([f"[`{name}`]({slugs[name]})", summary, _scenarios(cls), linked(cls.paper)])
    return table(["method", "what it does", "scenarios", "paper"], rows)


def _scenarios(cls: type[Method]) -> str:
    """Return the scenarios that a method is defined for: ``all``, or which."""
    if cls.scenarios == frozenset(Scenario):
        return "all"
    return ", ".join(scenario.value for scenario in Scenario if scenario in cls.scenarios)


def _common() -> Iterator[str]:
    shared = [name for name in Classifier.Config.model_fields if name != "budget"]
    yield _COMMON
    yield options_table(Classifier.Config, shared)
    yield "### budget"
    yield options_table(Budget, within="budget.")
    yield "### optimizer"
    for optimizer in configs_in(OptimizerConfig):
        yield f"`{_name(optimizer)}`: {read_docstring(optimizer.__doc__).summary}"
        yield options_table(optimizer, within="optimizer.")


def _method(name: str, slugs: dict[str, str]) -> Iterator[str]:
    cls = method_class(name)
    ancestor, point = _ancestor(cls), _is_point(cls)
    said = read_docstring(cls.__doc__)
    yield f"### {name}"
    yield said.summary
    yield "\n".join(f"- {line}" for line in _facts(cls, ancestor, point, slugs))
    if said.body:
        yield said.body
    own = _own_options(cls, ancestor if point else None)
    if own:
        yield options_table(cls.Config, own)
    if ancestor is not None and point:
        other = f"[`{ancestor.name}`]({slugs[ancestor.name]})"
        yield f"All {'other ' if own else ''}options are those of {other}."
    elif not own:
        yield "It has no options but [those of every method](#options-of-every-method)."
    lacking = [f"`{n}`" for n in Classifier.Config.model_fields if n not in cls.Config.model_fields]
    if lacking:
        yield f"Of the options of every method it does not have {', '.join(lacking)}."
    yield from _sections(said)


def _facts(
    cls: type[Method], ancestor: type[Method] | None, point: bool, slugs: dict[str, str]
) -> Iterator[str]:
    if cls.paper:
        yield f"Paper: {linked(cls.paper)}"
    yield f"Scenarios: {_scenarios(cls)}"
    if ancestor is not None:
        what = "A named point of" if point else "Built on"
        yield f"{what} [`{ancestor.name}`]({slugs[ancestor.name]})"
    axes = [f"`{axis}`" for axis in sorted(cls.axes - cls.protocol)]
    if axes:
        yield f"Axes, which a list at the top of a search space expands: {', '.join(axes)}"
    if cls.Config.has_released_variant:
        yield _RELEASED
    path = f"{cls.__module__.replace('.', '/')}.py"
    yield f"Code: [{path}](../{path})"


def _sections(said: Docstring) -> Iterator[str]:
    for title, text in said.sections.items():
        if title not in _LEFT_OUT:
            yield f"#### {title}"
            yield text


def _ancestor(cls: type[Method]) -> type[Method] | None:
    """Return the nearest registered method that a class extends."""
    return next((base for base in cls.__mro__[1:] if vars(base).get("name")), None)


def _is_point(cls: type[Method]) -> bool:
    """Whether a method is a point of the one that it extends, whose options it shares."""
    ancestor = _ancestor(cls)
    if ancestor is None or "named_point" not in vars(ancestor):
        return False
    return set(cls.Config.model_fields) == set(ancestor.Config.model_fields)


def _own_options(cls: type[Method], ancestor: type[Method] | None) -> list[str]:
    """Return the options that differ from those that are described elsewhere."""
    known: dict[str, Any] = dict((ancestor.Config if ancestor else Classifier.Config).model_fields)
    fields = cls.Config.model_fields
    return [
        name
        for name, info in fields.items()
        if name not in known
        or (info.default, info.description) != (known[name].default, known[name].description)
    ]


def _presets(kind: str, presets: dict[str, dict[str, Any]]) -> str:
    written = [f"`{name}` stands for `{as_yaml(given)}`" for name, given in presets.items()]
    given = f"Given as `{kind}: NAME`, or as `{kind}: {{name: NAME, …}}` with options."
    return f"{given} {'; '.join(written)}."


def _part(model: type[Config]) -> Iterator[str]:
    """Describe a memory or a network."""
    said = read_docstring(model.__doc__)
    yield f"### {_name(model)}"
    yield said.summary
    if said.body:
        yield said.body
    yield options_table(model) or "It has no options."
    yield from _sections(said)


def _name(model: type[Config]) -> str:
    return str(model.model_fields["name"].default)
