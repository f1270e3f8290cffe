from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.data.stream_config import StreamConfig
from orchestrator.identity import Environment, trial_id
from orchestrator.plan import Plan, make_plan
from orchestrator.search_space import packaged_spaces
from orchestrator.space.grid import method_points, stream_points
from orchestrator.space.problems import Problems
from orchestrator.trial import Trial, TrialConfig

Write = Callable[..., Path]
MakePlan = Callable[[str], Plan]

SMALL = """\
dataset: split-digits
network: {name: mlp, widths: [20]}
budget: {iterations: 5}
"""


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


# However it is worked out -------------------------------------------------------------------------


def test_an_identity_stays_what_it_always_was() -> None:
    config = {
        "method": "naive",
        "seed": 0,
        "options": {"lr": 0.001, "names": ["ä", None, True]},
        "stream": {},
    }
    known = trial_id(config, "da", "co", Environment("2.0", "cpu", "float32", 1))
    assert known == "c61e8695a7753f72", "all results would have to be made again"


def identified(config: dict[str, Any], trial: Trial, environment: Environment) -> str:
    """The definition of the identity, step by step."""

    def canonical(value: Any) -> str:
        return json.dumps(value, sort_keys=True, separators=(",", ":"))

    hasher = hashlib.sha256()
    for part in (canonical(config), trial.data, trial.code, canonical(asdict(environment))):
        hasher.update(f"{len(part)}:".encode())
        hasher.update(part.encode())
    return hasher.hexdigest()[:16]


MANY = """\
dataset: [split-digits, permuted-digits, rotated-digits]
scenario: [domain-incremental, class-incremental]
class_order: [natural, seeded]
stream_seed: [0, same]
network: [mlp, {name: mlp, widths: [20, 10]}]
freeze_depth: [0, 1]
buffer_size: [5, 500]
method: [naive, joint, ewc, replay, latent-replay: {depth: [0, 1], freeze_depth: 1}, glr, rehearsal]
seed: 0..2
"""


@pytest.mark.parametrize("space", [MANY, *packaged_spaces()])
def test_a_plan_has_the_trials_of_the_straightforward_expansion(
    space: str, write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nothing is said of the data: not every machine has all of them.
    monkeypatch.setattr("orchestrator.plan.check_data", lambda *_: None)
    monkeypatch.setattr(StreamConfig, "fingerprint", lambda self, _: f"data of {self.dataset}")
    made = make_plan(write(space) if space == MANY else space, tmp_path)

    problems, unique = Problems(made.space.file), {}
    for point in stream_points(made.space, problems):
        for entry in made.space.methods:
            if point.stream.scenario not in entry.scenarios & entry.cls.scenarios:
                continue
            for options in method_points(made.space, entry, problems):
                for seed in made.space.seeds:
                    stream = point.stream.with_seed(seed)
                    method = entry.cls.named_point(options)
                    named = method.Config.model_validate(options.portable())
                    config = {
                        "stream": stream.canonical(),
                        "method": method.name,
                        "options": named.canonical(),
                        "seed": seed,
                    }
                    unique.setdefault(json.dumps(config, sort_keys=True), config)
    expected = list(unique.values())
    assert [trial.config.canonical for trial in made.trials] == expected
    assert ids(made) == [
        identified(config, trial, made.environment)
        for config, trial in zip(expected, made.trials, strict=True)
    ]
    for trial in made.trials:
        assert json.loads(trial.config.text) == trial.config.canonical
        assert trial.data == f"data of {trial.config.stream.dataset}"


def test_what_trials_share_is_the_same_as_if_each_had_its_own(plan: MakePlan) -> None:
    for trial in plan(MANY).trials:
        shared = trial.config
        own = TrialConfig(shared.stream, shared.method, shared.options, shared.seed)
        assert own == shared
        assert own.canonical == shared.canonical
        assert (own.settings, own.label, own.setup) == (
            shared.settings,
            shared.label,
            shared.setup,
        )
