"""A search space: axes that span a grid of trials, read from YAML."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from methods.core.method import Method
from methods.core.registry import method_class, method_names
from methods.core.task import Scenario
from orchestrator.audit.config import Audit
from orchestrator.checkpoints import Keep
from orchestrator.data.stream_config import StreamConfig
from orchestrator.errors import UserError, did_you_mean, shown
from orchestrator.space.axes import Axis, read_axis
from orchestrator.space.budgets import KEY, check_budget, name_with, readings
from orchestrator.space.config import MAPPINGS, NAME, Header, Resources
from orchestrator.space.levels import unknown_key
from orchestrator.space.problems import Problems
from orchestrator.space.suggestions import nearest
from orchestrator.space.validation_words import list_or_range
from orchestrator.space.yaml_file import Place, YamlFile
from orchestrator.watch import Watch

_MOST_SEED = 2**63 - 1
#: The key of the stream that a method's entry may have too.
_SCENARIO = "scenario"


@dataclass(frozen=True)
class MethodEntry:
    """A method and the options given in its own entry.

    Attributes
    ----------
    cls : type
    axes : tuple of Axis
    place : Place
    scenarios : frozenset of Scenario
        In which it is wanted; all where its entry names none.
    """

    cls: type[Method]
    axes: tuple[Axis, ...]
    place: Place
    scenarios: frozenset[Scenario] = frozenset(Scenario)


@dataclass(frozen=True)
class SearchSpace:
    """Axes of a sweep.

    Attributes
    ----------
    header : Header
    stream : tuple of Axis
        Options of the task stream.
    shared : tuple of Axis
        Options of methods given at the top level: they expand the methods that have the axis.
    methods : tuple of MethodEntry
    seeds : tuple of int
    resources : Resources
    watch : Watch
    keep : Keep
    audit : Audit
        What is seen and kept of each trial besides its record: no part of what a trial is.
    file : YamlFile
        Where it was read from, with the values that the budget replaces.
    budget : str, optional
        The named budget that it runs with.
    inherited : frozenset of str
        Keys of the file that this budget leaves as they are; one that nothing has is left out.
    others : tuple of SearchSpace
        The same file with its other budgets, and without one.
    """

    header: Header
    stream: tuple[Axis, ...]
    shared: tuple[Axis, ...]
    methods: tuple[MethodEntry, ...]
    seeds: tuple[int, ...]
    resources: Resources
    watch: Watch
    keep: Keep
    audit: Audit
    file: YamlFile
    budget: str | None = None
    inherited: frozenset[str] = frozenset()
    others: tuple[SearchSpace, ...] = ()

    @property
    def name(self) -> str:
        """Name of the sweep."""
        return self.header.name

    @property
    def variant(self) -> str:
        """Which reading of the file it is, as a message says it."""
        return _variant(self.budget)

    @property
    def text(self) -> str:
        """The file as it stands, under a comment that names the budget."""
        return self.file.text if self.budget is None else f"# {self.variant}\n{self.file.text}"


def packaged_spaces() -> dict[str, Path]:
    """Return the search spaces that come with Engram, by name."""
    found = (Path(str(entry)) for entry in files("search_spaces").iterdir())
    return {path.stem: path for path in sorted(found) if path.suffix == ".yaml"}


def find_space(space: str | Path) -> Path:
    """Return the file of a search space, given a path or the name of a packaged one.

    Raises
    ------
    UserError
        If there is neither; with a suggestion.
    """
    path = Path(space)
    if os.path.isfile(path):  # false, rather than an error, for what cannot be a path
        return path
    packaged = packaged_spaces()
    if str(space) in packaged:
        return packaged[str(space)]
    if os.path.isdir(path):
        raise UserError(f"{space}: is a folder; give a search space's file or packaged name")
    if path.suffix in {".yaml", ".yml"} or len(path.parts) > 1:
        raise UserError(f"{space}: there is no such file{_near_file(path, packaged)}")
    raise UserError(
        f"{space}: is neither a file nor a packaged search space{did_you_mean(space, packaged)}"
    )


def _near_file(path: Path, packaged: Mapping[str, Path]) -> str:
    """Return the end of a message about a file that is not there."""
    if path.stem in packaged and len(path.parts) == 1:
        return f"; did you mean {path.stem!r}, a packaged one?"
    try:
        there = [str(other) for other in path.parent.iterdir() if other.suffix == path.suffix]
    except OSError:
        return ""
    near = nearest(path, there)
    return "" if near is None else f"; did you mean {near!r}?"


def read_space(space: str | Path, budget: str | None = None) -> tuple[SearchSpace, Problems]:
    """Read a search space and everything that is wrong with its structure.

    What the values are is checked where trials are made of them (:mod:`orchestrator.plan`), so
    that all problems come out together.

    Raises
    ------
    UserError
        If there is no such file or no such budget in it.
    """
    path = find_space(space)
    return parse_space(YamlFile.read(path), default_name=_name_of(path), budget=budget)


def sweep_name(space: str, budget: str | None = None) -> str:
    """Return the name of a sweep, given that name or the file of its search space.

    Raises
    ------
    UserError
        If the search space has no such budget, or its name cannot be a sweep's.
    """
    if os.path.isfile(space) or (budget is not None and space in packaged_spaces()):
        path = find_space(space)
        file = YamlFile.read(path)
        name = file.value.get("name") if isinstance(file.value, dict) else None
        space = str(name or _name_of(path))
        if budget is not None:
            check_budget(budget, file)
    if not NAME.fullmatch(space):
        raise UserError(f"{shown(space)} cannot be the name of a sweep")
    return name_with(space, budget)


def _name_of(path: Path) -> str:
    """Return the name of a sweep whose file does not say one."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-._")[:100] or "sweep"


