"""The guide tells the truth: its files are written, and its commands do what it says."""

from __future__ import annotations

import os
import re
import shlex
import site
import subprocess
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs" / "add-a-method.md"

#: What pip needs in order to stay off the network: all is here already.
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check")


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    return found


class Reader:
    """Does in an environment and a folder of its own what the guide says."""

    def __init__(self, root: Path) -> None:
        self.folder, self.environment = root / "mine", root / "environment"
        self.folder.mkdir()
        venv.create(self.environment, with_pip=False, symlinks=True)
        (packages,) = self.environment.glob("lib/python*/site-packages")
        ours = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
        (packages / "ours.pth").write_text("\n".join(ours))

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run ``engram …`` or ``pip …`` of this environment."""
        program, *words = shlex.split(command)
        if program == "pip":
            words = [*words, *OFFLINE]
        module = {"engram": "orchestrator", "pip": "pip"}[program]
        mine = {k: v for k, v in os.environ.items() if not k.startswith(("ENGRAM_", "PYTHONPATH"))}
        return subprocess.run(
            [str(self.environment / "bin" / "python"), "-m", module, *words],
            cwd=self.folder,
            env=mine | {"COLUMNS": "120"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Reader:
    made = Reader(tmp_path_factory.mktemp("reader"))
    (code,), (package,), (space,) = blocks("python"), blocks("toml"), blocks("yaml")
    (made.folder / "anchor.py").write_text(code)
    (made.folder / "pyproject.toml").write_text(package)
    (made.folder / "anchor.yaml").write_text(space.replace("0..2", "0").replace("100", "20"))
    return made


def shown(text: str) -> list[str]:
    """Lines as the guide shows them: numbers of seconds differ from machine to machine."""
    lines = (re.sub(r"\d+(\.\d+)?( s\b| ×)", r"N\2", line).rstrip() for line in text.splitlines())
    return [re.sub(r"\d+% ", "N% ", line) for line in lines if line]


def test_its_commands_do_what_it_says(reader: Reader) -> None:
    commands = [line for block in blocks("sh") for line in block.splitlines()]
    assert [c.split()[1] for c in commands] == ["check", "install", "list", "plan", "run"]
    check, install, listing, plan, run = commands
    checked = reader.run(check)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert shown(checked.stdout) == shown(blocks("text")[0])
    before = reader.run(plan)
    assert before.returncode == 2
    assert "anchor" in before.stderr
    for module in ("pip", "setuptools"):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    installed = reader.run(install)
    assert installed.returncode == 0, installed.stderr
    listed = reader.run(listing)
    assert re.search(r"(?m)^anchor +Pull every ", listed.stdout), listed.stdout
    planned = reader.run(plan)
    assert "anchor: 4 unique trials: 4 pending" in planned.stdout, planned.stdout + planned.stderr
    ran = reader.run(f"{run} --no-mlflow")
    assert ran.returncode == 0, ran.stderr
    assert "4 of 4 trials done, 4 of them now" in ran.stdout


def test_a_method_that_keeps_more_than_it_declares_is_told_so(reader: Reader) -> None:
    text = (reader.folder / "anchor.py").read_text()
    keeps = reader.folder / "keeps.py"
    keeps.write_text(text[: text.index("    def after_task")].replace('"anchor"', '"keeps"'))
    checked = reader.run("engram check keeps.py --only bytes")
    assert checked.returncode == 1
    found, said = shown(checked.stdout), shown(blocks("text")[1])
    assert found[2 : 2 + len(said)] == said
    assert "keeps breaks 1 of 1 check (N s)" in found


def test_it_lists_every_check_and_every_hook() -> None:
    from methods.core.classifier import Classifier
    from orchestrator.check import ALL_CHECKS

    page = GUIDE.read_text()
    assert [c.name for c in ALL_CHECKS if f"`{c.name}`" not in page] == []
    hooks = re.findall(r"^\| `(\w+)\(", page, re.MULTILINE)
    assert len(hooks) >= 8
    assert [hook for hook in hooks if not callable(getattr(Classifier, hook))] == []
