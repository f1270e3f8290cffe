from __future__ import annotations

import ast
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from methods.core import registry
from methods.core.registry import method_class, method_names
from orchestrator import trial_code as module
from orchestrator.errors import UserError
from orchestrator.plan import Plan
from orchestrator.storage import Storage
from orchestrator.trial_code import (
    code_by_module,
    code_hash,
    read_code,
    trial_code,
    write_code,
)

MakePlan = Callable[[str], Plan]

SMALL = """\
dataset: split-digits
network: {name: mlp, widths: [20]}
budget: {iterations: 5}
"""

PLUGIN = '''
"""A method from elsewhere."""

from methods.naive import Naive
from {helper} import LIMIT


class Elsewhere(Naive):
    """Like naive."""

    def after_step(self, batch):
        """Count."""
        self.steps = min(LIMIT, getattr(self, "steps", 0) + 1)
'''


@pytest.fixture
def code_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """The hash of a plug-in written as the test likes, and of what it imports."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def hash_of(text: str = PLUGIN, limit: str = "LIMIT = 10\n", name: str = "plugged") -> str:
        package = tmp_path / name
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text("")
        (package / "limits.py").write_text(limit)
        (package / "method.py").write_text(text.format(helper=f"{name}.limits"))
        importlib.invalidate_caches()
        code_hash.cache_clear()
        return code_hash(f"{name}.method")

    yield hash_of
    for name in set(sys.modules) - before:  # the next test writes others of the same name
        if name.split(".")[0] in {"plugged", "unplugged"}:
            del sys.modules[name]


def test_comments_layout_and_docstrings_are_no_part_of_the_code(
    code_of: Callable[..., str],
) -> None:
    before = code_of()
    assert code_of() == before
    assert code_of(PLUGIN.replace("    def", "    # a comment\n\n    def")) == before
    assert code_of(PLUGIN.replace("self.steps = min(", "self.steps = min(\n            ")) == before
    assert code_of(PLUGIN.replace('"""Like naive."""', '"""Quite another text."""')) == before
    assert code_of(PLUGIN.replace('        """Count."""\n', "")) == before
    assert code_of(limit='"""How far to count."""\n\nLIMIT = 10  # ten\n') == before


def test_what_runs_is_part_of_the_code(code_of: Callable[..., str]) -> None:
    seen = {
        code_of(),
        code_of(PLUGIN.replace("+ 1", "+ 2")),
        code_of(PLUGIN.replace("after_step", "before_step")),
        code_of(PLUGIN.replace('"steps", 0', '"steps", False')),
        code_of(PLUGIN.replace('"steps", 0', '"steps", 0.0')),
        code_of(
            PLUGIN.replace("methods.naive import Naive", "methods.joint import Joint as Naive")
        ),
        code_of(limit="LIMIT = 11\n"),
        code_of(PLUGIN.replace("from {helper}", "from .limits"), limit="LIMIT = 12\n"),
    }
    assert len(seen) == 8


@pytest.mark.parametrize("module", ["__main__", "itertools", "no.such.module"])
def test_code_that_is_in_no_file_is_a_user_s_mistake(module: str) -> None:
    with pytest.raises(UserError, match=f"module '{module}' is in no file that can be imported"):
        code_hash(module)


def test_finding_the_code_runs_none_of_it(code_of: Callable[..., str], tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    code_of(f"import pathlib; pathlib.Path({str(ran)!r}).touch()\n" + PLUGIN, name="unplugged")
    assert not ran.exists()
    assert "unplugged.method" not in sys.modules


def test_a_plugged_in_method_changes_its_trials_with_its_code(
    plan: MakePlan, code_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code_of()
    module = importlib.import_module("plugged.method")
    monkeypatch.setitem(registry._registered, "elsewhere", module.Elsewhere)
    module.Elsewhere.name = "elsewhere"
    text = SMALL + "method: [naive, elsewhere]\n"
    before = plan(text)
    code_of(PLUGIN.replace("+ 1", "+ 2"))
    after = plan(text)
    assert [t.config.method for t in after.trials] == ["naive", "elsewhere"]
    assert before.trials[0].id == after.trials[0].id, "the code of another method"
    assert before.trials[1].id != after.trials[1].id


# Which code counts --------------------------------------------------------------------------------

#: Each of these makes all trials of naive new when it changes. What cannot change a number belongs
#: into _OTHER_CODE of trial_code.py instead.
CODE_OF_NAIVE = """
    methods
    methods.core.accounting methods.core.activations methods.core.classifier methods.core.config
    methods.core.early_stopping methods.core.log methods.core.method methods.core.registry
    methods.core.rng methods.core.task methods.core.training methods.core.vision
    methods.naive
    methods.networks
    methods.networks.alexnet methods.networks.backbone methods.networks.cnn
    methods.networks.dgr_cnn methods.networks.heads methods.networks.mlp
    methods.networks.mobilenet methods.networks.preparation methods.networks.prer_cnn
    methods.networks.resnet
    methods.networks.vision_network methods.networks.weights
    orchestrator.data.held_out orchestrator.data.stream_checks orchestrator.data.stream_config
    orchestrator.data.stream_layout orchestrator.data.stream_names orchestrator.data.streams
    orchestrator.data.transforms
    orchestrator.evaluation orchestrator.metrics orchestrator.trial_run
