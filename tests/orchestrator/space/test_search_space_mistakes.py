from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from methods.core.registry import method_names
from orchestrator.plan import make_plan
from orchestrator.space.problems import InvalidFile

Write = Callable[..., Path]

#: Those that a mistake names.
FIRST_METHODS = ", ".join(method_names()[:5])

VALID = """\
name: valid
dataset: split-digits
scenario: class-incremental
tasks: 5
network: {name: mlp, widths: [20, 20]}
optimizer: {name: adam, lr: 1e-3}
budget: {iterations: 5, batch_size: 8}
freeze_depth: [0, 1]
buffer_size: [50, 200]
method:
  - naive
  - replay: {memory.policy: reservoir}
  - joint
seed: 0..2
resources: {cpus: 1}
"""

#: What is replaced by what; then line, key and what else the message must say, of each problem.
MISTAKES: dict[str, tuple[str, str, list[tuple[int, str, str]]]] = {
    "unknown key": ("tasks: 5", "tusks: 5", [(4, "tusks", "unknown key; did you mean 'tasks'?")]),
    "unlike any key": (
        "tasks: 5",
        "zzz: 5",
        [(4, "zzz", "unknown key; possible: audit, budget, ")],
    ),
    "misspelt whole option": (
        "optimizer: {name: adam, lr: 1e-3}",
        "optimiser: {name: adam}",
        [(6, "optimiser", "unknown key; did you mean 'optimizer'?")],
    ),
    "unknown nested key": (
        "lr: 1e-3",
        "rate: 1e-3",
        [(6, "optimizer.rate", "unknown key; possible: betas, lr, name, reset, weight_decay")],
    ),
    "unknown nested key in a block": (
        "budget: {iterations: 5, batch_size: 8}",
        "budget:\n  iterations: 5\n  batch_sise: 8",
        [(9, "budget.batch_sise", "unknown key; did you mean 'batch_size'?")],
    ),
    "unknown key in an entry": (
        "memory.policy: reservoir",
        "memory.polcy: reservoir",
        [(12, "replay.memory.polcy", "unknown key; did you mean 'policy'?")],
    ),
    "unknown key in resources": (
        "cpus: 1",
        "cpu: 1",
        [(15, "resources.cpu", "unknown key; did you mean 'cpus'?")],
    ),
    "unknown key after a dot": (
        "optimizer: {name: adam, lr: 1e-3}",
        "optimizer.weightdecay: 1e-3",
        [(6, "optimizer.weightdecay", "unknown key; did you mean 'weight_decay'?")],
    ),
    "text for a number": ("tasks: 5", "tasks: five", [(4, "tasks", "a whole number, not 'five'")]),
    "a fraction": ("tasks: 5", "tasks: 2.5", [(4, "tasks", "should be a whole number, not 2.5")]),
    "true for a number": ("tasks: 5", "tasks: yes", [(4, "tasks", "a whole number, not true")]),
    "nothing": ("dataset: split-digits", "dataset:", [(2, "dataset", "should be text, not null")]),
    "text for a learning rate": (
        "lr: 1e-3",
        "lr: fast",
        [(6, "optimizer.lr", "should be a number, not 'fast'")],
    ),
    "negative learning rate": (
        "lr: 1e-3",
        "lr: -1",
        [(6, "optimizer.lr", "should be greater than 0, not -1")],
    ),
    "number for a list": (
        "widths: [20, 20]",
        "widths: 20",
        [(5, "network.widths", "should be a list, not 20")],
    ),
    "wrong item of a list": (
        "widths: [20, 20]",
        "widths: [20, x, x]",
        [
            (5, "network.widths[1]", "should be a whole number, not 'x'"),
            (5, "network.widths[2]", "should be a whole number, not 'x'"),
        ],
    ),
    "no layers": (
        "widths: [20, 20]",
        "widths: []",
        [(5, "network.widths", "should hold at least 1 value, not []")],
    ),
    "number for a mapping": (
        "{iterations: 5, batch_size: 8}",
        "5",
        [(7, "budget", "should be a mapping, not 5")],
    ),
    "list for resources": (
        "resources: {cpus: 1}",
        "resources: [1]",
        [(15, "resources", "should be a mapping, not [1]")],
    ),
    "no core": ("cpus: 1", "cpus: 0", [(15, "resources.cpus", "should be greater than 0, not 0")]),
    "name of no folder": ("name: valid", "name: a/b", [(1, "name", "letters, digits, dots")]),
    "misspelt dataset": (
        "split-digits",
        "split-digit",
        [(2, "dataset", "unknown dataset 'split-digit'; did you mean 'split-digits'?")],
    ),
    "one misspelt dataset of two": (
        "dataset: split-digits",
        "dataset:\n  - split-digits\n  - split-mnits",
        [(4, "dataset[1]", "unknown dataset 'split-mnits'; did you mean 'split-mnist'?")],
    ),
    "misspelt scenario": (
        "class-incremental",
        "class-incremantal",
        [(3, "scenario", "did you mean 'class-incremental'?")],
    ),
    "misspelt method": (
        "- joint",
        "- jiont",
        [(13, "method[2]", "no method is called 'jiont'; did you mean 'joint'?")],
    ),
    "misspelt method with options": (
        "- replay: {memory.policy: reservoir}",
        "- repaly: {memory.policy: reservoir}\n  - replay",
        [(12, "repaly", "no method is called 'repaly'; did you mean 'replay'?")],
    ),
    "misspelt network": (
        "name: mlp",
        "name: mpl",
        [(5, "network.name", "cannot be 'mpl'; did you mean 'mlp'?")],
    ),
    "nameless network": (
        "{name: mlp, widths: [20, 20]}",
        "{widths: [20, 20]}",
        [(5, "network", "needs a name, as in {name: …}; possible: cnn, mlp")],
    ),
    "misspelt optimizer": (
        "name: adam",
        "name: adan",
        [(6, "optimizer.name", "cannot be 'adan'; did you mean 'adam'?")],
    ),
    "misspelt policy": (
        "memory.policy: reservoir",
        "memory.policy: reservior",
        [(12, "replay.memory.policy", "cannot be 'reservior'; did you mean 'reservoir'?")],
    ),
    "misspelt word among numbers": (
        "memory.policy: reservoir",
        "replay_loss: 1/T",
        [(12, "replay.replay_loss", "cannot be '1/T'; did you mean '1/t'?")],
    ),
    "number too large among words": (
        "memory.policy: reservoir",
        "replay_loss: 2.0",
        [(12, "replay.replay_loss", "should be less than 1, not 2.0")],
    ),
    "infinite learning rate": ("1e-3", ".inf", [(6, "optimizer.lr", "should be a finite number")]),
    "whole number with a point": ("tasks: 5", "tasks: 5.0", [(4, "tasks", "not 5.0; write 5")]),
    "number for a name": (
        "name: valid",
        "name: 7",
        [(1, "name", 'should be text, not 7; write "7"')],
    ),
    "misspelt name of a name": (
        "name: mlp",
        "nmae: mlp",
        [(5, "network.nmae", "unknown key; did you mean 'name'?")],
    ),
    "misspelt preset": (
        "name: mlp, widths: [20, 20]",
        "name: alexnet_glr",
        [(5, "network.name", "cannot be 'alexnet_glr'; did you mean 'alexnet-glr'?")],
    ),
    "misspelt name below its key": (
        "network: {name: mlp, widths: [20, 20]}",
        "network:\n  widths: [20, 20]\n  name: mpl",
        [(7, "network.name", "cannot be 'mpl'; did you mean 'mlp'?")],
    ),
    "methods without brackets": (
        "- joint",
        "- joint, glr",
        [(13, "method[2]", "no method is called 'joint, glr'; write [joint, glr]")],
    ),
    "options beside their method": (
        "- replay: {memory.policy: reservoir}",
        "- replay:\n    memory.policy: reservoir",
        [(13, "memory.policy", "is no method; indent it, as an option of replay")],
    ),
    "empty axis": ("[50, 200]", "[]", [(9, "buffer_size", "is an empty list")]),
    "empty axis in an entry": (
        "memory.policy: reservoir",
        "memory.policy: []",
        [(12, "replay.memory.policy", "is an empty list")],
    ),
    "no seed": ("seed: 0..2", "seed: []", [(14, "seed", "is an empty list")]),
    "repeated seed": ("0..2", "[0, 1, 0]", [(14, "seed[2]", "0 is there already")]),
    "seed within a range": ("0..2", "[0..2, 1]", [(14, "seed[1]", "1 is there already")]),
    "negative seed": ("0..2", "[0, -1]", [(14, "seed[1]", "at least 0")]),
    "huge seed": ("0..2", str(2**63), [(14, "seed", "below 2^63")]),
    "seed of words": ("0..2", "zero", [(14, "seed", "not 'zero'")]),
    "range that runs down": ("0..2", "4..0", [(14, "seed", "4..0 is not a range")]),
    "endless range": ("0..2", "0..99999999999", [(14, "seed", "is not a range")]),
    "too deep": ("[0, 1]", "[0, 3]", [(8, "freeze_depth[1]", "which has 2 blocks; give 0 to 2")]),
    "too deep in an entry": (
        "memory.policy: reservoir",
        "freeze_depth: 3",
        [(12, "replay.freeze_depth", "freeze_depth 3 is deeper than the network")],
    ),
    "too deep for one network of two": (
        VALID[VALID.index("network") : VALID.index("buffer_size")],
        "network: [cnn, {name: mlp, widths: [20]}]\nfreeze_depth: [0, 3]\n",
        [(6, "freeze_depth[1]", "which has 1 block; give 0 to 1")],
    ),
    "iterations and epochs": (
        "{iterations: 5, batch_size: 8}",
        "{iterations: 5, epochs: 8}",
        [(7, "budget.epochs", "give iterations or epochs, not both")],
    ),
    "two budgets of memory": (
        "memory.policy: reservoir",
        "per_class: 5",
        [(12, "replay.per_class", "give buffer_size or per_class, not both")],
    ),
    "tasks that do not divide": (
        "tasks: 5",
        "tasks: [5, 3]",
        [(4, "tasks[1]", "cannot be divided evenly among 3 tasks; possible: 1, 2, 5, 10")],
    ),
    "no dataset": (
        "dataset: split-digits\n",
        "",
        [(1, "dataset", "is missing; give the name of a task stream, such as split-digits")],
    ),
    "no method": (
        "method:\n  - naive\n  - replay: {memory.policy: reservoir}\n  - joint\n",
        "",
        [
            (
                1,
                "method",
                f"is missing; possible: {FIRST_METHODS}, ",
            )
        ],
    ),
    "empty list of methods": (
        "method:\n  - naive\n  - replay: {memory.policy: reservoir}\n  - joint\n",
        "method: []\n",
        [
            (
                10,
                "method",
                f"is an empty list; possible: {FIRST_METHODS}, ",
            )
        ],
    ),
    "options that are no mapping": (
        "{memory.policy: reservoir}",
        "500",
        [(12, "replay", "should hold options such as {buffer_size: 500}, not 500")],
    ),
    "list for a method": ("- naive", "- [naive]", [(11, "method[0]", "not ['naive']")]),
    "number for a method": ("- naive", "- 7", [(11, "method[0]", "should be a method's name")]),
    "nothing for a method": ("- naive", "-", [(11, "method[0]", "not null")]),
    "empty mapping for a method": ("- naive", "- {}", [(11, "method[0]", "not {}")]),
    "axis that no method uses": (
        "  - replay: {memory.policy: reservoir}\n",
        "",
        [
            (8, "freeze_depth", "put it into a method's own entry: joint: {freeze_depth: …}"),
            (9, "buffer_size", "glr, latent-replay, rehearsal, replay would"),
        ],
    ),
    "option of other datasets": (
        "tasks: 5",
        "tasks: 5\npermute_first: false",
        [(5, "permute_first", "none of the datasets here has this option")],
    ),
    "source for a dataset": (
        "split-digits",
        "digits",
        [(2, "dataset", "digits is a source, of which streams are made; possible: split-digits")],
    ),
    "misspelt source of several": (
        "split-digits\nscenario: class-incremental\ntasks: 5",
        "digits+mnits",
        [(2, "dataset", "unknown dataset 'digits+mnits'; did you mean 'digits+mnist'?")],
    ),
    "number of tasks where each source is one": (
        "dataset: split-digits\nscenario: class-incremental\n",
        "dataset: digits+digits\n",
        [(3, "tasks", "none of the datasets here has this option")],
    ),
    "all images held out": (
        "tasks: 5",
        "tasks: 5\nvalidation: [0.1, 1.0]",
        [(5, "validation[1]", "should be less than 1, not 1.0")],
    ),
    "fewer images than can be divided": (
        "tasks: 5",
        "tasks: 5\ntrain_per_task: [2, 3]\nvalidation: 0.5",
        [(6, "validation", "needs train_per_task to be at least 3, one more than a task of split")],
    ),
    "two sizes": (
        "tasks: 5",
        "tasks: 5\npad_to: 10\nresize: [null, 10]",
        [(6, "resize[1]", "give pad_to or resize, not both")],
    ),
    "padded to less": (
        "tasks: 5",
        "tasks: 5\npad_to: [7, 8]",
        [(5, "pad_to[0]", "should be at least 8, the largest height or width of images of split")],
    ),
    "zeros permuted where there are none": (
        "dataset: split-digits\nscenario: class-incremental\n",
        "dataset: permuted-digits\npermute: [raw, padded]\n",
        [(3, "permute[1]", "nothing is padded; give pad_to too, as in pad_to: 32")],
    ),
    "key twice": (
        "tasks: 5",
        "tasks: 5\ntasks: 2",
        [(5, "tasks", "stands twice, first in line 4")],
    ),
    "nested key twice": (
        "lr: 1e-3",
        "lr: 1e-3, lr: 1e-2",
        [(6, "optimizer.lr", "stands twice")],
    ),
}


