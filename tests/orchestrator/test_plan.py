from __future__ import annotations

import importlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from methods.core import registry
from methods.core.registry import method_class
from orchestrator.errors import UserError
from orchestrator.identity import Environment, code_hash, trial_id
from orchestrator.plan import Plan, make_plan
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


@pytest.fixture
def plan(write: Write, tmp_path: Path) -> MakePlan:
    """Plans a search space given as text."""
    return lambda text: make_plan(write(text), tmp_path / "data")


def labels(plan: Plan) -> Counter[str]:
    return Counter(trial.config.label for trial in plan.trials)


def ids(plan: Plan) -> list[str]:
    return [trial.id for trial in plan.trials]


# Axes ---------------------------------------------------------------------------------------------


def test_shared_axes_expand_what_has_them_and_collapse_for_the_rest(plan: MakePlan) -> None:
    made = plan(
        SMALL + "freeze_depth: [0, 1]\nbuffer_size: [50, 200]\nmethod: [naive, replay]\nseed: 0..2"
    )
    assert labels(made) == {
        "naive": 3,
        "replay[buffer_size=50]": 3,
        "replay[buffer_size=200]": 3,
        "replay[buffer_size=50,freeze_depth=1]": 3,
        "replay[buffer_size=200,freeze_depth=1]": 3,
    }
    assert made.points == 24
    assert made.collapsed == (
        "freeze_depth [0, 1] collapses for naive",
        "buffer_size [50, 200] collapses for naive",
    )
    assert made.skipped == ()


def test_an_option_in_an_entry_applies_even_where_it_is_no_axis(plan: MakePlan) -> None:
    assert "freeze_depth" not in method_class("naive").axes
    made = plan(SMALL + "method: [naive: {freeze_depth: [0, 1]}, joint: {freeze_depth: 1}]")
    assert labels(made) == {"naive": 1, "naive[freeze_depth=1]": 1, "joint[freeze_depth=1]": 1}
    assert made.points == 3
    assert made.collapsed == ()


def test_an_entry_overrides_the_top_level(plan: MakePlan) -> None:
    made = plan(
        SMALL + "buffer_size: [50, 200]\nmethod: [replay, replay: {buffer_size: [7, 8, 9]}]\n"
    )
    assert sorted(labels(made)) == [f"replay[buffer_size={n}]" for n in (200, 50, 7, 8, 9)]
    assert made.points == 5, "the grid has no point that nobody asked for"


def test_dotted_keys_reach_into_options(plan: MakePlan) -> None:
    made = plan(
        SMALL
        + """\
optimizer: {name: sgd, momentum: 0.5}
optimizer.lr: [0.1, 0.2]
method: [naive, joint: {optimizer.lr: 0.3, optimizer.momentum: [0.0, 0.1]}]
"""
    )
    found = [(t.config.method, t.config.options.optimizer) for t in made.trials]
    assert [(name, o.name, o.lr, o.momentum) for name, o in found] == [
        ("naive", "sgd", 0.1, 0.5),
        ("naive", "sgd", 0.2, 0.5),
        ("joint", "sgd", 0.3, 0.0),
        ("joint", "sgd", 0.3, 0.1),
    ]


def test_dotted_keys_alone_reach_into_the_default(plan: MakePlan) -> None:
    made = plan("dataset: split-digits\noptimizer.lr: [0.1, 0.2]\nmethod: naive\n")
    assert [t.config.options.optimizer.lr for t in made.trials] == [0.1, 0.2]
    assert {t.config.options.optimizer.name for t in made.trials} == {"adam"}
    bare = plan("dataset: split-digits\noptimizer: sgd\noptimizer.lr: 0.1\nmethod: naive\n")
    assert bare.trials[0].config.options.optimizer.name == "sgd"


def test_a_whole_option_in_an_entry_is_not_reached_into_from_the_top(plan: MakePlan) -> None:
    made = plan(
        SMALL
        + "optimizer.lr: [0.1, 0.2]\nmethod: [naive, joint: {optimizer: {name: sgd, lr: 0.5}}]\n"
    )
    found = [(t.config.method, t.config.options.optimizer.lr) for t in made.trials]
    assert found == [("naive", 0.1), ("naive", 0.2), ("joint", 0.5)]


def test_options_of_streams_collapse_for_datasets_that_lack_them(plan: MakePlan) -> None:
    made = plan(
        "dataset: [split-digits, permuted-digits]\nclass_order: [natural, seeded]\nmethod: naive\n"
    )
    assert Counter(t.config.stream.dataset for t in made.trials) == {
        "split-digits": 2,
        "permuted-digits": 1,
    }
    assert made.points == 4
    assert made.collapsed == ("class_order ['natural', 'seeded'] collapses for permuted-digits",)


def test_only_repeats_that_no_collapse_explains_are_counted(plan: MakePlan) -> None:
    made = plan(
        "dataset: [split-digits, permuted-digits]\nclass_order: [natural, natural, seeded]\n"
        "method: naive\n"
    )
    assert (made.points, len(made.trials)) == (6, 3)
    assert made.collapsed == (
        "class_order ['natural', 'natural', 'seeded'] collapses for permuted-digits",
        "1 points repeat another one",
    )


def test_a_configuration_that_is_given_twice_is_one_trial(plan: MakePlan) -> None:
    made = plan(SMALL + "method: [naive, naive: {freeze_depth: 0}, replay, replay: {}]\nseed: 0..1")
    assert labels(made) == {"naive": 2, "replay[buffer_size=500]": 2}
    assert made.collapsed == ("4 points repeat another one",)