"""


def test_exactly_this_code_counts() -> None:
    # Among them no source of data, for which the fingerprint answers: a new one leaves all trials
    # as they are; and nothing that watches, keeps or stores.
    assert list(code_by_module(method_class("naive"))) == CODE_OF_NAIVE.split()


def test_other_methods_add_their_own_code_only() -> None:
    shared = set(CODE_OF_NAIVE.split()) - {"methods.naive"}
    for name in method_names():
        code = set(code_by_module(method_class(name)))
        assert shared <= code
        assert all(module.startswith("methods.") for module in code - shared), name


FIXED = {
    "__init__": "\n",
    "limits": "LIMIT = 10  # ten\n",
    "other": "import os\n\nNOTHING = ()\n",
    "method": '''"""A docstring."""

from fixedpack.limits import LIMIT

from . import other


class Elsewhere:
    """Another."""

    rate: float = 0.5

    async def step(self, batch, *, scale=1.0):
        """Count."""
        self.steps = min(LIMIT, getattr(self, "größe", 0) + 1)
        return [x**2 for x in batch if x is not None] or other.NOTHING
''',
}


def test_the_hash_of_a_code_stays_what_it_always_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "fixedpack"
    package.mkdir()
    for name, text in FIXED.items():
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    other = frozenset({"fixedpack.other"})
    assert code_hash("fixedpack.method") == "a381727eee5ccf6d", "all trials would be new"
    assert code_hash("fixedpack.method", without=frozenset({"no.module"})) == "a381727eee5ccf6d"
    assert code_hash("fixedpack.method", without=other) != "a381727eee5ccf6d"


# Module by module ---------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(
    code_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, str]]:
    """The modules of a plug-in's trials."""

    def modules(*arguments: str, **options: str) -> dict[str, str]:
        code_of(*arguments, **options)
        return code_by_module(importlib.import_module("plugged.method").Elsewhere)

    return modules


def test_a_change_shows_in_its_module_alone(elsewhere: Callable[..., dict[str, str]]) -> None:
    before = elsewhere()
    assert {"plugged.method", "plugged.limits", "methods.naive"} < set(before)
    assert elsewhere(limit="LIMIT = 10  # still\n") == before
    after = elsewhere(limit="LIMIT = 11\n")
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == ["plugged.limits"]


def test_modules_are_parsed_once_for_all_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    parse, parsed = ast.parse, []
    monkeypatch.setattr(ast, "parse", lambda text: parsed.append(text) or parse(text))
    code_hash.cache_clear()
    module._parsed.cache_clear()
    for name in method_names():
        trial_code(method_class(name))
        code_by_module(method_class(name))
    assert len(parsed) == len(set(parsed)) > 30


def test_a_results_folder_says_what_the_code_of_its_trials_is_made_of(
    plan: MakePlan, tmp_path: Path
) -> None:
    made = plan(SMALL + "method: [naive, replay, latent-replay: {freeze_depth: 1}]\nseed: 0..2\n")
    storage = Storage(tmp_path / "results")
    write_code(storage, made)
    naive, replay = (trial_code(method_class(name)) for name in ("naive", "replay"))
    assert storage.names("code") == sorted([f"{naive}.json", f"{replay}.json"])
    assert read_code(storage, naive) == code_by_module(method_class("naive"))
    assert read_code(storage, replay) == code_by_module(method_class("latent-replay"))

    file = tmp_path / "results" / "code" / f"{naive}.json"
    file.write_text(json.dumps({"kept": "as it was"}))
    write_code(storage, made)
    assert read_code(storage, naive) == {"kept": "as it was"}, "written once for a hash"


@pytest.mark.parametrize("content", [None, "", "{", "[]", "7", '{"methods.naive": 7}'])
def test_code_that_cannot_be_read_is_unknown(content: str | None, tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    if content is not None:
        storage.write("code/0123456789abcdef.json", content.encode())
    assert read_code(storage, "0123456789abcdef") is None
