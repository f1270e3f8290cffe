"""Names of methods: built in, or brought by an installed package.

A package adds methods with an entry point::

    [project.entry-points."engram.methods"]
    my-method = "my_package.my_method"

whose module applies :func:`register`. They then appear in the CLI, the contract tests and the
leaderboard like the built-in ones.
"""

from __future__ import annotations

import importlib
import pkgutil
import warnings
from collections.abc import Callable
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from typing import TypeVar

import methods
from methods.core.method import Method

M = TypeVar("M", bound=type[Method])

_registered: dict[str, type[Method]] = {}


class UnknownMethod(KeyError):
    """No method has this name; the message suggests a near one."""

    def __str__(self) -> str:
        return str(self.args[0])


def register(name: str, *, paper: str = "") -> Callable[[M], M]:
    """Register a method under a name.

    Parameters
    ----------
    name : str
        Lower case with hyphens, such as ``latent-replay``.
    paper : str
        Where it is from: authors, year, arXiv number.

    Raises
    ------
    ValueError
        If another class has the name already.
    """

    def decorate(cls: M) -> M:
        other = _registered.get(name)
        if other is not None and (other.__module__, other.__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            raise ValueError(
                f"method {name!r} is registered twice: "
                f"{other.__module__}.{other.__qualname__} and {cls.__module__}.{cls.__qualname__}"
            )
        cls.name, cls.paper = name, paper
        _registered[name] = cls
        return cls

    return decorate


@cache
def _load_all() -> None:
    """Import each module of ``methods/`` and each entry point, so that they register."""
    for module in pkgutil.iter_modules(methods.__path__):
        if not module.ispkg:
            importlib.import_module(f"methods.{module.name}")
    for entry in entry_points(group="engram.methods"):
        try:
            entry.load()
        except Exception as error:  # a broken plug-in must not take the others down
            warnings.warn(f"method {entry.name!r} ({entry.value}): {error}", stacklevel=2)


def method_names() -> list[str]:
    """All registered names, sorted."""
    _load_all()
    return sorted(_registered)


def method_class(name: str) -> type[Method]:
    """Return the class registered under a name.

    Raises
    ------
    UnknownMethod
        With a suggestion where a name is near.
    """
    _load_all()
    if name in _registered:
        return _registered[name]
    near = get_close_matches(name, _registered, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(method_names())}"
    raise UnknownMethod(f"no method is called {name!r}; {hint}")
