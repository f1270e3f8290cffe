from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.plan import make_plan
from orchestrator.space.budgets import check_budget
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

#: What is replaced by what; then line, key and what else the message must say, of each problem.
MISTAKES: dict[str, tuple[str, str, list[tuple[int, str, str]]]] = {
    "no mapping": (
        SPACE[SPACE.index("budgets:") :],
        "budgets: 5\n",
        [(16, "budgets", "should hold budgets, such as small: {seed: 0}, not 5")],
    ),
    "no budgets in it": (
        SPACE[SPACE.index("budgets:") :],
        "budgets: {}\n",
        [(16, "budgets", "should hold budgets, such as small: {seed: 0}, not {}")],
    ),
    "taken for the budget of training": (
        SPACE[SPACE.index("budgets:") :],
        "budgets: {epochs: 5}\n",
        [(16, "budgets.epochs", "should hold the keys that it replaces, such as")],
    ),
    "name of no file": ("  tiny:", "  a/b:", [(24, "budgets.a/b", "letters, digits, dots")]),
    "empty budget": (
        SPACE[SPACE.index("  tiny:") :],
        "  tiny:\n",
        [(24, "budgets.tiny", "should hold the keys that it replaces, such as")],
    ),
    "name": ("    seed: [7]", "    name: x", [(29, "budgets.tiny.name", "cannot be replaced")]),
    "budgets in a budget": (
        "    seed: [7]",
        "    budgets: {tinier: {seed: 0}}",
        [(29, "budgets.tiny.budgets", "cannot stand within a budget")],
    ),
    "unknown key": (
        "    train_per_task: 40",
        "    train_per_tsak: 40",
        [(20, "budgets.small.train_per_tsak", "unknown key; did you mean 'train_per_task'?")],
    ),
    "unknown nested key": (
        "    budget: {iterations: 2",
        "    budget: {iteration: 2",
        [(19, "budgets.small.budget.iteration", "unknown key; did you mean 'iterations'?")],
    ),
    "unknown key in a block": (
        "      widths: [8]",
        "      width: [8]",
        [(28, "budgets.tiny.network.width", "unknown key; did you mean 'widths'?")],
    ),
    "wrong type": (
        "    train_per_task: 40",
        "    train_per_task: few",
        [(20, "budgets.small.train_per_task", "should be a whole number, not 'few'")],
    ),
    "wrong item of an axis": (
        "    freeze_depth: 0",
        "    freeze_depth: [0, 3]",
        [(22, "budgets.small.freeze_depth[1]", "which has 2 blocks; give 0 to 2")],
    ),
    "empty axis": (
        "    buffer_size: 50\n",
        "    buffer_size: []\n",
        [(23, "budgets.small.buffer_size", "is an empty list")],
    ),
    "repeated seed": (
        "    seed: [7]",
        "    seed: [7, 7]",
        [(29, "budgets.tiny.seed[1]", "7 is there already")],
    ),
    "misspelt method": (
        "[naive, joint]",
        "[naive, jiont]",
        [(25, "budgets.tiny.method[1]", "no method is called 'jiont'; did you mean 'joint'?")],
    ),
    "option of an entry": (
        "[naive, joint]",
        "[naive, {joint: {buget: 5}}]",
        [(25, "budgets.tiny.joint.buget", "unknown key; did you mean 'budget'?")],
    ),
    "axis that no method of it uses": (
        "    seed: [7]",
        "    buffer_size: 5",
        [(29, "budgets.tiny.buffer_size", "none of the methods here has it; ")],
    ),
    "option of other datasets": (
        "    seed: [7]",
        "    permute_first: no",
        [(29, "budgets.tiny.permute_first", "none of the datasets here has this option")],
    ),
    "option of a method's entry": (
        "    buffer_size: 50\n",
        "    method.replay.repaly_loss: mean\n",
        [(23, "budgets.small.method.replay.repaly_loss", "did you mean 'replay_loss'?")],
    ),
    "value in a method's entry": (
        "    buffer_size: 50\n",
        "    method.replay.memory.policy: [reservoir, reservior]\n",
        [(23, "budgets.small.method.replay.memory.policy[1]", "did you mean 'reservoir'?")],
    ),
    "option of no entry": (
        "    buffer_size: 50\n",
        "    method.repaly.budget: reservoir\n",
        [(23, "budgets.small.method.repaly.budget", "has no entry 'repaly'; did you mean 'rep")],
    ),
    "entry without an option": (
        "    buffer_size: 50\n",
        "    method.replay: {budget: 5}\n",
        [
            (
                23,
                "budgets.small.method.replay",
                "should name an option, as method.replay.buffer_size",
            )
        ],
    ),
    "resources": (
        "    seed: [7]",
        "    resources: {cpu: 1}",
        [(29, "budgets.tiny.resources.cpu", "unknown key; did you mean 'cpus'?")],
    ),
    "key twice": (
        "    seed: [7]",
        "    seed: [7]\n    seed: 8",
        [(30, "budgets.tiny.seed", "stands twice, first in line 29")],
    ),
    "mistake of the file itself": (
        "tasks: 5\n",
        "tusks: 5\n",
        [(5, "tusks", "unknown key; did you mean 'tasks'?")],
    ),
    "mistake that a budget replaces": (
        "seed: 0..2",
        "seed: -1",
        [(15, "seed", "should be a whole number of at least 0")],
    ),
    "file that is incomplete without a budget": (
        SPACE[SPACE.index("method:") : SPACE.index("seed: 0..2")],
        "",
        [(1, "method", "is missing; possible: ")],
    ),
}


