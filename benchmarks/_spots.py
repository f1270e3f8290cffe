"""Places of a good search space where a mistake can be made."""

from __future__ import annotations

import random

import yaml
from _mutations import Broken, Good, Spot, inside

#: Options whose values are whole numbers, or numbers, wherever they stand.
WHOLE = {
    *("tasks", "iterations", "epochs", "batch_size", "patience", "buffer_size", "per_class"),
    *("freeze_depth", "train_per_task", "test_per_task", "rank", "components", "centroids"),
    *("max_tasks", "every", "images"),
}
REAL = {"lr", "momentum", "weight_decay", "min_delta", "strength", "validation"}
#: Keys of which any text is good.
FREE = {"name", "description", "paper", "published"}


def did_you_mean(word: str) -> str:
    return f"did you mean {word!r}?"


def made(
    kind: str, good: Good, spot: Spot, new: str, key: str, repair: str = "", line: int = 0
) -> Broken:
    """Replace what stands in a spot, whose line is that of the message."""
    old = good.text[spot.node.start_mark.index : spot.node.end_mark.index]
    mistake = f"{old.strip()} → {new.strip()} in {good.name}"
    text = good.with_text(spot, new).encode()
    return Broken(kind, good.name, mistake, text, line or good.key_of(spot).line, key, repair)


def own_keys(good: Good) -> list[Spot]:
    """Keys that have a meaning: not those of budgets' names and published figures."""
    return [
        key
        for key in good.keys
        if inside(key.path) and "published" not in inside(key.path)[:-1] and not is_entry(key)
    ]


def is_entry(key: Spot) -> bool:
    """Whether it is the name of a method with options."""
    return inside(key.path)[:1] == ("method",) and len(inside(key.path)) == 2


def scalars(good: Good) -> list[Spot]:
    return [
        value
        for value in good.values
        if isinstance(value.node, yaml.ScalarNode)
        and inside(value.path)
        and inside(value.path)[0] not in FREE
    ]


def options(good: Good, names: set[str]) -> list[Spot]:
    """Values of options, also those that a dotted key reaches: ``memory.policy``."""
    return [v for v in scalars(good) if inside(v.path)[-1].rpartition(".")[2] in names]


def pick(spots: list[Spot], rng: random.Random) -> Spot | None:
    return rng.choice(spots) if spots else None


def value_of(good: Good, key: Spot) -> Spot:
    return next(value for value in good.values if value.path == key.path)


def on_one_line(good: Good, key: Spot) -> bool:
    """Whether a key and its value are one line of their own."""
    value = value_of(good, key).node
    before = good.text.split("\n")[key.line - 1][: key.node.start_mark.column]
    return not before.strip() and value.end_mark.line == key.node.start_mark.line