def test_a_scenario_that_a_method_lacks_is_skipped_with_its_reason(
    plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenarios = method_class("joint").scenarios
    monkeypatch.setattr(
        method_class("joint"), "scenarios", scenarios - {scenarios_of("class-incremental")}
    )
    made = plan(
        SMALL
        + "scenario: [class-incremental, task-incremental]\nmethod: [naive, joint]\nseed: 0..1\n"
    )
    assert made.skipped == ("joint is not defined for class-incremental (split-digits)",)
    assert Counter((t.config.method, str(t.config.stream.scenario)) for t in made.trials) == {
        ("naive", "class-incremental"): 2,
        ("naive", "task-incremental"): 2,
        ("joint", "task-incremental"): 2,
    }
    assert made.points == 6


def scenarios_of(name: str) -> str:
    return next(s for s in method_class("naive").scenarios if s == name)


def test_quickstart_spans_every_axis(tmp_path: Path) -> None:
    made = make_plan("quickstart", tmp_path)
    configs = [trial.config for trial in made.trials]
    assert len(configs) >= 39
    assert len(set(ids(made))) == len(configs)
    assert {str(c.stream.scenario) for c in configs} == {
        "class-incremental",
        "domain-incremental",
        "task-incremental",
    }
    assert {c.method for c in configs} == {"naive", "replay", "joint"}
    assert {c.seed for c in configs} == {0, 1, 2}
    assert {c.stream.tasks for c in configs} == {5}
    replay = [c.options for c in configs if c.method == "replay"]
    assert len({o.buffer_size for o in replay}) >= 2
    assert {o.freeze_depth for o in replay} >= {0, 1}
    assert len(made.collapsed) >= 2
    per_method = Counter(c.method for c in configs)
    assert per_method["replay"] > per_method["naive"] == per_method["joint"] == 9


def test_twenty_thousand_points_are_planned_in_seconds(plan: MakePlan) -> None:
    text = "dataset: split-digits\nbuffer_size: 1..100\nreplay_batch: 1..10\n"
    plan(text + "method: replay\nseed: 0\n")  # imports
    start = time.process_time()
    made = plan(text + "method: replay\nseed: 0..19\n")
    assert len(set(ids(made))) == 20_000
    assert time.process_time() - start < 5


# Identity -----------------------------------------------------------------------------------------

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

    trial = only("method: [replay: {freeze_depth: 1, buffer_size: 9, policy: reservoir}]\nseed: 3")
    assert trial.config.label == "replay[buffer_size=9,freeze_depth=1,policy=reservoir]"
    assert trial.config.name == (
        "split-digits/class-incremental/replay[buffer_size=9,freeze_depth=1,policy=reservoir]/seed=3"
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


def test_a_gpu_that_this_build_cannot_use_is_a_user_s_mistake(plan: MakePlan) -> None:
    import torch

    if torch.cuda.is_available():
        assert plan(ONE.replace("{cpus: 1}", "{gpus: 0.5}")).environment.device == "cuda"
        return
    with pytest.raises(UserError, match=r"space\.yaml:8: resources\.gpus: .*0\.5"):
        plan(ONE.replace("{cpus: 1}", "{gpus: 0.5}"))


def test_missing_data_and_machines_are_told_with_all_other_mistakes(
    plan: MakePlan, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    text = (
        "dataset: [split-digits, split-mnist]\nmethod: naive\nbudget: {iterations: -1}\n"
        "resources:\n  cpus: 4096\n  gpus: 64\n"
    )
    with pytest.raises(UserError) as caught:
        plan(text)
    path = write(text)
    data, budget, cpus, gpus = str(caught.value).splitlines()
    assert data.startswith(f"{path}:1: dataset[1]: mnist is not in {tmp_path / 'data'}: run ")
    assert budget.startswith(f"{path}:3: budget.iterations: ")
    assert cpus.startswith(f"{path}:5: resources.cpus: should be at most ")
    assert gpus.startswith(f"{path}:6: resources.gpus: ")
    monkeypatch.setenv("RAY_ADDRESS", "somewhere:6379")
    made = plan("dataset: split-digits\nmethod: naive\nresources: {cpus: 4096}\n")
    assert made.environment.threads == 4096, "another machine may have them"


def test_more_training_images_than_a_task_has_are_a_mistake(plan: MakePlan, write: Write) -> None:
    text = "dataset: {}\nmethod: naive\ntrain_per_task: [10, {}]\n"
    for dataset, most in (("split-digits", 283), ("permuted-digits", 1438)):
        assert len(plan(text.format(dataset, most)).trials) == 2
        with pytest.raises(UserError) as caught:
            plan(text.format(dataset, most + 1))
        assert str(caught.value) == (
            f"{write(text.format(dataset, most + 1))}:3: train_per_task[1]: should be at most "
            f"{most}, the training images of the smallest of 5 tasks of {dataset}, not {most + 1}"
        )
    with pytest.raises(UserError, match="train_per_task: should be at most") as caught:
        plan(
            "dataset: split-digits\ntasks: [2, 5]\nclass_order: seeded\nstream_seed: same\n"
            "seed: 0..3\ntrain_per_task: 2000\nmethod: naive\n"
        )
    assert "\n" not in str(caught.value), "one value is one mistake"


def test_missing_data_name_the_command_that_prepares_them(plan: MakePlan, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        plan(ONE.replace("split-digits", "split-mnist"))
    command = f"engram data prepare mnist --data {tmp_path / 'data'}"
    assert command in str(caught.value)
    assert dedent(str(caught.value)).count("\n") == 0
