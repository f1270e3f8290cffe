"""Which code makes the numbers of a trial, and one hash over it.

A worker whose hash is not that of the plan would make numbers that the identity of its trials does
not stand for.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import UserError
from orchestrator.identity import digest

if TYPE_CHECKING:
    from methods.core.method import Method
    from orchestrator.plan import Plan
    from orchestrator.storage import Storage

#: Code outside a method that makes the numbers of a record: how streams are made, how a trial goes
#: through them, how it is tested and how that is summed up.
_TRIAL_CODE = (
    "orchestrator.data.streams",
    "orchestrator.evaluation",
    "orchestrator.metrics",
    "orchestrator.trial_run",
)
#: What that code imports and cannot change a number, such as what watches, keeps and stores a
#: trial; or what another ingredient of the identity answers for: the fingerprint for data, so that
#: a new source leaves all other trials as they are, and the canonical configuration for the words
#: in which a trial is described.
_OTHER_CODE = frozenset(
    f"orchestrator.{name}"
    for name in (
        *("checkpoints", "credentials", "curves", "data", "data.cache", "data.sources", "errors"),
        *("identity", "machine", "results", "space.suggestions", "storage", "storage.atomic"),
        *("storage.lock", "storage.storage", "storage.uri", "trial", "trial_code", "trial_log"),
        *("audit.config", "audit.replay_audit", "pictures", "samples", "watch"),
    )
)
#: Where a results folder has the code of its trials.
_FOLDER = "code"


def trial_code(method: type[Method]) -> str:
    """Return the hash of all code that makes the numbers of a method's trials.

    Raises
    ------
    UserError
        If the method is in no file of Python code that other processes could import.
    """
    return code_hash(*_roots(method), without=_OTHER_CODE)


def code_by_module(method: type[Method]) -> dict[str, str]:
    """Return a short hash of each module that :func:`trial_code` is made of, by dotted name.

    Raises as :func:`trial_code` does.
    """
    shapes = _shapes(_roots(method), _OTHER_CODE)
    return {name: _short(shapes[name]) for name in sorted(shapes)}


def write_code(storage: Storage, plan: Plan) -> None:
    """Note in a results folder, once for each code of a plan's trials, what it is made of.

    So that it can be told later which module has changed.
    """
    known = set(storage.names(_FOLDER, ".json"))
    classes = {trial.code: trial.config.cls for trial in plan.trials}
    for code, method in sorted(classes.items()):
        name = f"{code}.json"
        if name not in known:
            storage.write(f"{_FOLDER}/{name}", json.dumps(code_by_module(method)).encode())


def read_code(storage: Storage, code: str) -> dict[str, str] | None:
    """Return what :func:`write_code` noted of a code; None where nothing readable was."""
    try:
        found = json.loads(bytes(storage.read(f"{_FOLDER}/{code}.json")))
    except (OSError, ValueError):
        return None
    sound = isinstance(found, dict) and all(isinstance(text, str) for text in found.values())
    return found if sound else None


@cache
def code_hash(*modules: str, without: frozenset[str] = frozenset()) -> str:
    """Hash the code that modules run: themselves and all they import of their own project.

    The hash is over syntax trees, docstrings left out: comments, formatting and documentation do
    not count. What stands in other top-level packages (torch, numpy) does not count either, except
    that everything imported from ``methods`` does.

    Parameters
    ----------
    *modules : str
        Dotted names, such as ``methods.rehearsal``.
    without : frozenset of str
        Modules that are left out, with what only they import.

    Raises
    ------
    UserError
        If one of the modules has no file of Python code that other processes could import.
    """
    shapes = _shapes(modules, without)
    return digest(*(text for pair in sorted(shapes.items()) for text in pair))[:16]


def _roots(method: type[Method]) -> tuple[str, ...]:
    return (method.__module__, *_TRIAL_CODE)


def _shapes(modules: Iterable[str], without: frozenset[str]) -> dict[str, str]:
    """Return the syntax trees of modules, and of what they import of their project, as text."""
    modules = tuple(modules)
    inside = {module.split(".")[0] for module in modules} | {"methods"}
    shapes: dict[str, str] = {}
    seen, waiting = set(without), list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        path = _source(name)
        if path is None and name in modules:
            raise UserError(
                f"the code of module {name!r} is in no file that can be imported; "
                "a method must live in one, so that its results are known by its code"
            )
        if path is None:
            continue
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        shapes[name], imported = _parsed(path.read_text(encoding="utf-8"), package)
        waiting += [found for found in imported if found.split(".")[0] in inside]
    return shapes


def _source(module: str) -> Path | None:
    """Find a module's file without running it; None for a name that is no module.

    ``__main__`` is none: in another process it is another program.
    """
    if module == "__main__":
        return None
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    origin = None if spec is None else spec.origin
    return Path(origin) if origin and origin.endswith(".py") else None


@lru_cache(maxsize=1000)
def _parsed(text: str, package: str) -> tuple[str, tuple[str, ...]]:
    """Return the shape of a module's syntax tree, and what it imports: read once a process."""
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    imported = tuple(dict.fromkeys(_imports(nodes, package)))
    _remove_docstrings(nodes)
    return repr(_shape(tree)), imported


@lru_cache(maxsize=1000)
def _short(shape: str) -> str:
    return hashlib.sha256(shape.encode()).hexdigest()[:12]


def _imports(nodes: Iterable[ast.AST], package: str) -> Iterator[str]:
    """Name what a module imports; of ``from a import b`` both ``a`` and ``a.b``."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.rsplit(".", node.level - 1)[0]
                base = f"{parent}.{base}" if base else parent
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _remove_docstrings(nodes: Iterable[ast.AST]) -> None:
    for node in nodes:
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and body:
            node.body = [
                item
                for item in body
                if not (
                    isinstance(item, ast.Expr)
                    and isinstance(item.value, ast.Constant)
                    and isinstance(item.value.value, str)
                )
            ]


def _shape(node: object) -> object:
    """Nested tuples of a syntax tree; unlike ``ast.dump``, the same under every Python version."""
    if isinstance(node, ast.AST):
        fields = ((name, _shape(value)) for name, value in ast.iter_fields(node))
        return (type(node).__name__, *(pair for pair in fields if pair[1] not in (None, ())))
    return tuple(_shape(item) for item in node) if isinstance(node, list) else node