def complaints(path: Path) -> list[str]:
    """What is wrong with a search space, line by line."""
    try:
        make_plan(path, path.parent)
    except InvalidFile as error:
        return str(error).splitlines()
    return []


def test_the_valid_one_is_valid(write: Write) -> None:
    assert complaints(write(VALID)) == []


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_is_named_with_its_place(case: str, write: Write) -> None:
    old, new, expected = MISTAKES[case]
    assert VALID.count(old) == 1
    path = write(VALID.replace(old, new))
    found = complaints(path)
    assert len(found) == len(expected), found
    for text, (line, key, rest) in zip(found, expected, strict=True):
        assert text.startswith(f"{path}:{line}: {key}"), text
        assert text.removeprefix(f"{path}:{line}: {key}")[:1] in {":", ";"}, text
        assert rest in text


def test_all_mistakes_are_told_at_once_sorted_and_once(write: Write) -> None:
    path = write(
        """\
        dataset: split-digit
        scenario: class-incremental
        tasks: 5
        optimizer: {name: adam, rl: 1}
        budget: {iterations: 5, batch: 8}
        freeze_depth: [0, 1, 9]
        seed: [0, 0]
        method:
          - naive
          - replay: {buffer_size: [10, x]}
          - replay: {buffer_size: 10, polcy: [reservoir, task-balanced]}
          - repaly
        colour: red
        """
    )
    found = complaints(path)
    where = [text.removeprefix(f"{path}:").split(":")[:2] for text in found]
    assert where == [
        ["1", " dataset"],
        ["4", " optimizer.rl"],  # once, though three methods have it
        ["5", " budget.batch"],
        ["6", " freeze_depth[2]"],
        ["7", " seed[1]"],
        ["10", " replay.buffer_size[1]"],
        ["11", " replay.polcy"],
        ["12", " method[3]"],
        ["13", " colour"],
    ]
