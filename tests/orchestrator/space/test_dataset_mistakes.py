"""Mistakes in what is said of task streams."""

from __future__ import annotations

from collections.abc import Callable

import pytest

#: What is replaced by what; then line, key and what else the message must say, of each problem.
MISTAKES: dict[str, tuple[str, str, list[tuple[int, str, str]]]] = {
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
}


@pytest.mark.parametrize("case", MISTAKES)
def test_each_mistake_is_named_with_its_place(case: str, assert_told: Callable[..., None]) -> None:
    assert_told(*MISTAKES[case])
