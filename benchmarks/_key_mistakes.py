"""Mistakes in keys: misspelt, called otherwise, missing, twice, or at the wrong level."""

from __future__ import annotations

import random
import re

import yaml
from _mutations import Broken, Good, Mistake, Spot, inside, named, typo
from _spots import (
    did_you_mean,
    is_entry,
    made,
    on_one_line,
    own_keys,
    pick,
    scalars,
    value_of,
)

#: What a key is called elsewhere; ``a.b`` is an option b of a mapping a.
_ELSEWHERE = {
    "dataset": ("datasets", "data_set", "Dataset"),
    "method": ("methods", "strategy", "strategies", "algorithm", "approach"),
    "scenario": ("scenarios",),
    "seed": ("seeds", "random_seed", "random_state"),
    "tasks": ("task", "n_tasks", "num_tasks", "nb_tasks", "n_experiences"),
    "network": ("model", "networks", "net", "backbone"),
    "optimizer": ("optimiser", "optim", "optimizers"),
    "buffer_size": ("memory_size", "mem_size", "buffer-size", "bufferSize", "buffersize"),
    "freeze_depth": ("freeze-depth", "freezeDepth", "freeze_depths"),
    "lr": ("learning_rate", "learningRate", "learning-rate", "LR"),
    "weight_decay": ("wd", "weight-decay", "weightDecay"),
    "batch_size": ("batchsize", "batch-size", "bs", "batch"),
    "epochs": ("epoch", "n_epochs", "num_epochs"),
    "iterations": ("iteration", "iters", "num_iterations", "steps", "n_iters"),
    "widths": ("width", "layer_sizes", "Widths"),
    "strength": ("ewc_lambda", "lambda"),
    "components": ("n_components", "num_components"),
    "validation": ("val_split", "validation_split"),
    "train_per_task": ("train-per-task", "train_per_tasks"),
}
#: Options that people write at the top, and where they belong.
_BELONGS = {
    **dict.fromkeys(("lr", "learning_rate", "momentum", "weight_decay"), "optimizer"),
    **dict.fromkeys(("epochs", "iterations", "batch_size"), "budget"),
    **dict.fromkeys(("widths", "hidden"), "network"),
    **dict.fromkeys(("cpus", "gpus"), "resources"),
    "policy": "memory",
}
_TRUE_NAME = {"learning_rate": "lr"}


def _key_typo(kind: str, depth: str) -> Mistake:
    def mistake(good: Good, rng: random.Random) -> Broken | None:
        spots = []
        for key in own_keys(good):
            names = inside(key.path)
            budgeted = key.path[0] == "budgets"
            where = "budget" if budgeted else "entry" if names[0] == "method" else "top"
            if len(names) > (3 if names[0] == "method" else 1):
                where = "nested"
            if where == depth:
                spots.append(key)
        spot = pick(spots, rng)
        if spot is None:
            return None
        head, dot, last = spot.text.rpartition(".")
        wrong = typo(last, rng)
        path = (*spot.path[:-1], head + dot + wrong)
        return made(kind, good, spot, head + dot + wrong, named(path), did_you_mean(last))

    return mistake


def _key_synonym(good: Good, rng: random.Random) -> Broken | None:
    spot = pick([k for k in own_keys(good) if k.text in _ELSEWHERE], rng)
    if spot is None:
        return None
    wrong = rng.choice(_ELSEWHERE[spot.text])
    path = (*spot.path[:-1], wrong)
    return made("key: other name", good, spot, wrong, named(path), did_you_mean(spot.text))


def _missing_key(good: Good, rng: random.Random) -> Broken | None:
    spots = [k for k in good.keys if k.path in {("dataset",), ("method",)}]
    spot = rng.choice(spots)
    later = [k.node.start_mark.index for k in good.keys if len(k.path) == 1]
    start = spot.node.start_mark.index
    end = min((i for i in later if i > start), default=len(good.text))
    text = good.text[:start] + good.text[end:]
    first = next(i for i, line in enumerate(text.split("\n"), 1) if re.match(r"\w", line))
    mistake = f"no {spot.text} in {good.name}"
    return Broken("key: missing", good.name, mistake, text.encode(), first, spot.text)


def _double_key(good: Good, rng: random.Random) -> Broken | None:
    spots = [k for k in good.keys if isinstance(value_of(good, k).node, yaml.ScalarNode)]
    spots = [k for k in spots if on_one_line(good, k) and k.path[-1] != "description"]
    spot = pick(spots, rng)
    if spot is None:
        return None
    lines = good.text.split("\n")
    lines.insert(spot.line, lines[spot.line - 1])
    mistake = f"{spot.text} twice in {good.name}"
    text = "\n".join(lines).encode()
    return Broken("key: twice", good.name, mistake, text, spot.line + 1, named(spot.path))


# Levels -------------------------------------------------------------------------------------------


