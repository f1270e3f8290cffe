"""Mistakes in keys and values of a search space, and how all of them are told at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]
Complaints = Callable[[Path], list[str]]

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
    "empty axis": ("[50, 200]", "[]", [(9, "buffer_size", "is an empty list")]),
    "no seed": ("seed: 0..2", "seed: []", [(14, "seed", "is an empty list")]),
    "repeated seed": ("0..2", "[0, 1, 0]", [(14, "seed[2]", "0 is there already")]),
    "seed within a range": ("0..2", "[0..2, 1]", [(14, "seed[1]", "1 is there already")]),
    "negative seed": ("0..2", "[0, -1]", [(14, "seed[1]", "at least 0")]),
    "huge seed": ("0..2", str(2**63), [(14, "seed", "below 2^63")]),
    "seed of words": ("0..2", "zero", [(14, "seed", "not 'zero'")]),
    "range that runs down": ("0..2", "4..0", [(14, "seed", "4..0 is not a range")]),
    "endless range": ("0..2", "0..99999999999", [(14, "seed", "is not a range")]),
    "too deep": ("[0, 1]", "[0, 3]", [(8, "freeze_depth[1]", "which has 2 blocks; give 0 to 2")]),
    "too deep for one network of two": (
        "network: {name: mlp, widths: [20, 20]}\n"
        "optimizer: {name: adam, lr: 1e-3}\n"
        "budget: {iterations: 5, batch_size: 8}\n"
        "freeze_depth: [0, 1]\n",
        "network: [cnn, {name: mlp, widths: [20]}]\nfreeze_depth: [0, 3]\n",
        [(6, "freeze_depth[1]", "which has 1 block; give 0 to 1")],
    ),
    "iterations and epochs": (
        "{iterations: 5, batch_size: 8}",
        "{iterations: 5, epochs: 8}",
        [(7, "budget.epochs", "give iterations or epochs, not both")],
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


def test_the_valid_one_is_valid(write: Write, complaints: Complaints, valid: str) -> None:
    assert complaints(write(valid)) == []


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_is_named_with_its_place(case: str, assert_told: Callable[..., None]) -> None:
    assert_told(*MISTAKES[case])


def test_all_mistakes_are_told_at_once_sorted_and_once(
    write: Write, complaints: Complaints
) -> None:
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
