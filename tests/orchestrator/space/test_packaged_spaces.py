from __future__ import annotations

from importlib.resources import files

import pytest

from methods.core.registry import method_class, method_names
from methods.core.task import Scenario
from orchestrator.reference.export import packaged_sweeps
from orchestrator.search_space import read_space
from orchestrator.space.grid import stream_points
from orchestrator.space.measured import read_measured

#: The class of which others are points: each of its own configurations would be one of many.
GENERAL = {"rehearsal"}


def test_all_methods_names_every_method_in_every_scenario_that_it_is_defined_for() -> None:
    space, problems = read_space("all-methods")
    problems.raise_if_any()
    own = {name for name in method_names() if method_class(name).__module__.startswith("methods.")}
    wanted = {
        (name, scenario)
        for name in own - GENERAL
        for scenario in Scenario
        if scenario in method_class(name).scenarios
    }
    there = {
        (entry.cls.name, scenario)
        for entry in space.methods
        for scenario in entry.scenarios & entry.cls.scenarios
    }
    assert sorted(wanted - there) == []
    assert {point.stream.scenario for point in stream_points(space, problems)} == set(Scenario)


def test_all_methods_gives_each_the_same_network_steps_and_seeds() -> None:
    space, _ = read_space("all-methods")
    shared = {"network", "optimizer", "budget", "seed"}
    assert not [axis.key for entry in space.methods for axis in entry.axes if axis.option in shared]
    assert space.seeds == (0, 1, 2, 3, 4)


def test_what_is_kept_is_of_packaged_search_spaces() -> None:
    kept = [file.name for file in (files("search_spaces") / "measured").iterdir()]
    assert "quickstart.json" in kept
    for name in kept:
        sweep = name.removesuffix(".json")
        assert sweep in packaged_sweeps()
        measured = read_measured(sweep)
        assert measured is not None
        assert measured.sweep == sweep
        assert measured.finished > 0


@pytest.mark.parametrize("sweep", sorted(packaged_sweeps()))
def test_published_figures_name_rows_that_exist(sweep: str) -> None:
    from orchestrator.reference.published import figures

    space, _ = read_space(packaged_sweeps()[sweep])
    methods = {entry.cls.name for entry in space.methods}
    named = [key for figure in figures(space.header.published) for key in figure.keys]
    for key in named:
        method = key.partition("[")[0]
        assert method not in method_names() or method in methods, f"{key} is no row of {sweep}"
