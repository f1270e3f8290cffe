from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator import api, cli
from orchestrator.errors import UserError
from orchestrator.plan import Plan, count_trials, make_plan
from orchestrator.results import ResultsStore
from orchestrator.search_space import read_space, sweep_name
from orchestrator.space.problems import InvalidFile
from orchestrator.space.yaml_file import YamlFile

Write = Callable[..., Path]

SPACE = """\
name: deep
description: All of it.
published: {naive: 0.2, joint: {accuracy: 0.95}}
dataset: split-digits
tasks: 5
network: {name: mlp, widths: [20, 20]}
optimizer: {name: adam, lr: 1e-3}
budget: {iterations: 50, batch_size: 8}
freeze_depth: [0, 1]
buffer_size: [50, 200]
method:
  - naive
  - replay: {memory.policy: reservoir}
  - joint
seed: 0..2
budgets:
  small:
    description: Some of it.
    budget: {iterations: 2, batch_size: 8}
    train_per_task: 40
    seed: 0..1
    freeze_depth: 0
    buffer_size: 50
  tiny:
    method: [naive, joint]
    network:
      name: mlp
      widths: [8]
    seed: [7]
"""


def trials(plan: Plan) -> list[tuple[str, int]]:
    return [(trial.config.method, trial.config.seed) for trial in plan.trials]


# What a budget means ------------------------------------------------------------------------------


def test_without_a_budget_the_file_means_what_it_meant(write: Write, tmp_path: Path) -> None:
    plain = make_plan(write(SPACE[: SPACE.index("budgets:")], "plain.yaml"), tmp_path)
    made = make_plan(write(SPACE), tmp_path)
    assert made.trials == plain.trials
    assert made.points == plain.points
    assert made.space.name == "deep"
    assert made.space.budget is None


def test_keys_replace_the_file_s(write: Write, tmp_path: Path) -> None:
    made = make_plan(write(SPACE), tmp_path, "small")
    assert made.space.name == "deep-small"
    assert made.space.header.description == "Some of it."
    assert made.space.header.published == {"naive": 0.2, "joint": {"accuracy": 0.95}}
    assert trials(made) == [
        (method, seed) for method in ("naive", "replay", "joint") for seed in (0, 1)
    ]
    for trial in made.trials:
        canonical = trial.config.canonical
        assert canonical["options"]["budget"]["iterations"] == 2
        assert canonical["options"]["network"]["widths"] == [20, 20], "the file's own"
        assert canonical["stream"]["train_per_task"] == 40


def test_methods_and_seeds_are_replaced_whole_and_idle_axes_are_left_out(
    write: Write, tmp_path: Path
) -> None:
    made = make_plan(write(SPACE), tmp_path, "tiny")
    assert trials(made) == [("naive", 7), ("joint", 7)]
    assert made.points == 2, "freeze_depth and buffer_size are no axes of these methods"
    assert made.collapsed == ()


def test_an_idle_option_of_the_stream_is_left_out(write: Write, tmp_path: Path) -> None:
    path = write(
        "dataset: permuted-digits\npermute_first: false\nmethod: naive\n"
        "budgets: {small: {dataset: split-digits}}\n"
    )
    (trial,) = make_plan(path, tmp_path, "small").trials
    assert trial.config.stream.dataset == "split-digits"
    (whole,) = make_plan(path, tmp_path).trials
    assert whole.config.stream.permute_first is False


def test_a_trial_is_the_same_whichever_way_it_was_planned(write: Write, tmp_path: Path) -> None:
    by_hand = SPACE[: SPACE.index("budgets:")]
    for old, new in (
        ("iterations: 50", "iterations: 2"),
        ("tasks: 5", "tasks: 5\ntrain_per_task: 40"),
        ("0..2", "0..1"),
        ("[0, 1]", "0"),
        ("[50, 200]", "50"),
    ):
        assert by_hand.count(old) == 1
        by_hand = by_hand.replace(old, new)
    path = write(SPACE)
    small = make_plan(path, tmp_path, "small")
    assert small.trials == make_plan(write(by_hand, "by-hand.yaml"), tmp_path).trials
    more_seeds = SPACE.replace("    seed: 0..1", "    seed: 0..3")
    again = make_plan(write(more_seeds, "more.yaml"), tmp_path, "small")
    assert {trial.id for trial in small.trials} < {trial.id for trial in again.trials}


