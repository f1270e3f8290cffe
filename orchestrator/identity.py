"""What makes two trials the same: configuration, data, code and numerical environment."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.errors import UserError


@dataclass(frozen=True)
class Environment:
    """Everything besides configuration, data and code that can move a digit of a result.

    Parameters
    ----------
    torch : str
        Version of the PyTorch build.
    device : str
        ``cpu`` or ``cuda``.
    precision : str
        Floating-point format that training uses.
    threads : int
        PyTorch threads of a trial.
    """

    torch: str
    device: str
    precision: str
    threads: int

    @classmethod
    def here(cls, cpus: float = 1, gpus: float = 0) -> Environment:
        """Return the environment of a trial with these resources, by the build installed here."""
        import torch

        device = "cuda" if gpus else "cpu"
        if gpus and torch.version.cuda is None and torch.version.hip is None:
            raise UserError(
                f"{gpus:g} asks for a GPU, but this PyTorch build ({torch.__version__}) is for "
                "CPUs; set gpus: 0 or install a CUDA build"
            )
        return cls(torch.__version__, device, "float32", max(1, int(cpus)))


def canonical_json(value: Any) -> str:
    """Return the one JSON text that equal values have."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def digest(*parts: str) -> str:
    """Return a hash of some texts, 64 hex digits."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(f"{len(part)}:".encode())
        hasher.update(part.encode())
    return hasher.hexdigest()


def trial_id(config: dict[str, Any], data: str, code: str, environment: Environment) -> str:
    """Return the identity of a trial: 16 hex digits over everything that can change its result.

    Parameters
    ----------
    config : dict
        Canonical configuration: stream, method, options, seed.
    data : str
        Fingerprint of the data.
    code : str
        :func:`code_hash` of the method.
    environment : Environment
    """
    return digest(canonical_json(config), data, code, canonical_json(asdict(environment)))[:16]


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
    inside = {module.split(".")[0] for module in modules} | {"methods"}
    trees: dict[str, str] = dict.fromkeys(without, "")
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in trees:
            continue
        path = _source(name)
        if path is None and name in modules:
            raise UserError(
                f"the code of module {name!r} is in no file that can be imported; "
                "a method must live in one, so that its results are known by its code"
            )
        if path is None:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        trees[name] = repr(_shape(_without_docstrings(tree)))
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += [found for found in _imports(tree, package) if found.split(".")[0] in inside]
    return digest(*(text for pair in sorted(trees.items()) for text in pair))[:16]


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


def _imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Name what a module imports; of ``from a import b`` both ``a`` and ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = package.rsplit(".", node.level - 1)[0]
                base = f"{parent}.{base}" if base else parent
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
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
    return tree


def _shape(node: object) -> object:
    """Nested tuples of a syntax tree; unlike ``ast.dump``, the same under every Python version."""
    if isinstance(node, ast.AST):
        fields = ((name, _shape(value)) for name, value in ast.iter_fields(node))
        return (type(node).__name__, *(pair for pair in fields if pair[1] not in (None, ())))
    return tuple(_shape(item) for item in node) if isinstance(node, list) else node
