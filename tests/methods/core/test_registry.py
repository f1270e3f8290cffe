"""Names of methods: built in, suggested, brought by installed packages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from methods.core import registry
from methods.core.classifier import Classifier
from methods.core.registry import UnknownMethod, method_class, method_names, register
from methods.naive import Naive
from methods.replay import Replay

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget afterwards what a test registers."""
    method_names()
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    return


def test_built_in_methods_are_there() -> None:
    assert {"naive", "joint", "replay"} <= set(method_names())
    assert method_names() == sorted(method_names())
    assert method_class("naive") is Naive
    assert (Replay.name, Replay.paper[:13]) == ("replay", "Ratcliff 1990")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("naiv", "did you mean 'naive'?"),
        ("Replay", "did you mean 'replay'?"),
        ("zzz", "there are: .*joint, .*naive"),
    ],
)
def test_unknown_name_gets_a_hint(name: str, hint: str) -> None:
    with pytest.raises(UnknownMethod, match=hint) as error:
        method_class(name)
    assert str(error.value).startswith(f"no method is called {name!r}")


@pytest.mark.usefixtures("_forgotten")
def test_a_name_belongs_to_one_class() -> None:
    class Other(Classifier):
        """Another method."""

    with pytest.raises(ValueError, match=r"'naive' is registered twice: methods.naive.Naive and"):
        register("naive")(Other)
    assert method_class("naive") is Naive
    assert Other.name == ""
    assert register("other", paper="Nobody 2000")(Other) is Other
    assert method_class("other") is Other
    assert (Other.name, Other.paper) == ("other", "Nobody 2000")


@pytest.mark.usefixtures("_forgotten")
def test_a_reloaded_module_registers_its_class_again() -> None:
    again = type("Naive", (Classifier,), {"__module__": "methods.naive", "__qualname__": "Naive"})
    register("naive")(again)
    assert method_class("naive") is again


PLUGIN = '''
from methods.core.registry import register
from methods.naive import Naive

@register("mine", paper="Me 2026")
class Mine(Naive):
    """My own method."""
'''

SHOW = """
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    from methods.core.registry import method_class, method_names
    names = method_names()
print(" ".join(names))
print([str(w.message) for w in caught if "method" in str(w.message)])
"""


def install(folder: Path, name: str, source: str) -> None:
    """Lay a package out as an installer does."""
    (folder / f"{name}.py").write_text(source)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[engram.methods]\n{name} = {name}\n")


def names_and_warnings(folder: Path) -> tuple[list[str], str]:
    run = subprocess.run(
        [sys.executable, "-c", SHOW],
        env={"PYTHONPATH": f"{folder}:{REPOSITORY}", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    names, warnings = run.stdout.splitlines()
    return names.split(), warnings


def test_an_installed_package_brings_its_method(tmp_path: Path) -> None:
    install(tmp_path, "plugin_of_mine", PLUGIN)
    names, warnings = names_and_warnings(tmp_path)
    assert {"mine", "naive"} <= set(names)
    assert warnings == "[]"


def test_broken_packages_do_not_take_the_others_down(tmp_path: Path) -> None:
    install(tmp_path, "a_broken_plugin", "import a_module_that_is_not_there")
    install(tmp_path, "a_greedy_plugin", PLUGIN.replace("mine", "naive"))
    install(tmp_path, "plugin_of_mine", PLUGIN)
    names, warnings = names_and_warnings(tmp_path)
    assert {"mine", "naive", "replay"} <= set(names)
    assert "'a_broken_plugin' (a_broken_plugin): No module named" in warnings
    assert "'naive' is registered twice" in warnings
