"""From what a user calls a method to its class: a name, a file of Python code, or a module."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from methods.core.method import Method
from methods.core.registry import method_class, method_names
from orchestrator.check.runs import nearby
from orchestrator.errors import UserError, unknown

#: What a file without a registered method is told.
_REGISTER = 'put @register("my-method") of methods.core.registry above the class'


def find_methods(wanted: str) -> list[type[Method]]:
    """Return the methods that a registered name, a file or a module stands for.

    A file is run from where it is: nothing has to be installed. What it imports may lie beside it.

    Parameters
    ----------
    wanted : str
        ``replay``, ``anchor.py`` or ``my_package.anchor``.

    Raises
    ------
    UserError
        If there is no such thing, it cannot be imported, or registers no method.
    """
    if wanted.endswith(".py") or os.sep in wanted:
        return _methods_of(_load_file(Path(wanted)), wanted)
    if wanted in method_names():
        return [method_class(wanted)]
    if "." in wanted:
        return _methods_of(_load_module(wanted), wanted)
    beside = f"{wanted}.py"
    if Path(beside).is_file():
        raise UserError(f"{unknown('method', wanted, ())}; did you mean the file {beside}?")
    raise UserError(unknown("method", wanted, method_names()))


def _load_file(path: Path) -> ModuleType:
    if not path.exists():
        raise UserError(f"{path}: there is no such file")
    if not path.is_file():
        raise UserError(f"{path}: is no file of Python code; give one, such as anchor.py")
    method_names()  # what is registered without it comes first
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and Path(file).resolve() == path.resolve() and module.__name__ != "__main__":
            return module
    name, root = _dotted(path.resolve())
    _see(root)
    if _origin(name) == path.resolve():
        return _run(lambda: importlib.import_module(name), path)
    spec = importlib.util.spec_from_file_location(f"engram_checked_{path.stem}", path.resolve())
    if spec is None or spec.loader is None:
        raise UserError(f"{path}: is no file of Python code")
    module, loader = importlib.util.module_from_spec(spec), spec.loader
    sys.modules[module.__name__] = module  # where methods are looked for by what checks them

    def execute() -> ModuleType:
        loader.exec_module(module)
        return module

    return _run(execute, path)


def _load_module(name: str) -> ModuleType:
    _see(Path.cwd())
    origin = _origin(name)
    if origin is None:
        raise UserError(f"{name}: there is no such module, nor a method of that name")
    return _run(lambda: importlib.import_module(name), origin)


def _run(load: Callable[[], ModuleType], path: Path) -> ModuleType:
    """Import a module; what goes wrong within is one line with its place."""
    try:
        return load()
    except SyntaxError as error:
        place = f"{nearby(error.filename or path)}:{error.lineno}"
        raise UserError(f"{place}: {type(error).__name__}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if Path(frame.filename).resolve() == path.resolve()]
        line = f":{own[-1].lineno}" if own else ""
        text = " ".join(str(error).split())
        raise UserError(f"{nearby(path)}{line}: {type(error).__name__}: {text}") from None


def _methods_of(module: ModuleType, wanted: str) -> list[type[Method]]:
    names, inside = [module.__name__], f"{module.__name__}."
    classes = [method_class(name) for name in method_names()]
    if hasattr(module, "__path__"):  # of a package, those of its modules too
        names += [name for name in {c.__module__ for c in classes} if name.startswith(inside)]
    found = [cls for cls in classes if cls.__module__ in names]
    if found:
        return found
    for thing in vars(module).values():
        is_method = isinstance(thing, type) and issubclass(thing, Method)
        if is_method and thing.__module__ == module.__name__:
            raise UserError(f"{wanted}: {thing.__name__} is not registered; {_REGISTER}")
    raise UserError(f"{wanted}: holds no method; {_REGISTER}")


def _dotted(path: Path) -> tuple[str, Path]:
    """Return the name by which a file is imported, and the folder from which."""
    name, folder = path.stem, path.parent
    while (folder / "__init__.py").is_file():
        name, folder = f"{folder.name}.{name}", folder.parent
    return name, folder


def _origin(name: str) -> Path | None:
    importlib.invalidate_caches()
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin).resolve()


def _see(folder: Path) -> None:
    """Let a folder's modules be imported, after all that could be before."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
