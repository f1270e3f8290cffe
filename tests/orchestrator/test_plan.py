from __future__ import annotations

import gc
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from methods.core.registry import method_class
from orchestrator.errors import UserError
from orchestrator.plan import Plan, count_trials, make_plan

Write = Callable[..., Path]
MakePlan = Callable[[str], Plan]

SMALL = """\
dataset: split-digits
network: {name: mlp, widths: [20]}
budget: {iterations: 5}
"""


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
        "1 point repeats another one",
    )


def test_a_configuration_that_is_given_twice_is_one_trial(plan: MakePlan) -> None:
    made = plan(SMALL + "method: [naive, naive: {freeze_depth: 0}, replay, replay: {}]\nseed: 0..1")
    assert labels(made) == {"naive": 2, "replay[buffer_size=500]": 2}
    assert made.collapsed == ("4 points repeat another one",)


def test_options_without_meaning_are_told(plan: MakePlan) -> None:
    made = plan(
        SMALL.replace("scenario", "# scenario")
        + "scenario: task-incremental\nbuffer_size: [10, 20]\nmethod:\n"
        + "  - naive\n"
        + "  - ewc: {gamma: [0.5, 0.9]}\n"
        + "  - ewc: {mode: [online, separate], gamma: 0.7}\n"
        + "  - prer: {replay_pool: frozen, pool: 10, flow: {blocks: 1, levels: 1}}\n"
        + "  - gfr: {temperature: 3, memory: cvae, memory.latents: 5}\n"
    )
    assert made.unused == (
        "ewc.gamma",
        "ewc.gamma at 1 of 2 points",
        "prer.pool",
        *("gfr.temperature",),
    )
    assert plan(SMALL + "method: [naive, ewc: {mode: online, gamma: 0.7}]").unused == ()


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
    assert made.skipped_points == 2
    assert Counter((t.config.method, str(t.config.stream.scenario)) for t in made.trials) == {
        ("naive", "class-incremental"): 2,
        ("naive", "task-incremental"): 2,
        ("joint", "task-incremental"): 2,
    }
    assert made.points == 6


def test_an_entry_can_be_for_some_scenarios_alone(plan: MakePlan) -> None:
    made = plan(
        SMALL
        + "scenario: [class-incremental, domain-incremental, task-incremental]\n"
        + "method:\n"
        + "  - ewc: {scenario: [class-incremental, domain-incremental], strength: 1e9}\n"
        + "  - ewc: {scenario: task-incremental, strength: [1e3, 1e4]}\n"
        + "  - naive\n"
    )
    assert Counter((t.config.label, str(t.config.stream.scenario)) for t in made.trials) == {
        ("ewc[strength=1000000000.0]", "class-incremental"): 1,
        ("ewc[strength=1000000000.0]", "domain-incremental"): 1,
        ("ewc[strength=1000.0]", "task-incremental"): 1,
        ("ewc", "task-incremental"): 1,
        ("naive", "class-incremental"): 1,
        ("naive", "domain-incremental"): 1,
        ("naive", "task-incremental"): 1,
    }
    # Nothing is impossible: the points that nobody asked for are no points.
    assert (made.points, made.skipped, made.skipped_points) == (7, (), 0)
    assert count_trials(made.space) == 7


def test_a_scenario_of_an_entry_must_be_one_of_the_method(plan: MakePlan) -> None:
    with pytest.raises(UserError, match=r"prer\.scenario: prer is for task-incremental only"):
        plan(SMALL + "method:\n  - naive\n  - prer: {scenario: class-incremental}\n")


def test_a_plan_of_nothing_is_a_mistake(plan: MakePlan) -> None:
    hint = "prer is for task-incremental only, and no stream here is; give scenario: task-incr"
    with pytest.raises(UserError, match=hint):
        plan(SMALL + "method: [prer]\n")
    assert len(plan(SMALL + "method: [naive, prer]\n").trials) == 1


@pytest.mark.parametrize(
    ("method", "complaint"),
    [
        (
            "gem: {buffer_size: 4}",
            "gem: cannot learn split-digits: buffer_size 4 has no image for each of 5 tasks; "
            "give 5 or more",
        ),
        (
            "naive: {network: prer-cnn-cifar}",
            "naive: cannot learn split-digits: images of 8 × 8 are too small for this network",
        ),
        (
            "naive: {network: {name: alexnet, image_size: null}}",
            "naive: cannot learn split-digits: nothing would be left of images of 8 × 8 pixels",
        ),
        (
            "dgr: {memory: {name: wgan-gp, channels: 8}}",
            "dgr: cannot learn split-digits: images of 8x8 are too small for a convolutional",
        ),
        (
            "dgr: {variant: as-released}",
            "dgr: cannot learn split-digits: images of 8x8 are too small for a convolutional",
        ),
    ],
)
def test_a_stream_that_cannot_be_learnt_is_a_mistake(
    plan: MakePlan, method: str, complaint: str
) -> None:
    with pytest.raises(UserError) as error:
        plan(SMALL + f"method:\n  - joint\n  - {method}\n")
    assert complaint in str(error.value)
    assert str(error.value).count("cannot learn") == 1


def test_a_scenario_of_an_entry_must_be_one_of_the_streams(plan: MakePlan) -> None:
    def complaint(scenario: str) -> str:
        with pytest.raises(UserError) as error:
            plan(SMALL + f"method:\n  - ewc: {{scenario: {scenario}}}\n")
        return str(error.value)

    assert "ewc.scenario: no stream here is task-incremental" in complaint("task-incremental")
    wrong = complaint("task-incrementel")
    assert "ewc.scenario: cannot be 'task-incrementel'; did you mean 'task-incremental'?" in wrong
    assert "no stream" not in wrong
    with pytest.raises(UserError, match=r"ewc.scenaro: unknown key; did you mean 'scenario'\?"):
        plan(SMALL + "method:\n  - ewc: {scenaro: task-incremental}\n")


def test_a_budget_may_leave_out_the_scenario_of_an_entry(write: Write, tmp_path: Path) -> None:
    path = write(
        SMALL
        + "scenario: [class-incremental, task-incremental]\n"
        + "method: [naive, ewc: {scenario: task-incremental}]\n"
        + "budgets: {half: {scenario: class-incremental}}\n"
    )
    assert labels(make_plan(path, tmp_path)) == {"naive": 2, "ewc": 1}
    assert labels(make_plan(path, tmp_path, "half")) == {"naive": 1}


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


def test_of_a_long_axis_that_collapses_not_every_value_is_told(plan: MakePlan) -> None:
    made = plan(SMALL + "buffer_size: 1..100\nreplay_batch: [1, 2]\nmethod: [naive, replay]\n")
    assert made.collapsed == (
        "buffer_size [1, 2, 3, …, 100] (100 values) collapses for naive",
        "replay_batch [1, 2] collapses for naive",
    )


def test_planning_leaves_the_garbage_collector_as_it_was(plan: MakePlan) -> None:
    assert gc.isenabled()
    plan(SMALL + "method: naive\n")
    assert gc.isenabled()
    with pytest.raises(UserError):
        plan(SMALL + "method: naive\nfreeze_depth: 99\n")
    assert gc.isenabled()


def test_twenty_thousand_points_are_planned_in_seconds(plan: MakePlan) -> None:
    text = "dataset: split-digits\nbuffer_size: 1..100\nreplay_batch: 1..10\n"
    plan(text + "method: replay\nseed: 0\n")  # imports
    start = time.process_time()
    made = plan(text + "method: replay\nseed: 0..19\n")
    assert len(set(ids(made))) == 20_000
    assert time.process_time() - start < 4