def complaints(path: Path, budget: str | None = None) -> list[str]:
    try:
        make_plan(path, path.parent, budget)
    except InvalidFile as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_is_named_with_its_place_whichever_budget_is_chosen(
    case: str, write: Write
) -> None:
    old, new, expected = MISTAKES[case]
    assert SPACE.count(old) == 1
    path = write(SPACE.replace(old, new))
    budgets = [None, *(name for name in ("small", "tiny") if f"  {name}:" in path.read_text())]
    for budget in budgets:
        found = complaints(path, budget)
        assert len(found) == len(expected), found
        for text, (line, key, rest) in zip(found, expected, strict=True):
            assert text.startswith(f"{path}:{line}: {key}"), text
            assert text.removeprefix(f"{path}:{line}: {key}")[:1] in {":", ";"}, text
            assert rest in text


def test_what_is_wrong_with_one_budget_only_says_with_which(write: Write) -> None:
    shallow = "    network: {name: mlp, widths: [8]}\n    freeze_depth: [0, 1]\n"
    path = write(
        SPACE[: SPACE.index("  small:")].replace("[0, 1]", "[0, 2]")
        + f"  one:\n{shallow.splitlines()[0]}\n  two:\n{shallow}"
    )
    message = f"{path}:9: freeze_depth[1]: freeze_depth 2 is deeper than the network, which has "
    for budget in (None, "two"):
        assert complaints(path, budget) == [f"{message}1 block; give 0 to 1 (with budget one)"]
    assert complaints(path, "one") == [f"{message}1 block; give 0 to 1"]
    path = write(SPACE.replace("tasks: 5\n", "tasks: 3\n").replace("[7]", "[7]\n    tasks: 2"))
    (told,) = complaints(path, "tiny")
    assert told.startswith(f"{path}:5: tasks: ")
    assert told.endswith("possible: 1, 2, 5, 10 (without a budget)")


def test_what_a_machine_or_a_data_set_lacks_is_told_of_the_budget_that_runs(write: Write) -> None:
    path = write(
        SPACE.replace("train_per_task: 40", "train_per_task: 4000")
        + "    resources: {cpus: 4096}\n    dataset: split-mnist\n"
    )
    assert complaints(path) == []
    (too_many,) = complaints(path, "small")
    assert too_many.startswith(f"{path}:20: budgets.small.train_per_task: should be at most ")
    no_cores, no_data = complaints(path, "tiny")
    assert no_cores.startswith(f"{path}:30: budgets.tiny.resources.cpus: should be at most ")
    assert no_data.startswith(f"{path}:31: budgets.tiny.dataset: ")
    assert "engram data prepare mnist" in no_data


@pytest.mark.parametrize(
    ("budgets", "wanted", "message"),
    [
        ("{small: {}, large: {}}", "smal", "has no budget 'smal'; did you mean 'small'? There are"),
        ("{small: {}, large: {}}", "smal", "There are: large, small"),
        ("{small: {}, large: {}}", "zzz", "has no budget 'zzz'; there are: large, small"),
        ("{small: {}}", "", "has no budget ''; there are: small"),
        ("5", "small", "has no budgets; run it without --budget"),
    ],
)
def test_an_unknown_budget_is_one_line(budgets: str, wanted: str, message: str) -> None:
    file = YamlFile.parse(f"budgets: {budgets}\n", "file.yaml")
    with pytest.raises(UserError) as caught:
        check_budget(wanted, file)
    assert str(caught.value).startswith("file.yaml: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("published", "right"),
    [("Table 2", True), ("{a: {b: 1.5}, c: [1, 2]}", True), ("[1]", False), ("0.5", False)],
)
def test_published_figures_are_text_or_a_mapping(published: str, right: bool, write: Write) -> None:
    found = complaints(write(f"published: {published}\ndataset: split-digits\nmethod: naive\n"))
    assert bool(found) is not right
    assert all(":1: published: should be " in text for text in found)
