"""What is built and installed: the package works without its source tree."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a wheel and an sdist."""
    folder = tmp_path_factory.mktemp("dist")
    offline = ["--no-isolation"] if importlib.util.find_spec("hatchling") else []
    # By default the wheel is built from the sdist, which shows that the sdist is complete.
    done = subprocess.run(
        [sys.executable, "-m", "build", *offline, "--outdir", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("engram_bench-*-py3-none-any.whl")
    return path


def test_the_wheel_holds_the_package_and_its_search_spaces(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        (points,) = (name for name in names if name.endswith("entry_points.txt"))
        described = archive.read(metadata).decode()
        commands = archive.read(points).decode()
    here = {
        path.relative_to(ROOT).as_posix()
        for room in ("orchestrator", "methods", "search_spaces")
        for kind in ("*.py", "*.yaml", "*.json", "*.jinja", "*.css", "*.js")
        for path in (ROOT / room).rglob(kind)
    }
    assert {"search_spaces/quickstart.yaml", "search_spaces/measured/quickstart.json"} <= here
    assert here <= names
    assert {name.split("/")[0] for name in names - here} <= {
        metadata.split("/")[0],
        *("orchestrator", "methods"),
    }
    assert not [name for name in names if "test" in name.lower() or "__pycache__" in name]
    assert "engram = orchestrator.cli:main" in commands
    assert re.search(r"(?m)^License-Expression: MIT$", described)
    assert re.search(r"(?m)^Requires-Python: >=3\.11$", described)


def test_the_sdist_holds_what_is_needed_to_build_and_test(built: Path) -> None:
    (path,) = built.glob("engram_bench-*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {
        *("pyproject.toml", "LICENSE", "README.md", "Makefile"),
        *("search_spaces/quickstart.yaml", "orchestrator/cli.py", "methods/naive.py"),
        "tests/orchestrator/test_packaging.py",
    }
    assert not [name for name in names if "__pycache__" in name or name.startswith("results")]


def test_an_installed_wheel_runs_the_quickstart_by_name_anywhere(
    wheel: Path, engram: Any, tmp_path: Path
) -> None:
    site, home = tmp_path / "site", tmp_path / "home"
    home.mkdir()
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
        + ["--target", str(site), str(wheel)],
        check=True,
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    env = {"PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    where = subprocess.run(
        [sys.executable, "-c", "import orchestrator, methods; print(orchestrator.__file__)"],
        cwd=home,
        env=engram.environment(env),
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.strip() == str(site / "orchestrator" / "__init__.py")
    done = engram("plan", "quickstart", cwd=home, env=env)
    assert done.returncode == 0, done.stderr
    trials = re.search(r"quickstart: (\d+) unique trials", done.stdout)
    assert trials
    assert int(trials[1]) >= 39
