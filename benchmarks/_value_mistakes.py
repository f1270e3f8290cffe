"""Mistakes in values: names misspelt or of other tools, wrong types, impossible numbers."""

from __future__ import annotations

import random

import yaml
from _mutations import Broken, Good, Mistake, Spot, inside, named, typo
from _spots import REAL, WHOLE, did_you_mean, is_entry, made, options, pick, scalars

#: Options of which 1 is too much.
_BELOW_ONE = {"validation"}
#: Mappings with a name, and options whose values are words.
NESTED = {"network", "optimizer", "memory"}
_NAMED = {"network", "optimizer", "memory", "policy", "scenario", "refresh", "share", "covariance"}
#: Names of things as others write them.
_OTHER_NAMES = {
    "scenario": {
        "class-incremental": ("class_incremental", "class-il", "CIL", "Class-IL", "class_il"),
        "domain-incremental": ("domain_incremental", "domain-IL", "DIL", "Domain-Incremental"),
        "task-incremental": ("task_incremental", "task-il", "TIL", "TaskIL"),
    },
    "method": {
        "ewc": ("EWC", "Ewc"),
        "naive": ("Naive", "finetune", "finetuning", "fine-tuning"),
        "replay": ("Replay", "ER", "experience-replay", "experience_replay"),
        "latent-replay": ("latent_replay", "LatentReplay", "latentreplay"),
        "joint": ("Joint", "offline", "cumulative"),
        "glr": ("GLR",),
    },
    "network": {"mlp": ("MLP",), "cnn": ("CNN", "Cnn"), "alexnet-glr": ("alexnet_glr",)},
    "optimizer": {"adam": ("Adam", "ADAM"), "sgd": ("SGD",)},
    "memory": {"gmm": ("GMM",), "gaussian": ("Gaussian",), "kmeans": ("k-means", "KMeans")},
    "policy": {"reservoir": ("Reservoir",), "class-balanced": ("class_balanced", "balanced")},
}


# Names --------------------------------------------------------------------------------------------


def _named_value(good: Good) -> list[Spot]:
    """Values that are one of several names, but for datasets and methods."""
    spots = []
    for value in scalars(good):
        last = inside(value.path)[-1]
        around = inside(value.path)[-2] if len(inside(value.path)) > 1 else ""
        if (last == "name" and around in NESTED) or last.rpartition(".")[2] in _NAMED:
            spots.append(value)
    return spots


def _name_typo(good: Good, rng: random.Random) -> Broken | None:
    spot = pick(_named_value(good), rng)
    if spot is None:
        return None
    repair = did_you_mean(spot.text)
    return made("name: typo", good, spot, typo(spot.text, rng), named(spot.path), repair)


def _methods(good: Good) -> list[Spot]:
    """Names of methods: values of ``method``, or keys in it."""
    names = [v for v in scalars(good) if inside(v.path) == ("method",)]
    return names + [key for key in good.keys if is_entry(key)]


def _method_typo(good: Good, rng: random.Random) -> Broken | None:
    spot = rng.choice(_methods(good))
    wrong = typo(spot.text, rng)
    is_key = spot in good.keys
    path = (*spot.path[:-1], wrong) if is_key else spot.path
    repair = did_you_mean(spot.text)
    return made("name of a method: typo", good, spot, wrong, named(path), repair)


def _datasets(good: Good) -> list[Spot]:
    return [v for v in scalars(good) if inside(v.path) == ("dataset",)]


def _dataset_typo(good: Good, rng: random.Random) -> Broken | None:
    spot = rng.choice(_datasets(good))
    repair = did_you_mean(spot.text)
    wrong = typo(spot.text, rng)
    return made("name of a dataset: typo", good, spot, wrong, named(spot.path), repair)


def _dataset_synonym(good: Good, rng: random.Random) -> Broken | None:
    spot = rng.choice(_datasets(good))
    kind, _, source = spot.text.partition("-")
    if not source:
        return None
    camel = kind.title() + {"mnist": "MNIST"}.get(source, source.title())
    # Of the bare name of a source all streams of it are possible: the true one must be there.
    wrong, repair = rng.choice(
        [
            (source.upper(), f"{kind}-{source}"),
            (source, f"{kind}-{source}"),
            (camel, did_you_mean(spot.text)),
            (spot.text.replace("-", "_"), did_you_mean(spot.text)),
            (spot.text.title(), did_you_mean(spot.text)),
            (spot.text.replace("-", ""), did_you_mean(spot.text)),
        ]
    )
    return made("name of a dataset: other form", good, spot, wrong, named(spot.path), repair)


def _name_synonym(good: Good, rng: random.Random) -> Broken | None:
    found = []
    for spot in [*_named_value(good), *_methods(good)]:
        path = inside(spot.path)
        what = "method" if path[:1] == ("method",) and len(path) < 3 else path[-1]
        what = path[-2] if what == "name" else what.rpartition(".")[2]
        found += [(spot, other) for other in _OTHER_NAMES.get(what, {}).get(spot.text, ())]
    if not found:
        return None
    spot, wrong = rng.choice(found)
    is_key = spot in good.keys
    path = (*spot.path[:-1], wrong) if is_key else spot.path
    repair = did_you_mean(spot.text)
    return made("name: other form", good, spot, wrong, named(path), repair)


# Values -------------------------------------------------------------------------------------------


