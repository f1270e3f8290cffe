"""Named budgets of a search space: keys that replace the file's own, as in a small version."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from orchestrator.errors import UserError, did_you_mean, shown
from orchestrator.space.problems import Problems
from orchestrator.space.yaml_file import BUDGETS, Place, YamlFile, enclosing

#: The key of a search space that holds its budgets.
KEY = str(BUDGETS[0])
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")
_METHOD = "method."
#: Keys that a budget cannot replace, and why.
_FIXED = {
    "name": "cannot be replaced; the name of the sweep is the file's, a hyphen and the budget's",
    KEY: "cannot stand within a budget",
}


def readings(file: YamlFile, problems: Problems) -> dict[str | None, YamlFile]:
    """Return what a search space says without a budget, by ``None``, and with each of its own.

    A budget's keys replace keys of the file, with their whole values. What a key reaches into goes
    with it: ``optimizer`` also replaces an ``optimizer.lr`` of the file. An option of a method's
    entries is reached with ``method.replay.buffer_size``: it is set in each entry of ``replay``.

    Parameters
    ----------
    file : YamlFile
        A file whose value is a mapping.
    problems : Problems
        Takes what is wrong with the structure of budgets.

    Returns
    -------
    dict
        Files without the key ``budgets``, in which replaced values point at where they stand.
    """
    own = {key: value for key, value in file.value.items() if key != KEY}
    found: dict[str | None, YamlFile] = {None: replace(file, value=own)}
    for name, keys in _budgets(file, problems).items():
        found[name] = _with_budget(file, own, name, keys, problems)
    return found


def check_budget(budget: str, file: YamlFile) -> None:
    """Make sure that a file has a budget of that name.

    Raises
    ------
    UserError
        If not; with a suggestion, and all budgets that there are.
    """
    budgets = file.value.get(KEY) if isinstance(file.value, dict) else None
    names = sorted(budgets) if isinstance(budgets, dict) else []
    if budget in names:
        return
    if not names:
        raise UserError(f"{file.name}: has no budgets; run it without --budget")
    hint = did_you_mean(budget, names).replace("possible:", "there are:")
    if "there are:" not in hint:
        hint += f" There are: {', '.join(names)}"
    raise UserError(f"{file.name}: has no budget {shown(budget)}{hint}")


def name_with(name: str, budget: str | None) -> str:
    """Return the name of a sweep that runs with a budget, such as ``split-mnist-small``."""
    return name if budget is None else f"{name}-{budget}"


def _budgets(file: YamlFile, problems: Problems) -> dict[str, dict[str, Any]]:
    """Return the budgets of a file that are mappings, and note what else is wrong with them."""
    if KEY not in file.value:
        return {}
    budgets = file.value[KEY]
    wanted = "such as small: {seed: 0}"
    if not isinstance(budgets, dict) or not budgets:
        problems.add(BUDGETS, f"should hold budgets, {wanted}, not {shown(budgets)}")
        return {}
    sound = {}
    for name, keys in budgets.items():
        place = (KEY, name)
        if not _NAME.fullmatch(name):
            problems.add(
                place,
                "should be called by at most 50 letters, digits, dots, hyphens and underscores, "
                "the first of them a letter or digit",
            )
        elif not isinstance(keys, dict) or not keys:
            problems.add(
                place, f"should hold the keys that it replaces, {wanted}, not {shown(keys)}"
            )
        else:
            for key in _FIXED.keys() & keys.keys():
                problems.add((*place, key), _FIXED[key])
            sound[name] = {key: value for key, value in keys.items() if key not in _FIXED}
    return sound


def _with_budget(
    file: YamlFile, own: Mapping[str, Any], name: str, keys: Mapping[str, Any], problems: Problems
) -> YamlFile:
    """Return the file as a budget makes it."""
    within = {key: value for key, value in keys.items() if key.startswith(_METHOD)}
    whole = {key: value for key, value in keys.items() if key not in within}
    kept = {
        key: value
        for key, value in own.items()
        if key in whole or whole.keys().isdisjoint(enclosing(key))
    }
    values: dict[str, Any] = kept | whole
    moved: dict[Place, Place] = {(key,): (KEY, name, key) for key in whole}
    for key, value in within.items():
        method, _, option = key.removeprefix(_METHOD).partition(".")
        if not method or not option:
            problems.add(
                (KEY, name, key), "should name an option, as method.replay.buffer_size does"
            )
            continue
        entries, places = _set_option(values.get("method"), method, option, value)
        if not places:
            there = _method_names(values.get("method"))
            problems.add(
                (KEY, name, key),
                f"method: has no entry {shown(method)}{did_you_mean(method, there)}",
            )
        values["method"] = entries
        moved |= dict.fromkeys(places, (KEY, name, key))
    return replace(file, value=values, moved=moved)


def _set_option(entries: Any, method: str, option: str, value: Any) -> tuple[Any, list[Place]]:
    """Set an option in each entry of a method; also return the places where that was done."""
    if isinstance(entries, list):
        done = [_set_option(entry, method, option, value) for entry in entries]
        places = [("method", i, *inner[1:]) for i, (_, found) in enumerate(done) for inner in found]
        return [entry for entry, _ in done], places
    entry = {entries: None} if isinstance(entries, str) else entries
    if not isinstance(entry, dict) or method not in entry:
        return entries, []
    options = {} if entry[method] is None else entry[method]
    if not isinstance(options, dict):  # reported where methods are read
        return entries, [("method", method, option)]
    kept = {k: old for k, old in options.items() if k == option or option not in enclosing(k)}
    return entry | {method: kept | {option: value}}, [("method", method, option)]


def _method_names(entries: Any) -> list[str]:
    """Return the names in ``method:``, as they are written."""
    listed = entries if isinstance(entries, list) else [entries]
    names: list[str] = []
    for entry in listed:
        names += [entry] if isinstance(entry, str) else entry if isinstance(entry, dict) else []
    return names
