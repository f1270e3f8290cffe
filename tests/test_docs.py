"""The documentation tells the truth: commands parse, search spaces plan, the method runs."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from typer.main import get_command

from orchestrator.audit.config import Audit
from orchestrator.checkpoints import Keep
from orchestrator.cli import app
from orchestrator.data.stream_config import StreamConfig
from orchestrator.plan import make_plan
from orchestrator.reference import pages
from orchestrator.search_space import packaged_spaces
from orchestrator.space.config import Header, Resources
from orchestrator.space.problems import InvalidFile
from orchestrator.watch import Watch

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    found: set[str] = set()
    for page in PAGES:
        for block in blocks(page, "sh"):
            found |= {line.split("#")[0].strip() for line in block.splitlines()}
        found |= set(re.findall(r"`(engram [^`]+)`", page.read_text()))
    return sorted(command for command in found if command.startswith("engram "))


@pytest.mark.parametrize("command", commands())
def test_commands_parse(command: str) -> None:
    words = shlex.split(command)[1:]
    if len(words) < 2 and words != ["ui"]:
        pytest.skip("a command mentioned by its name, without what it is given")
    group = get_command(app)
    context = group.make_context("engram", list(words))
    while True:
        name, command_, rest = group.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        context = command_.make_context(name, list(rest), parent=context)
        if not hasattr(command_, "resolve_command"):
            return
        group = command_


def yaml_blocks() -> list[str]:
    return [block for page in PAGES for block in blocks(page, "yaml")]


def engram(site: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "orchestrator", *words],
        env=os.environ | {"PYTHONPATH": str(site)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("number", range(len(yaml_blocks())))
def test_search_spaces_of_the_docs_plan(number: int, tmp_path: Path) -> None:
    space = yaml_blocks()[number]
    if "anchor" in space:
        pytest.skip("its method is not registered here; test_add_a_method.py has it")
    data = tmp_path / "data"
    if "mnist" in space:
        raw = ROOT.parent / "shared" / "data" / "MNIST"
        if not raw.is_dir():
            pytest.skip("MNIST is not on this machine")
        data.mkdir()
        (data / "MNIST").symlink_to(raw)
    (tmp_path / "space.yaml").write_text(space)
    assert make_plan(tmp_path / "space.yaml", data).trials


def test_the_mistakes_in_the_readme_are_told_as_it_says(tmp_path: Path) -> None:
    (shown,) = (b for b in blocks(ROOT / "README.md", "text") if b.startswith("$ engram plan"))
    (space,) = (b for b in blocks(ROOT / "README.md", "yaml") if "how-deep" in b)
    for right, wrong in (("mnist", "digits"), ("name: cnn", "name: cn"), ("buffer_", "bufer_")):
        assert right in space
        space = space.replace(right, wrong)
    (tmp_path / "how-deep.yaml").write_text(space)
    done = engram(tmp_path, "plan", "how-deep.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == shown.splitlines()[1:]


#: The file whose mistakes stand in the docs.
MINE = """\
dataset: split-digits
tasks: 5
scenario: class-IL
network: mlp
optimizer: {name: adam, learning_rate: 1e-3}
batch_size: 64
method:
  - naive: {alpha: 0.5}
  - replay: {buffer_size: '500'}
  - dgr: {memory: wgan-gp, latent: 50}
  - si: {c: 10}
"""


def test_the_mistakes_in_the_docs_are_told_as_they_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (shown,) = blocks(ROOT / "docs" / "search-spaces.md", "text")
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(MINE)
    with pytest.raises(InvalidFile) as caught:
        make_plan("mine.yaml", tmp_path)
    assert [f"engram: {line}" for line in str(caught.value).splitlines()] == shown.splitlines()


def test_the_quickstart_stands_in_the_readme_as_it_is() -> None:
    assert packaged_spaces()["quickstart"].read_text() in blocks(ROOT / "README.md", "yaml")


def test_every_key_of_a_search_space_is_documented() -> None:
    from methods.core.registry import method_class, method_names
    from methods.memories import MemoryConfig

    page = (ROOT / "docs" / "search-spaces.md").read_text()
    keys = {"method", "seed", *Header.model_fields, *StreamConfig.model_fields}
    for key, mapping in (
        *(("resources", Resources), ("watch", Watch), ("keep", Keep)),
        ("audit", Audit),
    ):
        keys |= {key, *mapping.model_fields}
    for name in method_names():
        keys |= set(method_class(name).Config.model_fields)
    for memory in get_args(get_args(MemoryConfig)[0]):
        keys |= set(memory.model_fields)
    missing = sorted(key for key in keys if f"`{key}`" not in page and f"{key}:" not in page)
    assert not missing


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: dict[str, None] = {}
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text())
    for title in re.findall(r"(?m)^#+ (.+)$", text):
        slug = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        times = itertools.count(1)
        anchor = slug
        while anchor in found:
            anchor = f"{slug}-{next(times)}"
        found[anchor] = None
    return set(found)


def test_anchors_are_headings() -> None:
    for page in PAGES:
        for link, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", page.read_text()):
            target = page.parent / link if link else page
            assert anchor in anchors(target), f"{page.name}: {link}#{anchor}"


@pytest.mark.parametrize("name", ["methods.md", "experiments.md"])
def test_pages_are_what_registries_and_search_spaces_give(name: str) -> None:
    committed = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert committed == pages(ROOT / "docs")[name], f"docs/{name} is not up to date: make docs"
