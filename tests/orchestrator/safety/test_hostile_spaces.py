"""Search spaces that were made to harm: they are refused in a clear line, and soon."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orchestrator.errors import UserError
from orchestrator.plan import make_plan
from orchestrator.search_space import read_space, sweep_name

BASE = "dataset: split-digits\nscenario: class-incremental\nmethod: naive\n"
LETTERS = "bcdefghijklm"
SYSTEM = "!!python/object/apply:os.system ['touch MARK']"
MANY = ", ".join(map(str, range(1, 1500)))

HOSTILE = {
    "code instead of a file": (f"{SYSTEM}\n", 1, "python/object"),
    "code in a value": (f"{BASE}seed: {SYSTEM}\n", 4, "python/object"),
    "code in a key": (f"{BASE}? {SYSTEM}\n: 1\n", 4, "should be a word"),
    "code in a budget": (f"{BASE}budgets: {{small: {{seed: {SYSTEM}}}}}\n", 4, "python/object"),
    "an object": (f"{BASE}paper: !!python/object/new:os._wrap_close [x]\n", 4, "python/object"),
    "a function": (f"{BASE}paper: !!python/name:os.system\n", 4, "python/name"),
    "a module": (f"{BASE}paper: !!python/module:antigravity\n", 4, "python/module"),
    "a billion laughs": (
        "a: &a [x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"{k}: &{k} [{', '.join(9 * [f'*{chr(ord(k) - 1)}'])}]\n" for k in LETTERS),
        None,
        "more than 100,000 values",
    ),
    "a billion merges": (
        "a: &a {x: 1}\n"
        + "".join(
            f"{k}: &{k} {{<<: [{', '.join(9 * [f'*{chr(ord(k) - 1)}'])}]}}\n" for k in LETTERS
        ),
        None,
        "more than 100,000 values",
    ),
    "a list in itself": (f"{BASE}seed: &a [*a]\n", None, "within itself"),
    "brackets without end": (f"{BASE}seed: {'[' * 20_000}", None, "nested too deeply"),
    "maps without end": ("".join(" " * i + "a:\n" for i in range(1500)), None, "nested too deeply"),
    "a number of many digits": (f"{BASE}seed: {'9' * 300_000}\n", 4, "is no int"),
    "a hexadecimal one": (f"{BASE}seed: 0x{'f' * 300_000}\n", 4, "is no int"),
    "one with base 60": (f"{BASE}seed: 1{':01' * 150_000}\n", 4, "is no int"),
    "a fraction with base 60": (f"{BASE}lr: 1{':01' * 150_000}.5\n", 4, "is no float"),
    "seeds without end": (f"{BASE}seed: 0..9223372036854775806\n", 4, "is not a range"),
    "a grid without end": (
        f"{BASE[:50]}method: {{rehearsal: {{buffer_size: [{MANY}], replay_batch: [{MANY}]}}}}\n"
        "seed: 0..999\n",
        None,
        "spans a grid of",
    ),
    "a large file": (f"#{'x' * 5_000_000}\n{BASE}", None, "too large"),
    "a name that climbs": (f"{BASE}name: ../../evil\n", 4, "name: should consist of"),
    "an absolute name": (f"{BASE}name: /tmp/evil\n", 4, "name: should consist of"),
    "a hidden name": (f"{BASE}name: .evil\n", 4, "name: should consist of"),
    "a name with an escape": (f'{BASE}name: "x\\e]0;evil\\a"\n', 4, "name: should consist of"),
    "a name of two lines": (f'{BASE}name: "x\\n"\n', 4, "name: should consist of"),
    "a budget that climbs": (
        f"{BASE}budgets: {{../../evil: {{seed: 0}}}}\n",
        4,
        "should be called",
    ),
    "a dataset that climbs": (BASE.replace("split-digits", "split-../../evil"), 1, "dataset: "),
    "a dataset in a folder": (BASE.replace("split-digits", "split-/etc/evil"), 1, "dataset: "),
    "a method that climbs": (BASE.replace("naive", "../naive"), 3, "'../naive'"),
    "a password": (f"{BASE}password: hunter2\n", 4, "looks like a password"),
    "a password in a description": (
        f"{BASE}description: on https://ann:hunter2@example.org\n",
        4,
        "description: looks like",
    ),
    "a key of a method": (
        "dataset: split-digits\nmethod:\n- naive: {api_key: hunter2hunter2}\n",
        3,
        "naive.api_key: looks like",
    ),
    "a token in a list": (f"{BASE}seed: [0, hf_{'Ab3d' * 8}, 1]\n", 4, "seed[1]: looks like"),
    "a token in a budget": (
        f"{BASE}budgets:\n  small:\n    paper: ghp_{'a1B2' * 9}\n",
        6,
        "budgets.small.paper: looks like",
    ),
    "a token in a comment": (f"# ghp_{'a1B2' * 9}\n{BASE}", 1, "looks like a password"),
    "a key of several lines": (
        f"{BASE}paper: |\n  -----BEGIN PRIVATE KEY-----\n  MIIE\n  -----END PRIVATE KEY-----\n",
        4,
        "paper: looks like",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_spaces_are_refused(case: str, tmp_path: Path) -> None:
    text, line, message = HOSTILE[case]
    mark = tmp_path / "mark"
    path = tmp_path / "space.yaml"
    path.write_text(text.replace("MARK", str(mark)))
    start = time.process_time()
    with pytest.raises(UserError) as error:
        make_plan(path, tmp_path / "data")
    assert time.process_time() - start < 8
    told = str(error.value).splitlines()
    where = f"{path}:{line}: " if line else str(path)
    assert any(one.startswith(where) and message in one for one in told), told
    assert max(map(len, told)) < 600
    assert not mark.exists()
    for secret in ("hunter2", "ghp_a1", "hf_Ab3d", "MIIE"):
        assert secret not in str(error.value)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/b", "..", ".", "x\x1b]0;evil\x07"])
def test_names_of_sweeps_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be the name of a sweep"):
        sweep_name(name)
    file = tmp_path / "space.yaml"
    file.write_text(f"{BASE}name: {name!r}\n")
    with pytest.raises(UserError, match=r"cannot be the name of a sweep"):
        sweep_name(str(file))


@pytest.mark.parametrize("file", ["..evil.yaml", "a b\n\x1b]0;c\x07.yaml", "-.yaml", "$(x).yaml"])
def test_a_file_s_name_becomes_a_plain_one(file: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.write_text(BASE)
    space, problems = read_space(path)
    problems.raise_if_any()
    assert space.name
    assert all(c.isalnum() or c in "-._" for c in space.name)
    assert space.name[0].isalnum()
    assert sweep_name(str(path)) == space.name