def parse_space(
    file: YamlFile, default_name: str = "sweep", budget: str | None = None
) -> tuple[SearchSpace, Problems]:
    """Make a search space of a file that has been read; its other budgets are checked too."""
    problems = Problems(file)
    if not isinstance(file.value, dict):
        problems.add((), "should hold keys such as dataset:, method: and seed:")
        problems.raise_if_any()
    for place, line in file.repeated.items():
        problems.add(place, f"stands twice, first in line {line}; only one of them can count")
    problems.add_credentials()
    if budget is not None:
        check_budget(budget, file)
    found = readings(file, problems)
    if budget not in found:  # what is wrong with it has been noted
        problems.raise_if_any()
    chosen = Problems(found[budget])
    space = _parse_reading(found.pop(budget), default_name, budget, chosen)
    chosen.include(problems)
    others = []
    for name, reading in found.items():
        own = Problems(reading, note=_variant(name))
        others.append(_parse_reading(reading, default_name, name, own))
        chosen.include(own)
    return replace(space, others=tuple(others)), chosen


def _variant(budget: str | None) -> str:
    return "without a budget" if budget is None else f"with budget {budget}"


def _parse_reading(
    file: YamlFile, default_name: str, budget: str | None, problems: Problems
) -> SearchSpace:
    """Make a search space of what a file says with one of its budgets, or without."""
    values: dict[str, Any] = dict(file.value)
    inherited = frozenset(key for key in values if budget is not None and (key,) not in file.moved)
    header_values = {key: values.pop(key) for key in Header.model_fields if key in values}
    header = _validated(Header, {"name": default_name} | header_values, (), problems)
    header = header.model_copy(update={"name": name_with(header.name, budget)})
    resources, watch, keep, audit = (
        _validated(model, values.pop(key, {}), (key,), problems) for key, model in MAPPINGS.items()
    )
    seeds = _seeds(values.pop("seed", 0), problems)
    before = len(problems)
    methods = _methods(values.pop("method", None), problems)
    complete = len(problems) == before

    stream, shared = [], []
    for key in values:
        axis = read_axis(key, values[key], (key,), problems)
        if axis.option in StreamConfig.model_fields:
            stream.append(axis)
        elif any(axis.option in entry.cls.axes for entry in methods):
            shared.append(axis)
        elif key not in inherited:  # the file without a budget answers for those
            _add_unused(axis, methods, complete, values, problems)
    if "dataset" not in values:
        problems.add(
            (), "dataset: is missing; give the name of a task stream, such as split-digits"
        )
    return SearchSpace(
        *(header, tuple(stream), tuple(shared), methods, seeds, resources, watch, keep, audit),
        file=file,
        budget=budget,
        inherited=inherited,
    )


def _validated(model: Any, values: Any, place: Place, problems: Problems) -> Any:
    if not isinstance(values, dict):
        problems.add(place, f"should be a mapping, not {shown(values)}")
        return model()
    try:
        return model(**values)
    except ValidationError as error:
        problems.add_validation(error, model, {}, place)
        return model.model_construct()


