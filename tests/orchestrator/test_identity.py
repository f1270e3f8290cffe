from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from methods.core import registry
from methods.core.registry import method_class
from orchestrator import identity
from orchestrator.errors import UserError
from orchestrator.identity import Environment, code_hash, trial_id
from orchestrator.plan import Plan, make_plan, trial_code
from orchestrator.trial import Trial, TrialConfig

Write = Callable[..., Path]
MakePlan = Callable[[str], Plan]

SMALL = """\
dataset: split-digits
network: {name: mlp, widths: [20]}
budget: {iterations: 5}
"""

PLUGIN = '''
"""A method from elsewhere."""

from methods.naive import Naive
from {helper} import LIMIT


class Elsewhere(Naive):
    """Like naive."""

    def after_step(self, batch):
        """Count."""
        self.steps = min(LIMIT, getattr(self, "steps", 0) + 1)
'''


def ids(plan: Plan) -> list[str]:
    return [trial.id for trial in plan.trials]


ONE = """\
name: one
dataset: split-digits
tasks: 5
network: {name: mlp, widths: [20]}
method:
  - replay: {buffer_size: 50}
seed: 0..1
resources: {cpus: 1}
"""

SAME_AS_ONE = {
    "another name and comments": "# hello\n" + ONE.replace("name: one", "name: other  # why"),
    "another order of keys": "".join(
        reversed(ONE.replace(":\n  - ", ": ").splitlines(True))
    ).replace("method: replay: {buffer_size: 50}", "method: {replay: {buffer_size: 50}}"),
    "another way to write it": ONE.replace(
        "{name: mlp, widths: [20]}", "\n  widths: [20]\n  name: mlp"
    ),
    "option from the top": ONE.replace("{buffer_size: 50}", "{}").replace(
        "seed", "buffer_size: 50\nseed"
    ),
    "defaults written out": ONE.replace(
        "tasks: 5", "tasks: 5\nstream_seed: 0\nscenario: class-incremental"
    ),
    "default left out": ONE.replace("tasks: 5\n", ""),
    "list of one": ONE.replace("tasks: 5", "tasks: [5]"),
    "seeds as a list": ONE.replace("0..1", "[1, 0]"),
    "number as a fraction": ONE.replace("seed:", "optimizer.lr: 1.0e-3\nseed:"),
    "anchor": ONE.replace("{buffer_size: 50}", "&o {buffer_size: 50}")
    + "budget: {<<: {iterations: 500}}\n",
    "seed of a stream that draws nothing": ONE + "stream_seed: 1\n",
    "no GPU": ONE.replace("{cpus: 1}", "{gpus: 0}"),
    "no resources": ONE.replace("resources: {cpus: 1}\n", ""),
}

OTHER_THAN_ONE = {
    "seed": ONE.replace("0..1", "2..3"),
    "option of the method": ONE.replace("50", "51"),
    "method": ONE.replace("- replay: {buffer_size: 50}", "- joint"),
    "network": ONE.replace("[20]", "[21]"),
    "network's kind": ONE.replace("{name: mlp, widths: [20]}", "cnn"),
    "learning rate": ONE + "optimizer.lr: 0.002\n",
    "length of training": ONE + "budget: {iterations: 499}\n",
    "order of classes": ONE + "class_order: seeded\n",
    "tasks": ONE.replace("tasks: 5", "tasks: 2"),
    "scenario": ONE + "scenario: task-incremental\n",
    "dataset": ONE.replace("split-digits", "permuted-digits"),
    "threads": ONE.replace("cpus: 1", "cpus: 2"),
}


@pytest.mark.parametrize("case", SAME_AS_ONE)
def test_the_same_trial_has_the_same_identity(case: str, plan: MakePlan) -> None:
    assert SAME_AS_ONE[case] != ONE
    assert sorted(ids(plan(SAME_AS_ONE[case]))) == sorted(ids(plan(ONE)))


@pytest.mark.parametrize("case", OTHER_THAN_ONE)
def test_another_trial_has_another_identity(case: str, plan: MakePlan) -> None:
    one, other = ids(plan(ONE)), ids(plan(OTHER_THAN_ONE[case]))
    assert len(other) == 2
    assert not set(one) & set(other)


def test_where_data_live_is_no_part_of_the_identity(write: Write, tmp_path: Path) -> None:
    assert ids(make_plan(write(ONE), tmp_path / "a")) == ids(make_plan(write(ONE), tmp_path / "b"))


def test_every_ingredient_changes_the_identity(plan: MakePlan) -> None:
    trial = plan(ONE).trials[0]
    config, here = trial.config.canonical, Environment("2.0", "cpu", "float32", 1)
    seen = {
        trial_id(config, "data", "code", here),
        trial_id(config | {"seed": 9}, "data", "code", here),
        trial_id(config, "atad", "code", here),
        trial_id(config, "data", "edoc", here),
        trial_id(config, "datac", "ode", here),
        trial_id(config, "data", "code", replace(here, torch="2.1")),
        trial_id(config, "data", "code", replace(here, device="cuda")),
        trial_id(config, "data", "code", replace(here, precision="bfloat16")),
        trial_id(config, "data", "code", replace(here, threads=2)),
    }
    assert len(seen) == 9
    assert all(len(one) == 16 for one in seen)


