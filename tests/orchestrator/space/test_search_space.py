from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.plan import make_plan
from orchestrator.search_space import find_space, packaged_spaces, read_space, sweep_name

Write = Callable[..., Path]

VALID = """\
name: valid
dataset: split-digits
network: mlp
method: [naive, replay: {buffer_size: 50}]
seed: 0..2
"""


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"dataset: [split-digits\nmethod: naive\n", 1, "dataset: [ is not closed"),
        (
            b"dataset: split-digits\nmethod:\n\t- naive\n",
            3,
            "a tab stands here; indent with spaces",
        ),
        (b"dataset: 'split-digits\n", 1, "dataset: the quote that begins here is not closed"),
        (b"", 1, "should hold keys such as dataset:, method: and seed:"),
        (b"# nothing but a comment\n", 1, "should hold keys"),
        (b"- dataset: split-digits\n", 1, "should hold keys"),
        (b"split-digits\n", 1, "should hold keys"),
        (b"a: 1\n---\nb: 2\n", 2, "found another document"),
        (b"a: 1\nname: \x80\x81\n", 2, "byte 0x80 is no text in UTF-8"),
        (b"a: 1\nname: a\x00b\n", 2, "character 0x0000 cannot stand in a YAML file"),
        (b"PK\x03\x04\xff\xfe", 1, "byte 0xff is no text in UTF-8"),
    ],
)
def test_what_is_no_search_space_is_one_line(
    content: bytes, line: int | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        make_plan(path, tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert message in text
    assert len(text.splitlines()) == 1


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("quikstart", "quikstart: is neither a file nor a packaged search space; did you mean"),
        ("missing.yaml", "missing.yaml: there is no such file"),
        ("quickstart.yaml", "there is no such file; did you mean 'quickstart', a packaged one?"),
        ("folder/missing", "folder/missing: there is no such file"),
        (".", "is a folder; give a search space's file or packaged name"),
        ("x" * 5000, "is neither a file nor a packaged search space"),
        ("a\0b", "is neither a file nor a packaged search space"),
    ],
)
def test_a_search_space_that_is_not_there(space: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        find_space(space)
    assert message in str(caught.value)


def test_an_unreadable_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(VALID)
    path.chmod(0)
    if os.access(path, os.R_OK):  # whoever runs this ignores mode bits
        path = Path("/proc/self/mem")
        if not path.exists() or stat.S_ISDIR(path.stat().st_mode):
            pytest.skip("no unreadable file here")
    with pytest.raises(UserError, match="cannot be read: "):
        make_plan(path, tmp_path)


def test_packaged_spaces_are_found_by_name_and_valid(tmp_path: Path) -> None:
    spaces = packaged_spaces()
    assert "quickstart" in spaces
    for name, path in spaces.items():
        assert find_space(name) == path
        space, problems = read_space(name)
        assert not len(problems)
        assert space.name == name
        assert space.header.description


def test_a_file_beats_a_packaged_space(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(VALID, "quickstart")
    monkeypatch.chdir(tmp_path)
    assert find_space("quickstart") == Path("quickstart")


@pytest.mark.parametrize(
    ("file", "name"),
    [("freeze.yaml", "freeze"), ("my space (2).yaml", "my-space-2"), ("…​.yaml", "sweep")],
)
def test_a_space_without_a_name_is_called_after_its_file(
    file: str, name: str, write: Write
) -> None:
    space, problems = read_space(write(VALID.replace("name: valid\n", ""), file))
    assert not len(problems)
    assert space.name == name


@pytest.mark.parametrize(
    ("seed", "seeds"),
    [
        ("3", (3,)),
        ("0..4", (0, 1, 2, 3, 4)),
        ("[7, 2..4, 0]", (7, 2, 3, 4, 0)),
        ("5..5", (5,)),
        (str(2**63 - 1), (2**63 - 1,)),
    ],
)
def test_seeds(seed: str, seeds: tuple[int, ...], write: Write) -> None:
    space, problems = read_space(write(VALID.replace("seed: 0..2", f"seed: {seed}")))
    assert not len(problems)
    assert space.seeds == seeds


def test_a_sweep_is_known_by_its_name_and_by_its_file(write: Write) -> None:
    assert sweep_name("quickstart") == "quickstart"
    assert sweep_name("gone.yaml") == "gone.yaml"
    assert sweep_name(str(write("name: other\n"))) == "other"
    assert sweep_name(str(write("seed: 0\n", "my space.yaml"))) == "my-space"


def test_the_seed_is_0_where_none_is_given(write: Write) -> None:
    assert read_space(write(VALID.replace("seed: 0..2\n", "")))[0].seeds == (0,)


@pytest.mark.parametrize("methods", ["naive", "{naive: }", "[{naive: {}}]", "\n  - naive"])
def test_a_method_alone_may_be_written_in_several_ways(methods: str, write: Write) -> None:
    space, problems = read_space(write(f"dataset: split-digits\nmethod: {methods}\n"))
    assert not len(problems)
    assert [entry.cls.name for entry in space.methods] == ["naive"]