@pytest.mark.parametrize(
    ("own", "replaced", "rates"),
    [
        ("optimizer: {name: adam, lr: 1e-3}", "optimizer.lr: 5e-2", [("adam", 5e-2)]),
        ("optimizer.lr: [1e-3, 1e-4]", "optimizer.lr: 5e-2", [("adam", 5e-2)]),
        ("optimizer.lr: [1e-3, 1e-4]", "optimizer: {name: sgd, lr: 0.5}", [("sgd", 0.5)]),
        (
            "optimizer.lr: [1e-3, 1e-4]",
            "{optimizer.lr: [0.2, 0.3], optimizer: sgd}",
            [("sgd", 0.2), ("sgd", 0.3)],
        ),
    ],
)
def test_keys_with_a_dot(
    own: str, replaced: str, rates: list[tuple[str, float]], write: Write, tmp_path: Path
) -> None:
    replaced = replaced if replaced.startswith("{") else f"{{{replaced}}}"
    text = f"dataset: split-digits\nmethod: naive\n{own}\nbudgets: {{small: {replaced}}}\n"
    made = make_plan(write(text), tmp_path, "small")
    found = [trial.config.canonical["options"]["optimizer"] for trial in made.trials]
    assert [(optimizer["name"], optimizer["lr"]) for optimizer in found] == rates


@pytest.mark.parametrize("form", ["replay", "[replay]", "{replay: {}}", "[{replay: }]"])
def test_an_option_of_an_entry_in_each_way_to_write_one(
    form: str, write: Write, tmp_path: Path
) -> None:
    text = (
        f"dataset: split-digits\nmethod: {form}\n"
        "budgets: {small: {method.replay.buffer_size: [5, 6]}}\n"
    )
    made = make_plan(write(text), tmp_path, "small")
    assert [t.config.canonical["options"]["buffer_size"] for t in made.trials] == [5, 6]


def test_an_option_of_an_entry_reaches_each_entry_of_that_method_and_no_other(
    write: Write, tmp_path: Path
) -> None:
    path = write(
        """\
        dataset: split-digits
        method:
          - joint: {optimizer.lr: 1e-3}
          - replay: {buffer_size: [50, 200], optimizer.lr: [1e-3, 1e-4]}
          - replay: {per_class: 5}
        budgets:
          small:
            method.replay.optimizer: {name: sgd, lr: 0.5}
            method.replay.budget.batch_size: 4
          other:
            method: [joint, replay]
            method.replay.buffer_size: 7
        """
    )
    made = make_plan(path, tmp_path, "small")
    options = [trial.config.canonical["options"] for trial in made.trials]
    found = [
        (o["optimizer"]["name"], o["optimizer"]["lr"], o["budget"]["batch_size"]) for o in options
    ]
    usual = options[0]["budget"]["batch_size"]
    assert found == [("adam", 1e-3, usual), *[("sgd", 0.5, 4)] * 3]
    assert [o.get("buffer_size") for o in options[1:3]] == [50, 200]
    other = make_plan(path, tmp_path, "other").trials
    assert [trial.config.method for trial in other] == ["joint", "replay"]
    assert other[1].config.canonical["options"]["buffer_size"] == 7


def test_the_file_is_left_as_it_was(write: Write) -> None:
    path = write(SPACE)
    file = YamlFile.read(path)
    space, problems = read_space(path, "small")
    assert not len(problems)
    assert [(other.budget, other.name) for other in space.others] == [
        (None, "deep"),
        ("tiny", "deep-tiny"),
    ]
    assert space.others[0].file.value | {"budgets": file.value["budgets"]} == file.value
    assert space.file.text == SPACE
    assert space.text == f"# with budget small\n{SPACE}"
    assert space.others[0].text == SPACE
    assert YamlFile.parse(space.text, "stored").value == file.value


def test_trials_are_counted_without_data(write: Write, tmp_path: Path) -> None:
    path = write(SPACE.replace("split-digits", "split-mnist"))
    space, problems = read_space(path)
    assert not len(problems)
    counts = {reading.budget: count_trials(reading) for reading in (space, *space.others)}
    assert counts == {None: 18, "small": 6, "tiny": 2}
    with pytest.raises(InvalidFile, match="engram data prepare mnist"):
        make_plan(path, tmp_path)
    here = write(SPACE)
    assert {b: len(make_plan(here, tmp_path, b).trials) for b in counts} == counts


def test_a_sweep_with_a_budget_is_known_by_its_name_and_by_its_file(write: Write) -> None:
    path = write(SPACE)
    assert sweep_name(str(path), "small") == "deep-small"
    assert sweep_name(str(path)) == "deep"
    assert sweep_name("gone", "small") == "gone-small"
    assert sweep_name(str(write("budgets: {s: {seed: 0}}", "my space.yaml")), "s") == "my-space-s"
    for space in (str(path), "quickstart"):
        with pytest.raises(UserError, match="has no budget"):
            sweep_name(space, "zzz")


# The command line and Python ----------------------------------------------------------------------


