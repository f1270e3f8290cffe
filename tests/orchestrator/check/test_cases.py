from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import Field

from methods.core.config import Config
from methods.core.method import Method
from methods.core.registry import method_class
from methods.core.task import Scenario
from methods.naive import Naive
from orchestrator.check import CASES, cases_for, make_subject
from orchestrator.check.cases import TASKS, at_most, longer_subject


class Generator(Config):
    """A memory that is trained."""

    name: Literal["generator"] = "generator"
    iterations: int | None = 2000
    warmup_iterations: int = 3
    learns: bool = True


class Trained(Naive):
    """Has one."""

    class Config(Naive.Config):
        """Options."""

        memory: Generator = Field(default_factory=Generator)
        iterations: int = 700


def test_nothing_is_trained_for_longer_than_asked() -> None:
    config = at_most(Trained.Config(), 5)
    assert config.iterations == config.memory.iterations == config.budget.iterations == 5
    assert config.memory.warmup_iterations == 3
    assert config.memory.learns is True
    assert config.model_fields_set == {"iterations", "memory", "budget"}
    assert at_most(config, 5) is config
    follows = Trained.Config(memory=Generator(iterations=None))
    assert at_most(follows, 5).memory.iterations is None


def test_a_subject_is_small_and_takes_the_options_it_has(tmp_path: Path) -> None:
    options = {"buffer_size": 20, "freeze_depth": 1, "memory": {"iterations": 900}}
    subject = make_subject(Trained, tmp_path, options, Scenario.TASK_INCREMENTAL)
    assert subject.config.freeze_depth == 1
    assert subject.config.memory.iterations == 3
    assert subject.stream.scenario is Scenario.TASK_INCREMENTAL
    assert len(subject.tasks()) == len(subject.tests) == TASKS
    assert {len(test.x) for test in subject.tests} == {24}
    assert [len(task.train) for task in subject.tasks()] == [80] * TASKS


def test_a_longer_subject_keeps_the_defaults(tmp_path: Path) -> None:
    subject = longer_subject(Trained, tmp_path, Scenario.CLASS_INCREMENTAL, 60, 32)
    assert subject.config.network == Naive.Config().network
    assert subject.config.budget.iterations == subject.config.memory.iterations == 60
    assert len(subject.tests[0].x) > 24


@pytest.mark.parametrize(("name", "expected"), [("naive", CASES), ("replay", CASES)])
def test_every_case_differs_for_a_classifier(name: str, expected: tuple[object, ...]) -> None:
    assert cases_for(method_class(name)) == (expected, ())


def test_cases_that_are_alike_are_one() -> None:
    class Plain(Naive):
        """Takes no options but the variant."""

        Config = Method.Config  # type: ignore[assignment]

    assert cases_for(Plain) == ((CASES[0],), ())
