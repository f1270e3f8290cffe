"""The import of torchvision, beside a build that fits PyTorch and beside one that does not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from methods.core.vision import import_torchvision

REPOSITORY = Path(__file__).parents[3]


def test_datasets_transforms_and_models_work() -> None:
    torchvision = import_torchvision()
    assert import_torchvision() is torchvision is sys.modules["torchvision"]
    from torchvision.transforms import v2

    image = torch.arange(16, dtype=torch.uint8).view(1, 4, 4)
    assert torch.equal(v2.functional.horizontal_flip(image), image.flip(2))
    network = torchvision.models.squeezenet1_1(num_classes=3)
    assert network(torch.zeros(1, 3, 64, 64)).shape == (1, 3)


@pytest.mark.parametrize("build", ["matching", "not loadable", "without operators"])
def test_operators_are_declared_only_where_they_are_missing(build: str, tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text("name = 'stand-in'\n")
    if build == "matching":  # any library that loads will do; this one is loaded already
        shutil.copy(str(torch._C.__file__), package / "_C.so")
    elif build == "not loadable":
        (package / "_C.so").write_bytes(b"not a library")
    code = f"""
import sys
sys.path[:0] = [{str(tmp_path)!r}, {str(REPOSITORY)!r}]
import torch
import methods.core.vision as vision
assert "torchvision" not in sys.modules
assert vision.import_torchvision().name == "stand-in"
declared = [hasattr(torch.ops.torchvision, name) for name in ("nms", "qnms")]
assert declared == [{build != "matching"}] * 2, declared
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