def _option_at_top(good: Good, rng: random.Random) -> Broken | None:
    option = rng.choice(sorted(_BELONGS))
    value = {"policy": "reservoir", "widths": "[20]", "hidden": "[20]"}.get(option, "1")
    owner = _BELONGS[option]
    true = _TRUE_NAME.get(option, option)
    line = good.text.count("\n", 0, good.keys[0].node.start_mark.index) + 1
    lines = good.text.split("\n")
    later = [k.line for k in good.keys if len(k.path) == 1]
    at = rng.choice(later)
    lines.insert(at - 1, f"{option}: {value}")
    text = "\n".join(lines).encode()
    repair = f"{owner}: {{{true}: " if owner == "resources" else did_you_mean(f"{owner}.{true}")
    mistake = f"{option} at the top in {good.name}"
    return Broken("level: too high", good.name, mistake, text, max(at, line), option, repair)


def _top_key_in_entry(good: Good, rng: random.Random) -> Broken | None:
    spots = [k for k in own_keys(good) if k.path[0] == "method" and len(inside(k.path)) == 3]
    spot = pick(spots, rng)
    if spot is None:
        return None
    wrong, value = rng.choice(
        [("tasks", "5"), ("dataset", "split-digits"), ("seed", "1"), ("validation", "0.1")]
    )
    path = (*spot.path[:-1], wrong)
    separator = ", " if _in_flow(good, spot) else "\n" + " " * spot.node.start_mark.column
    new = f"{wrong}: {value}{separator}{spot.text}"
    repair = "at the top of the file"
    return made("level: too low", good, spot, new, named(path), repair)


def _in_flow(good: Good, key: Spot) -> bool:
    around = next(v for v in good.values if v.path == key.path[:-1])
    return bool(around.node.flow_style)


def _neighbour(good: Good, rng: random.Random) -> Broken | None:
    """Put an option of one mapping into another."""
    wrong, owner = rng.choice(
        [("lr", "optimizer"), ("batch_size", "budget"), ("epochs", "budget"), ("widths", "network")]
    )
    spots = [
        k
        for k in own_keys(good)
        if len(inside(k.path)) == 2
        and inside(k.path)[0] in {"network", "optimizer", "budget"} - {owner}
    ]
    spot = pick(spots, rng)
    if spot is None:
        return None
    path = (*spot.path[:-1], wrong)
    new, repair = f"{wrong}: 1, {spot.text}", did_you_mean(f"{owner}.{wrong}")
    return made("level: in another mapping", good, spot, new, named(path), repair)


def _beside_its_method(good: Good, rng: random.Random) -> Broken | None:
    """Write options not beneath their method, but beside it."""
    spots = [k for k in good.keys if is_entry(k) and k.path[0] == "method"]
    found = [(k, value_of(good, k)) for k in spots]
    found = [(k, v) for k, v in found if isinstance(v.node, yaml.MappingNode) and v.node.flow_style]
    if not found or good.text[spots[0].node.start_mark.index - 2] == "[":
        return None
    key, value = rng.choice(found)
    indent = " " * key.node.start_mark.column
    option, inner = value.node.value[0]
    inside_text = good.text[option.start_mark.index : inner.end_mark.index]
    text = good.with_text(value, f"\n{indent}{inside_text}")
    return Broken(
        "level: beside its method",
        good.name,
        f"{option.value} beside {key.text} in {good.name}",
        text.encode(),
        key.line + 1,
        named((*key.path[:-1], str(option.value))),
        f"indent it, as an option of {key.text}",
    )


def _of_another_method(good: Good, rng: random.Random) -> Broken | None:
    spots = [v for v in scalars(good) if inside(v.path) == ("method",)]
    spots = [s for s in spots if s.text in {"naive", "joint"}]
    spot = pick(spots, rng)
    if spot is None or not isinstance(spot.path[-1], int):
        return None
    option, owner = rng.choice([("buffer_size", "replay"), ("strength", "ewc"), ("memory", "glr")])
    value = "gmm" if option == "memory" else "50"
    new = f"{spot.text}: {{{option}: {value}}}"
    start = spot.node.start_mark
    if good.text[: start.index].rstrip(" ")[-1] != "-":  # not within brackets
        new = f"{{{new}}}"
    path = (*spot.path, spot.text, option)
    return made("level: of another method", good, spot, new, named(path), f"{owner}")


def _of_another_network(good: Good, rng: random.Random) -> Broken | None:
    others = {
        "mlp": ("hidden", "[20]", "cnn"),
        "adam": ("momentum", "0.9", "sgd"),
        "sgd": ("betas", "[0.9, 0.99]", "adam"),
        "gaussian": ("components", "3", "gmm"),
    }
    spots = [v for v in scalars(good) if v.path[-1] == "name" and v.text in others]
    spots = [v for v in spots if len(inside(v.path)) > 1]
    spot = pick(spots, rng)
    if spot is None:
        return None
    option, value, owner = others[spot.text]
    path = (*spot.path[:-1], option)
    new = f"{spot.text}, {option}: {value}"
    return made("level: of another name", good, spot, new, named(path), owner)


KEY_MISTAKES: tuple[Mistake, ...] = (
    _key_typo("key at the top: typo", "top"),
    _key_typo("key of an entry: typo", "entry"),
    _key_typo("nested key: typo", "nested"),
    _key_typo("key of a budget: typo", "budget"),
    _key_synonym,
    _missing_key,
    _double_key,
    _option_at_top,
    _top_key_in_entry,
    _neighbour,
    _beside_its_method,
    _of_another_method,
    _of_another_network,
)
