"""The grid that axes span: each combination of values, checked, with its place in the file."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import ValidationError

from methods.core.method import Method
from methods.core.task import Scenario
from orchestrator.data.stream_config import StreamConfig
from orchestrator.search_space import MethodEntry, SearchSpace
from orchestrator.space.axes import Axis
from orchestrator.space.problems import Problems
from orchestrator.space.yaml_file import Place, enclosing

#: Values of an axis that a message lists.
_MOST_SHOWN = 8


class StreamPoint(NamedTuple):
    """A stream, where its options stand, and how many combinations collapse to it."""

    stream: StreamConfig
    places: Mapping[str, Place]
    times: int


def stream_points(space: SearchSpace, problems: Problems) -> list[StreamPoint]:
    """Return the streams of a search space, and note what is wrong with their options."""
    points: dict[tuple[str, ...], tuple[StreamConfig, Mapping[str, Place]]] = {}
    times: Counter[tuple[str, ...]] = Counter()
    used: set[str] = set()
    for options, places in combinations(space.stream):
        if "dataset" not in options:
            continue
        wanted = StreamConfig.options_of(options["dataset"])
        used |= wanted
        fitting = {key: value for key, value in options.items() if key in wanted}
        # A value that is given twice stands in two places: that is no collapse.
        where = {key: place for key, place in places.items() if key in wanted}
        key = (repr(fitting), repr(where))
        times[key] += 1
        if times[key] > 1:
            continue
        try:
            stream = StreamConfig.model_validate(fitting)
        except ValidationError as error:
            problems.add_validation(error, StreamConfig, places, ())
        else:
            points[key] = stream, places
    for axis in space.stream:
        if used and axis.option not in used and axis.key not in space.inherited:
            problems.add((axis.key,), "none of the datasets here has this option")
    return [StreamPoint(stream, places, times[key]) for key, (stream, places) in points.items()]


def method_points(
    space: SearchSpace, entry: MethodEntry, problems: Problems
) -> list[Method.Config]:
    """Return the options of a method's entry, and note what is wrong with them."""
    named = _default_names(entry.cls.Config)
    axes = axes_of(space, entry)
    given = {axis.key: list(axis.values) for axis in axes}
    points: list[Method.Config] = []
    for options, places in combinations(axes, named):
        try:
            points.append(entry.cls.Config.model_validate(options))
        except ValidationError as error:
            problems.add_validation(error, entry.cls.Config, places, entry.place, given)
    return points


def axes_of(space: SearchSpace, entry: MethodEntry) -> list[Axis]:
    """Return the axes of a method's entry, whole options before what reaches into them."""
    shared = [a for a in _not_overridden(space.shared, entry) if a.option in entry.cls.axes]
    return sorted([*shared, *entry.axes], key=lambda axis: "." in axis.key)


def check_scenarios(space: SearchSpace, streams: Sequence[StreamPoint], problems: Problems) -> None:
    """Note entries of methods that ask for a scenario in vain, and all if nothing could be run."""
    there = {point.stream.scenario for point in streams}
    if not there or space.budget is not None:  # a budget need not have all that the file has
        return
    for entry in space.methods:
        method, wanted = entry.cls, entry.scenarios
        if wanted and wanted.isdisjoint(there):
            problems.add((*entry.place, "scenario"), f"no stream here is {_named(wanted)}")
        elif wanted and wanted.isdisjoint(method.scenarios):
            message = f"{method.name} is for {_named(method.scenarios)} only"
            problems.add((*entry.place, "scenario"), message)
    if all(there.isdisjoint(entry.cls.scenarios) for entry in space.methods):
        for entry in space.methods:
            names = _named(entry.cls.scenarios)
            problems.add(
                entry.place,
                f"{entry.cls.name} is for {names} only, and no stream here is; give scenario: "
                f"{names.split(',')[0]}",
            )


def _named(scenarios: Iterable[Scenario]) -> str:
    return ", ".join(sorted(scenario.value for scenario in scenarios))


def check_other_budgets(space: SearchSpace, problems: Problems) -> None:
    """Note what is wrong with values that the file has under its other budgets."""
    for other in space.others:
        found = Problems(other.file, note=other.variant)
        stream_points(other, found)
        for entry in other.methods:
            method_points(other, entry, found)
        problems.include(found)


def full_size(space: SearchSpace, entry: MethodEntry) -> int:
    """Count the combinations that a method would have if no axis collapsed for it."""
    axes = [*_not_overridden(space.shared, entry), *entry.axes]
    return math.prod(len(axis.values) for axis in axes)


def collapsed_axes(space: SearchSpace) -> Iterator[str]:
    """Say of each axis for whom it collapses."""
    for axis in space.stream:
        datasets = {a for x in space.stream if x.key == "dataset" for a in x.values}
        without = sorted(a for a in datasets if axis.option not in StreamConfig.options_of(a))
        if len(axis.values) > 1 and without:
            yield f"{axis.key} {_listed(axis.values)} collapses for {', '.join(without)}"
    for axis in space.shared:
        without = sorted(
            {
                entry.cls.name
                for entry in space.methods
                if axis in _not_overridden(space.shared, entry)
                and axis.option not in entry.cls.axes
            }
        )
        if len(axis.values) > 1 and without:
            yield f"{axis.key} {_listed(axis.values)} collapses for {', '.join(without)}"


def _listed(values: Sequence[Any]) -> str:
    """Write the values of an axis; of many, the first ones and the last."""
    if len(values) <= _MOST_SHOWN:
        return str(list(values))
    return f"{str(list(values[:3]))[:-1]}, …, {values[-1]!r}] ({len(values):,} values)"


def _not_overridden(shared: Sequence[Axis], entry: MethodEntry) -> list[Axis]:
    """Return the shared axes but for those that an entry sets, or whose whole option it sets."""
    own = {axis.key for axis in entry.axes}
    return [axis for axis in shared if not own.intersection(enclosing(axis.key))]


def _default_names(model: type[Method.Config]) -> dict[str, dict[str, Any]]:
    """Return, of options that are told apart by a name, the one that is the default."""
    fields = (
        (key, f.get_default(call_default_factory=True, validated_data={}))
        for key, f in model.model_fields.items()
    )
    return {key: {"name": value.name} for key, value in fields if hasattr(value, "name")}


def combinations(
    axes: Sequence[Axis], named: Mapping[str, Any] = MappingProxyType({})
) -> Iterator[tuple[dict[str, Any], dict[str, Place]]]:
    """Each combination of the axes' values: options, and where each option stands.

    ``optimizer.lr`` reaches into the optimizer that is given, or else into the one in ``named``.
    """
    for index in itertools.product(*(range(len(axis.values)) for axis in axes)):
        options: dict[str, Any] = {}
        places: dict[str, Place] = {}
        for axis, i in zip(axes, index, strict=True):
            head, *inner = axis.key.split(".")
            if inner:
                base = options.get(head, named.get(head))
                options[head] = _merged(base, inner, axis.values[i])
                places.setdefault(head, axis.places[i])
            else:
                options[head] = axis.values[i]
            places[axis.key] = axis.places[i]
        yield options, places


def _merged(base: Any, path: Sequence[str], value: Any) -> dict[str, Any]:
    """Set a value inside a mapping, ``optimizer`` + ``lr``, without changing the original."""
    mapping = dict(base) if isinstance(base, dict) else {"name": base} if base else {}
    head, *rest = path
    mapping[head] = _merged(mapping.get(head), rest, value) if rest else value
    return mapping
