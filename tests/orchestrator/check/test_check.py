"""``engram check``: what it says of methods that cheat, of mistakes, and of good ones."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import NamedTuple

import numpy as np
import pytest
import torch

from methods.core import registry
from orchestrator import cli

#: A user's file; what a test adds stands in the class.
FILE = """\
import torch

from methods.core.registry import register
from methods.naive import Naive


@register("test-mine")
class Mine(Naive):
    '''A method of mine.'''

"""

CHEATS = {
    "PeeksAtItsCaller": ("predictions", "predictions change with the labels of the images"),
    "AllowsUnseenClasses": ("logits", "not -inf exactly for classes that are not eligible"),
    "HoldsOnToTheData": ("bytes", "but the method reaches"),
    "ReadsAnEarlierTask": ("data-are-closed", "data of an earlier task are read again"),
    "SeedsPyTorch": ("global-rng", "__init__() moves the global generator of PyTorch"),
    "IgnoresTheSeed": ("seeds", "two seeds give the same result"),
    "ForgetsItsOptimizer": ("resuming", "task 1 ends otherwise"),
    "PolishesAfterwards": ("remember", "remember() changes the predictions"),
    "SamplesAnyClass": ("samples", "other classes than those asked for"),
}


class Answer(NamedTuple):
    status: int
    out: str
    err: str

    def state(self, check: str) -> str:
        """What stands before a check: ok, or FAILED."""
        (state,) = re.findall(rf"(?m)^(ok|FAILED) +{check} ", self.out)
        return str(state)


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Forget what a test registered and imported, and what cheats did to global generators."""
    names, modules, path = dict(registry._registered), set(sys.modules), list(sys.path)
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    yield
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
    sys.path[:] = path
    registry._registered.clear()
    registry._registered.update(names)
    for name in set(sys.modules) - modules:
        if Path(str(getattr(sys.modules[name], "__file__", ""))).is_relative_to("/tmp"):
            del sys.modules[name]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    registry.method_names()
    return tmp_path_factory.mktemp("data")