def _seeds(value: Any, problems: Problems) -> tuple[int, ...]:
    axis = read_axis("seed", value, ("seed",), problems)
    seeds: dict[int, None] = {}
    for seed, place in zip(axis.values, axis.places, strict=True):
        if type(seed) is not int or not 0 <= seed <= _MOST_SEED:
            wanted = "a whole number of at least 0 and below 2^63, or a range such as 0..4"
            problems.add(place, f"should be {wanted}, not {shown(seed)}{list_or_range(seed)}")
        elif seed in seeds:
            problems.add(place, f"{seed} is there already; a seed that counts twice is no evidence")
        else:
            seeds[seed] = None
    return tuple(seeds)


def _methods(value: Any, problems: Problems) -> tuple[MethodEntry, ...]:
    if value is None:
        problems.add((), f"method: is missing; possible: {', '.join(method_names())}")
        return ()
    listed = isinstance(value, list)
    if listed and not value:
        problems.add(("method",), f"is an empty list; possible: {', '.join(method_names())}")
    entries = []
    for i, item in enumerate(value if listed else [value]):
        place: Place = ("method", i) if listed else ("method",)
        if not item or not isinstance(item, (str, dict)):
            wanted = "a method's name, or its name and options, such as replay: {buffer_size: 500}"
            problems.add(place, f"should be {wanted}, not {shown(item)}")
            continue
        named = item if isinstance(item, dict) else {item: {}}
        before = None
        for name, options in named.items():
            inner = (*place, name) if isinstance(item, dict) else place
            if name not in method_names():
                problems.add(inner, _no_method(name, before))
                continue
            cls = before = method_class(name)
            if options is not None and not isinstance(options, dict):
                wanted = "options such as {buffer_size: 500}"
                problems.add(inner, f"should hold {wanted}, not {shown(options)}")
                continue
            axes = {
                key: read_axis(key, option, (*inner, key), problems)
                for key, option in (options or {}).items()
            }
            wanted_in = _scenarios(axes.pop(_SCENARIO, None), problems)
            entries.append(MethodEntry(cls, tuple(axes.values()), inner, wanted_in))
    return tuple(entries)


def _scenarios(axis: Axis | None, problems: Problems) -> frozenset[Scenario]:
    """Return the scenarios that a method's entry is for."""
    if axis is None:
        return frozenset(Scenario)
    found, known = set(), [scenario.value for scenario in Scenario]
    for value, place in zip(axis.values, axis.places, strict=True):
        if value in known:
            found.add(Scenario(value))
        else:
            problems.add(place, f"cannot be {shown(value)}{did_you_mean(value, known)}")
    return frozenset(found)


def _no_method(name: str, before: type[Method] | None) -> str:
    """Say that a method is unknown, and what was meant; ``before`` stands above it in its entry."""
    if before is not None and name.partition(".")[0] in {*before.Config.model_fields, _SCENARIO}:
        return f"is no method; indent it, as an option of {before.name}"
    parts = [part.strip() for part in name.split(",")]
    if len(parts) > 1 and all(nearest(part, method_names()) for part in parts):
        return f"no method is called {shown(name)}; write [{', '.join(parts)}]"
    return f"no method is called {shown(name)}{did_you_mean(name, method_names())}"


def _add_unused(
    axis: Axis,
    entries: Sequence[MethodEntry],
    complete: bool,
    values: Mapping[str, Any],
    problems: Problems,
) -> None:
    """Say why no method of the space expands a top-level option.

    Where the methods are not complete, because an entry is wrong, it may be that one's option.
    ``values`` are those beside it.
    """
    listed = [entry.cls for entry in entries]
    others = [n for n in method_names() if axis.option in method_class(n).Config.model_fields]
    if others and not complete:
        return
    place = (axis.key,)
    accepting = sorted({cls.name for cls in listed if axis.option in cls.Config.model_fields})
    if accepting:
        problems.add(
            place,
            f"none of the methods here expands it; to set it all the same, "
            f"put it into a method's own entry: {accepting[0]}: {{{axis.key}: …}}",
        )
    elif others:
        problems.add(place, f"none of the methods here has it; {', '.join(others)} would")
    else:
        known = {*Header.model_fields, *StreamConfig.model_fields}
        known |= {"method", "seed", *MAPPINGS, KEY}
        known |= {key for cls in listed or map(method_class, method_names()) for key in cls.axes}
        problems.add(place, unknown_key(axis.key, known, given=values))