@pytest.fixture
def answer(
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """Runs the command line in an empty folder: ``answer("plan", "quickstart")``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("ENGRAM_RESULTS", "ENGRAM_DATA", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["engram", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return run


def test_plan_with_a_budget(answer: Any, write: Write) -> None:
    path = write(SPACE)
    status, out, _ = answer("plan", path, "--budget", "small")
    assert status == 0
    assert "deep-small: 6 unique trials: 6 pending" in out
    assert "deep: " in answer("plan", path)[1]


@pytest.mark.parametrize("command", ["plan", "run", "leaderboard"])
def test_an_unknown_budget_on_the_command_line(
    command: str, answer: Any, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    path = write(SPACE)
    status, out, err = answer(command, path, "--budget", "smal")
    assert (status, out) == (2, "")
    assert err == (
        f"engram: {path}: has no budget 'smal'; did you mean 'small'? There are: small, tiny\n"
    )


def test_a_leaderboard_with_a_budget_needs_its_space(answer: Any, tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    status, _, err = answer("leaderboard", "--budget", "small")
    assert (status, err.count("\n")) == (2, 1)
    assert "--budget needs its search space" in err
    status, _, err = answer("leaderboard", "quick", "--budget", "small")
    assert (status, err.count("\n")) == (2, 1)
    assert "holds no sweep 'quick-small'; there are: none yet" in err


def test_a_sweep_with_a_budget_stands_beside_that_of_the_whole_file(
    answer: Any, write: Write, tmp_path: Path
) -> None:
    text = SPACE.replace("tasks: 5", "tasks: 2").replace("[20, 20]", "[8, 8]")
    text = text.replace("seed: 0..1", "seed: 0").replace("iterations: 50", "iterations: 2")
    path = write(text.replace("    train_per_task: 40\n", ""))
    database = f"sqlite:///{tmp_path / 'mlflow.db'}"
    sweep = api.run(path, budget="small", results=tmp_path / "results", data=tmp_path / "data")
    assert sweep.plan.space.name == "deep-small"
    assert sweep.outcome.ran == 3
    store = ResultsStore(tmp_path / "results")
    assert store.sweep_names() == ["deep-small"]
    planned = json.loads((tmp_path / "results/sweeps/deep-small.json").read_text())
    assert [row["id"] for row in planned] == [trial.id for trial in sweep.plan.trials]
    assert {Path(path).parent.name for path in sweep.files} == {"deep-small"}

    client = MlflowClient(database)
    experiment = client.get_experiment_by_name("deep-small")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "engram.sweep" in run.data.tags)
    stored = client.download_artifacts(parent.info.run_id, "search_space.yaml", str(tmp_path))
    assert Path(stored).read_text() == f"# with budget small\n{path.read_text()}"

    by_file, by_name = (
        answer("leaderboard", *words) for words in ((path, "--budget", "small"), ("deep-small",))
    )
    assert by_file == by_name
    assert by_file[0] == 0
    assert "replay" in by_file[1]
    # The whole file has trials of the budget among its own, and they are done.
    status, out, _ = answer("plan", path)
    assert status == 0
    assert "3 done" in out


def test_lists_show_budgets_and_published_figures(
    answer: Any, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(SPACE + "paper: Someone 2020\n").name  # a long path would be wrapped
    status, out, _ = answer("list", "search-spaces", path)
    assert status == 0
    for text in ("deep\nAll of it.", "paper: Someone 2020", "published:\n", "  naive: 0.2\n"):
        assert text in out
    counts = dict(re.findall(r"(?m)^engram run (.*?) +(\d+) +not measured$", out))
    small, tiny = f"{path} --budget small", f"{path} --budget tiny"
    assert counts[small] == "6"
    assert counts[tiny] == "2"
    assert len(counts) == 3

    monkeypatch.setattr("orchestrator.space.view.packaged_spaces", lambda: {str(path): path})
    status, out, _ = answer("list", "search-spaces")
    assert status == 0
    assert re.search(r"(?m)^ +--budget small +6 +not measured +Some of it\. *$", out)
    assert re.search(r"(?m)^ +--budget tiny +2 +not measured *$", out)


def test_packaged_spaces_are_listed_with_their_numbers_of_trials(
    answer: Any, write: Write, tmp_path: Path
) -> None:
    out = answer("list", "search-spaces")[1]
    count = len(make_plan("quickstart", tmp_path).trials)
    assert re.search(
        rf"(?m)^quickstart +{count} +(not measured|[0-9.]+ [a-z]+ \*) +A first look", out
    )
    assert answer("list", "search-spaces", "quickstart")[0] == 0
    wrong = write("dataset: split-digits\nmethod: naive\nbudget: {epochs: many}\n")
    for words, message in (
        (("search-spaces", "quikstart"), "did you mean 'quickstart'?"),
        (("search-spaces", wrong), f"{wrong}:3: budget.epochs: should be a whole number"),
        (("datasets", "digits"), "digits: only methods and search spaces are told of one by one"),
    ):
        status, _, err = answer("list", *words)
        assert (status, err.count("\n")) == (2, 1)
        assert message in err