def test_a_stream_seed_tied_to_the_seed_is_that_number(plan: MakePlan) -> None:
    drawn = ONE + "class_order: seeded\n"
    tied = plan(drawn + "stream_seed: same\n")
    zero, one = plan(drawn), plan(drawn + "stream_seed: 1\n")
    assert [t.config.stream.stream_seed for t in tied.trials] == [0, 1]
    assert ids(tied) == [ids(zero)[0], ids(one)[1]]
    assert not set(ids(zero)) & set(ids(one))


def test_a_configuration_comes_back_from_its_canonical_form(plan: MakePlan) -> None:
    for trial in plan(ONE + "optimizer: sgd\nclass_order: seeded\n").trials:
        again = TrialConfig.from_canonical(trial.config.canonical)
        assert again == trial.config
        assert again.canonical == trial.config.canonical


def test_a_trial_reads_as_its_legend(plan: MakePlan) -> None:
    def only(text: str) -> Trial:
        (trial,) = plan(SMALL + text).trials
        return trial

    options = "{freeze_depth: 1, buffer_size: 9, memory.policy: reservoir}"
    trial = only(f"method: [replay: {options}]\nseed: 3")
    assert trial.config.label == "replay[buffer_size=9,freeze_depth=1,memory.policy=reservoir]"
    assert trial.config.name == (
        "split-digits/class-incremental/replay[buffer_size=9,freeze_depth=1,memory.policy=reservoir]/seed=3"
    )
    assert only("method: naive").config.label == "naive"


# The code of a method -----------------------------------------------------------------------------


@pytest.fixture
def code_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """The hash of a plug-in written as the test likes, and of what it imports."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def hash_of(text: str = PLUGIN, limit: str = "LIMIT = 10\n", name: str = "plugged") -> str:
        package = tmp_path / name
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text("")
        (package / "limits.py").write_text(limit)
        (package / "method.py").write_text(text.format(helper=f"{name}.limits"))
        importlib.invalidate_caches()
        code_hash.cache_clear()
        return code_hash(f"{name}.method")

    yield hash_of
    for name in set(sys.modules) - before:  # the next test writes others of the same name
        if name.split(".")[0] in {"plugged", "unplugged"}:
            del sys.modules[name]


def test_comments_layout_and_docstrings_are_no_part_of_the_code(
    code_of: Callable[..., str],
) -> None:
    before = code_of()
    assert code_of() == before
    assert code_of(PLUGIN.replace("    def", "    # a comment\n\n    def")) == before
    assert code_of(PLUGIN.replace("self.steps = min(", "self.steps = min(\n            ")) == before
    assert code_of(PLUGIN.replace('"""Like naive."""', '"""Quite another text."""')) == before
    assert code_of(PLUGIN.replace('        """Count."""\n', "")) == before
    assert code_of(limit='"""How far to count."""\n\nLIMIT = 10  # ten\n') == before


def test_what_runs_is_part_of_the_code(code_of: Callable[..., str]) -> None:
    seen = {
        code_of(),
        code_of(PLUGIN.replace("+ 1", "+ 2")),
        code_of(PLUGIN.replace("after_step", "before_step")),
        code_of(PLUGIN.replace('"steps", 0', '"steps", False')),
        code_of(PLUGIN.replace('"steps", 0', '"steps", 0.0')),
        code_of(
            PLUGIN.replace("methods.naive import Naive", "methods.joint import Joint as Naive")
        ),
        code_of(limit="LIMIT = 11\n"),
        code_of(PLUGIN.replace("from {helper}", "from .limits"), limit="LIMIT = 12\n"),
    }
    assert len(seen) == 8


@pytest.mark.parametrize("module", ["__main__", "itertools", "no.such.module"])
def test_code_that_is_in_no_file_is_a_user_s_mistake(module: str) -> None:
    with pytest.raises(UserError, match=f"module '{module}' is in no file that can be imported"):
        code_hash(module)


def test_finding_the_code_runs_none_of_it(code_of: Callable[..., str], tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    code_of(f"import pathlib; pathlib.Path({str(ran)!r}).touch()\n" + PLUGIN, name="unplugged")
    assert not ran.exists()
    assert "unplugged.method" not in sys.modules


def test_a_plugged_in_method_changes_its_trials_with_its_code(
    plan: MakePlan, code_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code_of()
    module = importlib.import_module("plugged.method")
    monkeypatch.setitem(registry._registered, "elsewhere", module.Elsewhere)
    module.Elsewhere.name = "elsewhere"
    text = SMALL + "method: [naive, elsewhere]\n"
    before = plan(text)
    code_of(PLUGIN.replace("+ 1", "+ 2"))
    after = plan(text)
    assert [t.config.method for t in after.trials] == ["naive", "elsewhere"]
    assert before.trials[0].id == after.trials[0].id, "the code of another method"
    assert before.trials[1].id != after.trials[1].id


def test_no_source_of_data_is_part_of_the_code_of_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    find, hashed = identity._source, set()

    def note(module: str) -> Path | None:
        path = find(module)
        if path is not None:
            hashed.add(module)
        return path

    monkeypatch.setattr(identity, "_source", note)
    code_hash.cache_clear()
    trial_code(method_class("naive"))
    assert {"orchestrator.data.streams", "orchestrator.data.stream_config"} <= hashed
    # Their fingerprint answers for data: a new source leaves all trials as they are.
    readers = ("orchestrator.data.sources", "orchestrator.data.added", "orchestrator.data.arrow")
    assert not [module for module in hashed if module.startswith(readers)]
