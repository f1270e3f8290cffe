from __future__ import annotations

import random
import string

import pytest

from methods.core.registry import method_class, method_names
from orchestrator.space.suggestions import SYNONYMS, alike, distance, misspelt, nearest, plain

OPTIONS = ["betas", "lr", "name", "reset", "weight_decay"]
TOP = ["budget", "budgets", "buffer_size", "dataset", "method", "network", "optimizer", "seed"]
TOP += ["stream_seed", "tasks", "train_per_task", "test_per_task"]
SCENARIOS = ["class-incremental", "domain-incremental", "task-incremental"]
STREAMS = ["rotated-kmnist", "rotated-mnist", "split-digits", "split-mnist"]


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("lr", OPTIONS, "lr"),
        ("WeightDecay", OPTIONS, "weight_decay"),
        ("weight-decay", OPTIONS, "weight_decay"),
        ("learning_rate", OPTIONS, "lr"),
        ("l", OPTIONS, "lr"),
        ("rl", OPTIONS, "lr"),
        ("nmae", OPTIONS, "name"),
        ("rate", OPTIONS, None),
        ("", OPTIONS, None),
        ("x" * 1000, OPTIONS, None),
        ("seeds", TOP, "seed"),
        ("random_seed", TOP, "seed"),
        ("lambda", ["strength", "weight"], "strength"),
        ("lambda", ["distance", "weight"], "weight"),
        ("task", TOP, "tasks"),
        ("n_tasks", TOP, "tasks"),
        ("num-tasks", TOP, "tasks"),
        ("budgts", TOP, "budgets"),
        ("budgetss", TOP, "budgets"),
        ("model", TOP, "network"),
        ("optim", TOP, "optimizer"),
        ("train", TOP, "train_per_task"),
        ("optimiser", TOP, "optimizer"),
        ("memory_size", TOP, "buffer_size"),
        ("class_incremental", SCENARIOS, "class-incremental"),
        ("Class-IL", SCENARIOS, "class-incremental"),
        ("CIL", SCENARIOS, "class-incremental"),
        ("domain", SCENARIOS, "domain-incremental"),
        ("incremental", SCENARIOS, None),
        ("SplitMNIST", STREAMS, "split-mnist"),
        ("rotatedd-mnist", STREAMS, "rotated-mnist"),  # no k was typed
        ("rotated-mmnist", STREAMS, "rotated-mnist"),
        (5, OPTIONS, None),
        (None, OPTIONS, None),
    ],
)
def test_the_word_that_was_meant(word: object, known: list[str], meant: str | None) -> None:
    assert nearest(word, known) == meant


def test_only_spelling_and_synonyms_are_sure() -> None:
    assert alike("Weight-Decay", OPTIONS) == "weight_decay"
    assert alike("learning_rate", OPTIONS) == "lr"
    assert alike("wieght_decay", OPTIONS) is None


def test_what_only_begins_alike_is_not_misspelt() -> None:
    assert misspelt("wieght_decay", OPTIONS) == misspelt("wd", OPTIONS) == "weight_decay"
    assert misspelt("weight", OPTIONS) is None
    assert nearest("weight", OPTIONS) == "weight_decay"


def test_synonyms_are_plain_and_mean_one_thing_among_options_that_stand_together() -> None:
    for words in SYNONYMS.values():
        assert all(word == plain(word) for word in words)
    of_methods = [list(method_class(name).Config.model_fields) for name in method_names()]
    for known in (OPTIONS, TOP, SCENARIOS, ["iterations", "epochs", "batch_size"], *of_methods):
        every = [word for key in known for word in SYNONYMS.get(key, ())]
        assert len(every) == len(set(every))


def reference(first: str, second: str) -> int:
    """The textbook's recursion, without its table."""
    if not first or not second:
        return len(first) + len(second)
    least = min(
        reference(first[:-1], second) + 1,
        reference(first, second[:-1]) + 1,
        reference(first[:-1], second[:-1]) + (first[-1] != second[-1]),
    )
    if len(first) > 1 and len(second) > 1 and first[-2:] == second[-1] + second[-2]:
        least = min(least, reference(first[:-2], second[:-2]) + 1)
    return least


def test_distance_is_that_of_the_textbook() -> None:
    rng = random.Random(0)
    for _ in range(100):
        first, second = ("".join(rng.choices("abc", k=rng.randint(0, 5))) for _ in range(2))
        assert distance(first, second) == reference(first, second)


def test_one_typo_in_a_long_word_is_always_mended() -> None:
    rng = random.Random(0)
    for word in ("train_per_task", "optimizer", "buffer_size", "network", "dataset"):
        for i in range(len(word)):
            typos = (
                word[:i] + word[i + 1 :],
                word[:i] + rng.choice(string.ascii_lowercase) + word[i:],
            )
            for typo in typos:
                assert nearest(typo, TOP) == word
