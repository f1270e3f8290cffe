"""What is checked of a method: its contract, and what its users expect besides."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from methods.core import contract
from methods.core.contract import ContractBroken, Subject
from orchestrator.errors import did_you_mean

if TYPE_CHECKING:
    from orchestrator.check.runs import Run

#: Optimiser steps in which a method has to learn a task, and images of each.
STEPS, BATCH_SIZE = 60, 32
#: How much of the way from chance to no error it has to go.
_CLEARLY = 0.5


class Extent(Enum):
    """How often something is checked."""

    ONCE = "of the class"
    SCENARIOS = "in every scenario"
    CASES = "in every scenario, with every case"


@dataclass(frozen=True)
class Check:
    """Something that holds of a good method.

    Parameters
    ----------
    name : str
        By which it is asked for.
    meaning : str
        What holds where nothing fails, in a line.
    look : callable
        Raises :class:`~methods.core.contract.ContractBroken` where it does not hold; may return a
        remark.
    extent : Extent
    """

    name: str
    meaning: str
    look: Callable[[Run], str | None]
    extent: Extent


#: What the checks of the contract mean to somebody who has not read their code.
_MEANINGS = {
    "data-are-closed": "A task's data are out of reach once learn() has returned",
    "logits": "Logits are finite for the classes in question, and -inf for all others",
    "predictions": "A prediction depends on the image alone: not on labels, other images, or calls",
    "global-rng": "No public call moves a global random generator",
    "seeds": "One seed repeats byte for byte, and another gives something else",
    "resuming": "Saved, loaded and continued equals uninterrupted, byte for byte",
    "bytes": "bytes_kept() declares all that outlives a task, and nothing else",
    "remember": "remember() leaves the predictions as fit() left them",
    "samples": "Samples are images of the classes and the task that were asked for",
}


def _of_contract(function: Callable[[Subject], None]) -> Check:
    name = function.__name__.removeprefix("check_").replace("_", "-")
    meaning = _MEANINGS.get(name) or (function.__doc__ or name).splitlines()[0]

    def look(run: Run) -> str | None:
        function(run.subject())
        return None

    return Check(name, meaning, look, Extent.CASES)


def _is_built_from_defaults(run: Run) -> None:
    run.method.Config()
    run.subject().new()


def _is_documented(run: Run) -> None:
    method = run.method
    if not (method.__doc__ or "").strip():
        raise ContractBroken(
            f"{method.__name__} has no docstring: its first line is what `engram list` shows"
        )
    fields = method.Config.model_fields
    missing = [name for name, field in fields.items() if not field.description]
    if missing:
        raise ContractBroken(
            f"no docstring stands under {_joined(missing)}: write one below the option in Config"
        )


def _has_its_axes(run: Run) -> None:
    method = run.method
    options = list(method.Config.model_fields)
    for where, names in (("axes", method.axes), ("protocol", method.protocol)):
        unknown = sorted(set(names) - set(options))
        if unknown:
            hint = did_you_mean(unknown[0], options)
            raise ContractBroken(f"{where} names {_joined(unknown)}, no option of Config{hint}")


def _learns(run: Run) -> str:
    subject = run.longer_subject()
    method = subject.new()
    method.learn(subject.tasks()[0])
    (logits,), labels = subject.logits(method, 1), subject.tests[0].y
    assert labels is not None
    accuracy = float((logits.argmax(1).cpu() == labels.cpu()).float().mean())
    chance = 1 / len(subject.stream.classes_of[0])
    least = chance + _CLEARLY * (1 - chance)
    if accuracy < least:
        raise ContractBroken(
            f"{accuracy:.0%} of the first task's test images are right after {STEPS} steps of "
            f"{BATCH_SIZE} images; chance is {chance:.0%}, and {least:.0%} is expected"
        )
    return f"{accuracy:.0%} {subject.stream.scenario}"


def _joined(names: list[str]) -> str:
    return ", ".join(map(repr, names))


#: All checks, in the order in which they are made.
ALL_CHECKS: tuple[Check, ...] = (
    Check(
        "defaults",
        "It can be built from its default options",
        _is_built_from_defaults,
        Extent.SCENARIOS,
    ),
    Check(
        "documentation",
        "The method and each of its options have a docstring",
        _is_documented,
        Extent.ONCE,
    ),
    Check("axes", "Every axis that it declares is one of its options", _has_its_axes, Extent.ONCE),
    *map(_of_contract, contract.CHECKS),
    Check(
        "learning",
        f"It learns two classes in {STEPS} steps, far above chance",
        _learns,
        Extent.SCENARIOS,
    ),
)


def where_defined(thing: type) -> tuple[str, int]:
    """Return file and line of a class; ``("", 0)`` where they are unknown."""
    try:
        return inspect.getfile(thing), inspect.getsourcelines(thing)[1]
    except (OSError, TypeError):
        return "", 0