@pytest.fixture
def check(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Answer:
        command = ["engram", "check", *words, "--data", str(data)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, *capsys.readouterr())

    return run


def mine(body: str, name: str = "mine.py") -> None:
    indented = "\n".join(f"    {line}".rstrip() for line in dedent(body).splitlines())
    Path(name).write_text(FILE + indented + "\n")


ONE = ("--scenario", "class-incremental")


@pytest.mark.parametrize("cheat", CHEATS)
def test_a_cheat_fails_the_check_that_is_for_it(cheat: str, check: Callable[..., Answer]) -> None:
    name, message = CHEATS[cheat]
    cheats = Path(__file__).parents[2] / "methods" / "cheats.py"
    text = cheats.read_text().replace(f"class {cheat}(", f'@register("cheat")\nclass {cheat}(')
    imported = "from methods.core.registry import register\n"
    text = text.replace("import Method\n", f"import Method\n{imported}")
    Path("cheating.py").write_text(text)
    answer = check("cheating.py", "--only", name, "--only", "axes", *ONE)
    assert answer.status == 1
    assert answer.state(name) == "FAILED"
    assert answer.state("axes") == "ok"
    assert message in answer.out
    assert "class-incremental, defaults" in answer.out
    assert "cheat breaks 1 of 2 checks (" in answer.out
    assert f"Again: engram check cheating.py --only {name}\n" in answer.out


def test_a_good_method_passes_every_check(check: Callable[..., Answer]) -> None:
    mine("")
    answer = check("mine.py", *ONE)
    assert answer.status == 0, answer.out
    assert answer.out.startswith("test-mine   A method of mine.\nmine.py:7, on split-digits\n")
    assert "FAILED" not in answer.out
    assert "Speed, for information: " in answer.out
    assert "test-mine keeps the contract: 13 checks × 1 scenario × 4 cases in " in answer.out


def test_an_exception_is_told_with_its_place_and_the_other_checks_go_on(
    check: Callable[..., Answer],
) -> None:
    mine(
        """
        def edit_gradients(self):
            if self.tasks_learned == 1:
                self.nothing
        """
    )
    answer = check("mine.py", *ONE)
    assert answer.status == 1
    assert answer.state("logits") == answer.state("resuming") == "FAILED"
    assert answer.state("defaults") == answer.state("learning") == "ok"
    message = "AttributeError: 'Mine' object has no attribute 'nothing'"
    assert answer.out.count(message) == 1
    assert "mine.py:14, in edit_gradients; class-incremental, defaults, and 3 more of 4 runs" in (
        answer.out
    )
    assert "as in data-are-closed" in answer.out
    assert "test-mine breaks 9 of 13 checks (" in answer.out


def test_what_is_not_documented_is_named(check: Callable[..., Answer]) -> None:
    mine(
        """
        axes = Naive.axes | {"strenth"}

        class Config(Naive.Config):
            '''Options.'''

            strength: float = 0.1
        """
    )
    answer = check("mine.py", "--only", "documentation", "--only", "axes", *ONE)
    assert answer.status == 1
    assert "no docstring stands under 'strength'" in answer.out
    assert "axes names 'strenth', no option of Config; did you mean 'strength'?" in answer.out
    assert "test-mine breaks 2 of 2 checks" in answer.out


def test_a_method_that_does_not_learn_is_told_how_little(check: Callable[..., Answer]) -> None:
    mine(
        """
        def edit_gradients(self):
            for parameter in self.network.parameters():
                parameter.grad.neg_()
        """
    )
    answer = check("mine.py", "--only", "learning", *ONE)
    assert answer.status == 1
    assert "of the first task's test images are right after 60 steps of 32 images" in answer.out
    assert "chance is 50%, and 75% is expected" in " ".join(answer.out.split())


def test_options_that_cannot_be_built_fail_but_stop_nothing(check: Callable[..., Answer]) -> None:
    mine(
        """
        class Config(Naive.Config):
            '''Options.'''

            must: int
            '''Has no default.'''
        """
    )
    answer = check("mine.py", "--only", "defaults", "--only", "logits", "--only", "axes")
    assert answer.status == 1
    assert answer.state("defaults") == answer.state("logits") == "FAILED"
    assert answer.state("axes") == "ok"
    assert "must Field required" in answer.out


def test_a_case_that_a_method_refuses_is_left_out(check: Callable[..., Answer]) -> None:
    mine(
        """
        class Config(Naive.Config):
            '''Options.'''

            def model_post_init(self, context):
                '''Refuse.'''
                if self.freeze_from == "start":
                    raise ValueError("nothing can be frozen from the start")
        """
    )
    answer = check("mine.py", "--only", "logits", *ONE)
    assert answer.status == 0
    refused = "frozen from the start, optimiser reset: nothing can be frozen from the start"
    assert f"Left out, for it does not take these options: {refused}" in answer.out
    assert "keeps this part of the contract: 1 check × 1 scenario × 3 cases in " in answer.out


def test_only_the_scenarios_of_a_method_are_tried(check: Callable[..., Answer]) -> None:
    mine(
        """
        from methods.core.task import Scenario
        scenarios = frozenset({Scenario.TASK_INCREMENTAL})
        """
    )
    assert "1 check × 1 scenario × 4 cases" in check("mine.py", "--only", "logits").out
    answer = check("mine.py", *ONE)
    assert answer.status == 2
    assert answer.err == (
        "engram: test-mine is not for class-incremental; it is for task-incremental\n"
    )


def test_names_and_modules_are_found_too(check: Callable[..., Answer]) -> None:
    Path("package").mkdir()
    Path("package/__init__.py").touch()
    Path("package/helper.py").write_text("LIMIT = 3\n")
    mine("from .helper import LIMIT", "package/mine.py")
    for wanted in ("package.mine", "package/mine.py", "test-mine"):
        answer = check(wanted, "--only", "axes")
        assert answer.out.startswith("test-mine   A method of mine.\npackage/mine.py:7,")


MISTAKES = {
    "mein.py": ("", "mein.py: there is no such file"),
    "repaly": ("", "unknown method 'repaly'; did you mean 'replay'?"),
    "mine": ("x = 1", "unknown method 'mine'; did you mean the file mine.py?"),
    "no.where": ("", "no.where: there is no such module, nor a method of that name"),
    "replay --only byts": ("", "unknown check 'byts'; did you mean 'bytes'?"),
    "replay --scenario class": ("", "unknown scenario 'class'"),
    "mine.py": ("x = 1", "mine.py: holds no method; put @register("),
    "./mine.py": ("x = 1 +", "mine.py:1: SyntaxError: invalid syntax"),
    "mine.py ": ("import os\nimport nowhere", "mine.py:2: ModuleNotFoundError: No module named"),
    "mine.py  ": ("\nexit(3)", "mine.py:2: SystemExit: 3"),
    "mine.py   ": (FILE.replace('@register("test-mine")', ""), "Mine is not registered; put @regi"),
    "mine.py    ": (
        FILE.replace("test-mine", "replay"),
        "mine.py:7: ValueError: method 'replay' is",
    ),
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(words: str, check: Callable[..., Answer]) -> None:
    text, message = MISTAKES[words]
    if text:
        Path("mine.py").write_text(text)
    answer = check(*words.split())
    assert answer.status == 2
    assert answer.out == ""
    assert answer.err.startswith("engram: ")
    assert message in answer.err
    assert answer.err.count("\n") == 1
