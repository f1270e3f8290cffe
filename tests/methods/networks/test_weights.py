"""Weights from a file: known by their content, and refused where they do not fit."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from methods.core.vision import import_torchvision
from methods.networks import AlexNet, MissingWeights, MobileNetV2, ResNet18, Weights


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    model = import_torchvision().models.mobilenet_v2(num_classes=7)
    with torch.no_grad():
        for value in model.state_dict().values():
            value.copy_(torch.rand(value.shape) if value.is_floating_point() else 5)
    return dict(model.state_dict())


@pytest.fixture(scope="module")
def file(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mobilenet.pt"
    torch.save(state, path)
    return path


def network(weights: Any) -> MobileNetV2:
    return MobileNetV2.model_validate({"image_size": 32, "weights": weights})


def loaded(config: MobileNetV2) -> list[Tensor]:
    return list(config.build((1, 8, 8)).state_dict().values())


def alike(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


def test_a_file_is_loaded_all_but_its_classifier(state: dict[str, Tensor], file: Path) -> None:
    features = [value for key, value in state.items() if key.startswith("features.")]
    assert len(features) == len(state) - 2
    assert alike(loaded(network(str(file))), features)
    assert not alike(loaded(network(None)), features)


def test_a_file_is_known_by_its_content(file: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copy(file, tmp_path / "copy.pt")
    one, other = network(str(file)), network({"file": str(elsewhere)})
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert one.canonical() == other.canonical()
    assert one.canonical()["weights"] == {"sha256": digest}
    assert one.portable() != other.portable()
    assert one.portable() == one.canonical() | {"weights": {"file": str(file), "sha256": digest}}


def test_a_configuration_travels(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    config = network("mobilenet.pt")
    monkeypatch.chdir("/")
    again = MobileNetV2.model_validate(config.portable())
    assert again == config
    assert alike(loaded(again), loaded(config))


def test_what_is_known_needs_no_file(tmp_path: Path) -> None:
    weights = {"file": str(tmp_path / "elsewhere.pt"), "sha256": "0" * 64}
    config = network(weights)
    assert config.portable()["weights"] == weights
    with pytest.raises(MissingWeights, match="every machine that runs trials"):
        config.build((1, 8, 8))
    with pytest.raises(MissingWeights, match="is not known"):
        network({"sha256": "0" * 64}).build((1, 8, 8))


def test_other_content_is_refused(file: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(file, tmp_path / "copy.pt"))
    planned = network(str(copy))
    copy.write_bytes(copy.read_bytes() + b" ")
    with pytest.raises(MissingWeights, match="has other content than when"):
        planned.build((1, 8, 8))
    assert network(str(copy)).canonical() != planned.canonical()  # the digest is not stale


def test_weights_of_another_network(state: dict[str, Tensor], tmp_path: Path) -> None:
    fewer = {k: v for k, v in state.items() if k != "features.0.1.bias"}
    wrong = fewer | {"features.0.0.weight": torch.zeros(2), "extra": torch.zeros(1)}
    torch.save(wrong, tmp_path / "wrong.pt")
    with pytest.raises(ValueError, match="not those of torchvision's mobilenet_v2") as error:
        network(str(tmp_path / "wrong.pt")).build((1, 8, 8))
    for part in (
        "missing: features.0.1.bias",
        "unexpected: extra",
        "of another shape: features.0.0.weight",
    ):
        assert part in str(error.value)
    config = ResNet18.model_validate({"image_size": 32, "weights": str(tmp_path / "wrong.pt")})
    with pytest.raises(ValueError, match=r"missing: bn1.bias, bn1.running_mean, .* more"):
        config.build((1, 8, 8))


def test_files_of_before_batch_norm_counted(state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({k: v for k, v in state.items() if "tracked" not in k}, tmp_path / "old.pt")
    built = network(str(tmp_path / "old.pt")).build((1, 8, 8))
    assert torch.equal(built.blocks[0][0][0].weight, state["features.0.0.weight"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no file of weights"),
        (b"rubbish", "is no file of weights"),
        ({"state_dict": {"a": torch.zeros(1)}}, "does not hold a state_dict"),
        ([torch.zeros(1)], "does not hold a state_dict"),
        (Path("a"), "is no file of weights"),  # what needs code to be read
    ],
)
def test_files_that_hold_something_else(content: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=message):
        network(str(path)).build((1, 8, 8))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("nothing.pt", "nothing.pt cannot be read"),
        ("IMAGENET1K_V3", "give IMAGENET1K_V1 or IMAGENET1K_V2, or the path of a file"),
        ({}, "give a file"),
        ({"file": None}, "give a file"),
        ({"file": "/", "sha": ""}, "sha"),
        ({"sha256": "f" * 63}, "should be 64 hexadecimal digits"),
        ({"file": "a.pt", "published": "IMAGENET1K_V1"}, "or published weights"),
        (3, "weights"),
    ],
)
def test_impossible_weights(weights: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        network(weights)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="cannot be read"):
        network(str(tmp_path))


def test_names_of_one_network_are_not_those_of_another() -> None:
    named = network("IMAGENET1K_V2")
    assert named == network({"published": "IMAGENET1K_V2"})
    assert named == MobileNetV2.model_validate(named.canonical())
    assert named.canonical()["weights"] == named.portable()["weights"] == "IMAGENET1K_V2"
    for cls in (AlexNet, ResNet18):
        cls.model_validate({"weights": "IMAGENET1K_V1"})
        with pytest.raises(ValidationError, match="give IMAGENET1K_V1, or the path"):
            cls.model_validate({"weights": "IMAGENET1K_V2"})


def test_a_home_folder_is_found(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    assert network("~/mobilenet.pt").weights == Weights(file=str(file))


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of downloads, empty, with all of the network out of reach."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    return tmp_path / "hub" / "checkpoints"


def test_torchvisions_own_weights_are_taken_from_its_cache(
    cached: Path, file: Path, state: dict[str, Tensor]
) -> None:
    entry = import_torchvision().models.MobileNet_V2_Weights.IMAGENET1K_V2
    os.makedirs(cached)
    shutil.copy(file, cached / Path(entry.url).name)
    features = [value for key, value in state.items() if key.startswith("features.")]
    assert alike(loaded(network("IMAGENET1K_V2")), features)


def test_no_connection(cached: Path) -> None:
    with pytest.raises(MissingWeights, match="cannot be downloaded") as error:
        network("IMAGENET1K_V1").build((1, 8, 8))
    assert str(cached) in str(error.value)