def _text_for_number(good: Good, rng: random.Random) -> Broken | None:
    spot = pick(options(good, WHOLE | REAL), rng)
    new = rng.choice(["many", "five", "large"])
    return spot and made("value: text for a number", good, spot, new, named(spot.path))


def _quoted(good: Good, rng: random.Random) -> Broken | None:
    spot = pick([s for s in options(good, WHOLE | REAL) if s.text != "null"], rng)
    if spot is None:
        return None
    new, repair = f'"{spot.text}"', f"write it without quotes: {spot.text}"
    return made("value: quoted number", good, spot, new, named(spot.path), repair)


def _yes_for_number(good: Good, rng: random.Random) -> Broken | None:
    spot = pick(options(good, WHOLE | REAL), rng)
    new = rng.choice(["yes", "no", "true", "off"])
    return spot and made("value: yes for a number", good, spot, new, named(spot.path))


def _nothing(good: Good, rng: random.Random) -> Broken | None:
    names = {"lr", "momentum", "batch_size", "freeze_depth", "patience", "dataset"}
    spot = pick(options(good, names), rng)
    new = rng.choice(["null", "~"])
    return spot and made("value: null", good, spot, new, named(spot.path))


def _mapping_for_scalar(good: Good, rng: random.Random) -> Broken | None:
    spot = pick(options(good, WHOLE | REAL | {"dataset", "scenario"}), rng)
    if spot is None:
        return None
    new = "{value: " + spot.text + "}"
    return made("value: mapping for a number", good, spot, new, named(spot.path))


def _number_for_list(good: Good, rng: random.Random) -> Broken | None:
    lists = {"widths", "hidden", "betas"}
    spots = [v for v in good.values if inside(v.path) and inside(v.path)[-1] in lists]
    spot = pick([v for v in spots if isinstance(v.node, yaml.SequenceNode)], rng)
    if spot is None or not spot.node.value:
        return None
    one = str(spot.node.value[0].value)
    return made("value: number for a list", good, spot, one, named(spot.path), f"write [{one}]")


def _scalar_for_mapping(good: Good, rng: random.Random) -> Broken | None:
    mappings = {"budget", "early_stopping", "resources", "watch", "keep", "budgets"}
    spots = [
        v
        for v in good.values
        if inside(v.path)
        and inside(v.path)[-1] in mappings
        and isinstance(v.node, yaml.MappingNode)
        and v.node.flow_style
    ]
    spot = pick(spots, rng)
    new = rng.choice(["5", "true", "much"])
    return spot and made("value: number for a mapping", good, spot, new, named(spot.path))


def _out_of_range(good: Good, rng: random.Random) -> Broken | None:
    spot = pick(options(good, WHOLE | REAL), rng)
    if spot is None:
        return None
    option = inside(spot.path)[-1].rpartition(".")[2]
    wrong = ["-1", ".nan", ".inf", "-.inf"]
    wrong += {"tasks": ["0", "-5"], "freeze_depth": ["99"]}.get(option, [])
    wrong += ["0"] if option in WHOLE - {"freeze_depth"} else ["2.5"] * (option in WHOLE)
    wrong += ["1.5", "1.0", "0"] if option in _BELOW_ONE else []
    new = rng.choice(wrong)
    return made("value: out of range", good, spot, new, named(spot.path))


def _bad_seed(good: Good, rng: random.Random) -> Broken | None:
    spots = [v for v in scalars(good) if inside(v.path) == ("seed",)]
    spot = pick([v for v in spots if ".." in v.text], rng)
    if spot is None:
        return None
    first, last = spot.text.split("..")
    write = f"write {spot.text}"
    wrong, repair = rng.choice(
        [
            (f"{last}..{first}", ""),
            ("-1", ""),
            (f"{first}-{last}", write),
            (f"{first}...{last}", write),
            (f"{first} .. {last}", write),
            (f"range({first}, {int(last) + 1})", write),
            (f"{first} to {last}", write),
            ("0, 1, 2", "write [0, 1, 2]"),
        ]
    )
    return (
        made("value: seeds", good, spot, wrong, "seed", repair)
        if spot.path == ("seed",)
        else made("value: seeds", good, spot, wrong, named(spot.path), repair)
    )


def _empty_axis(good: Good, rng: random.Random) -> Broken | None:
    axes = {"seed", "buffer_size", "freeze_depth", "dataset", "scenario", "tasks", "strength"}
    spots = [
        v
        for v in good.values
        if inside(v.path)
        and inside(v.path)[-1] in axes
        and isinstance(v.path[-1], str)
        and (isinstance(v.node, yaml.ScalarNode) or v.node.flow_style)
    ]
    spot = pick(spots, rng)
    return spot and made("value: empty axis", good, spot, "[]", named(spot.path))


def _double_seed(good: Good, rng: random.Random) -> Broken | None:
    spots = [v for v in good.values if inside(v.path) == ("seed",) and isinstance(v.path[-1], str)]
    spot = pick(spots, rng)
    return spot and made("value: twice", good, spot, "[0, 1, 0]", named((*spot.path, 2)))


VALUE_MISTAKES: tuple[Mistake, ...] = (
    _name_typo,
    _method_typo,
    _dataset_typo,
    _dataset_synonym,
    _name_synonym,
    _text_for_number,
    _quoted,
    _yes_for_number,
    _nothing,
    _mapping_for_scalar,
    _number_for_list,
    _scalar_for_mapping,
    _out_of_range,
    _bad_seed,
    _empty_axis,
    _double_seed,
)
