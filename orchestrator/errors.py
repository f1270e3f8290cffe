"""Mistakes that the user can mend."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.space.suggestions import nearest

#: Characters of a value that a message shows.
_LONGEST = 80


class UserError(Exception):
    """A mistake that the user can mend.

    The message says in one line what is wrong, where, and what to do about it; a file with several
    mistakes gets a line for each. The command line prints it without a traceback and exits with
    status 2.
    """


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the one that was meant, or all of them.

    Examples
    --------
    >>> "unknown source 'mnits'" + did_you_mean("mnits", ["digits", "mnist"])
    "unknown source 'mnits'; did you mean 'mnist'?"
    """
    words = sorted(map(str, known))
    near = nearest(word, words)
    if near is not None:
        return f"; did you mean {near!r}?"
    return f"; possible: {', '.join(words)}" if words else ""


def shown(value: object) -> str:
    """Return a value of a file as a message shows it: in YAML's words, and never long.

    Examples
    --------
    >>> shown(None), shown(True), shown("mnits")
    ('null', 'true', "'mnits'")
    """
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """Return the line that reports an unknown name.

    Parameters
    ----------
    what : str
        What was named, such as ``"source"``.
    name : object
        The name as the user wrote it.
    known : iterable of str
        The names that exist.
    """
    return f"unknown {what} {shown(name)}{did_you_mean(name, known)}"
