"""What docs/data.md says of a user's own data is what happens, down to Ray's workers."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.data.sources import SOURCES

PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def flowers(tmp_path: Path, png: Callable[..., bytes]) -> Path:
    """A folder with the photographs of four species, none of the size of another."""
    random = np.random.default_rng(0)
    for label, species in enumerate(("aster", "daisy", "poppy", "tulip")):
        folder = tmp_path / "flowers" / species
        folder.mkdir(parents=True)
        for i in range(12):
            noise = random.integers(0, 64, (40 + i, 50 - i, 3), dtype=np.uint8)
            (folder / f"{i}.jpg").write_bytes(png(noise + np.uint8(48 * label), "JPEG"))
    return tmp_path


def test_the_three_commands(flowers: Path, engram: Any) -> None:
    (commands,) = (block for block in blocks("sh") if "data add" in block)
    python = f"'{sys.executable}' -m orchestrator"
    script = re.sub(r"^engram", python, commands, flags=re.MULTILINE)
    for long, short in (
        ("seed: 0..2", r"seed: 0\nbudget: {iterations: 5}"),
        ("run flowers.yaml", "run flowers.yaml --no-mlflow"),
    ):
        assert long in script
        script = script.replace(long, short)
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=flowers,
        env=engram.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "flowers is ready: 40 training and 8 test images of 3 × 32 × 32" in done.stdout
    assert "3 of 3 trials done" in done.stdout


def test_the_python_code(flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(flowers)
    (code,) = blocks("python")
    names: dict[str, Any] = {}
    exec(code, names)
    assert len(names["stream"].task(1).train) == 20


def test_the_table_has_every_source() -> None:
    rows = [line.split("|") for line in PAGE.splitlines() if line.startswith("| `")]
    sources = {row[1].strip(" `"): row for row in rows if "×" in row[2]}
    assert set(sources) == {name for name, source in SOURCES.items() if not source.added}
    for name, source in SOURCES.items():
        _, _, images, classes, *_ = sources[name]
        assert images.strip() == " × ".join(map(str, source.shape))
        assert int(classes) == source.classes
