"""Networks of torchvision, cut into blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from methods.core.rng import Rng
from methods.core.task import Scenario, StreamInfo, Task, TensorExamples
from methods.core.vision import import_torchvision
from methods.naive import Naive
from methods.networks import AlexNet, Backbone, MobileNetV2, NetworkConfig, ResNet18
from methods.networks.preparation import Preparation

SIZE = 64
SHAPE = (1, 12, 12)


def network(value: Any) -> Any:
    return TypeAdapter(NetworkConfig).validate_python(value)


def images(n: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, *SHAPE), generator=generator, dtype=torch.uint8)


def shaken(model: nn.Module) -> Any:
    """Move every weight and statistic away from where it was initialised."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.mul_(0.8 + 0.4 * torch.rand(value.shape, generator=generator))
                value.add_(0.02 * torch.rand(value.shape, generator=generator))
    return model.eval()


def alexnet() -> Any:
    with torch.device("meta"):
        model = import_torchvision().models.alexnet()
    model.classifier = nn.Identity()
    model.to_empty(device="cpu")
    for layer in model.features:
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
    return model


def resnet18() -> Any:
    model = import_torchvision().models.resnet18()
    model.fc = nn.Identity()
    return model


def mobilenet_v2() -> Any:
    model = import_torchvision().models.mobilenet_v2()
    model.classifier = nn.Identity()
    return model


@pytest.mark.parametrize(
    ("name", "make", "blocks"),
    [("alexnet", alexnet, 6), ("resnet18", resnet18, 10), ("mobilenet-v2", mobilenet_v2, 10)],
)
def test_the_blocks_are_torchvisions_network(
    name: str, make: Callable[[], Any], blocks: int, tmp_path: Path
) -> None:
    model = shaken(make())
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    config = network({"name": name, "image_size": SIZE, "weights": str(tmp_path / "weights.pt")})
    backbone = config.build(SHAPE).eval()
    x = images()
    with torch.no_grad():
        whole = backbone.run(x)
        prepared = Preparation(1, SIZE, normalize=True)(x / 255)
        in_the_same_layout = {"memory_format": torch.channels_last}
        expected = model.to(**in_the_same_layout)(prepared.contiguous(**in_the_same_layout))
        assert torch.equal(whole, expected)
        assert backbone.depth == config.depth == blocks
        for cut in range(blocks + 1):
            z = backbone.run(x, 0, cut)
            assert z.shape == (len(x), *backbone.shapes[cut])
            kept = z.clone()
            assert torch.equal(backbone.run(z, cut), whole)
            assert torch.equal(z, kept)  # nothing works in place across a cut
    assert sum(p.numel() for p in backbone.parameters()) == sum(
        p.numel() for p in model.parameters()
    )


# Shapes as documented, without the price of images of 224 × 224: only the spatial size differs.
@pytest.mark.parametrize(
    ("name", "channels", "pixels"),
    [
        ("alexnet", (64, 192, 384, 256, 256), (27, 13, 13, 13, 6)),
        (
            "resnet18",
            (64,) * 3 + (128,) * 2 + (256,) * 2 + (512,) * 2,
            (56,) * 3 + (28,) * 2 + (14,) * 2 + (7,) * 2,
        ),
        (
            "mobilenet-v2",
            (32, 16, 24, 32, 64, 96, 160, 320, 1280),
            (112, 112, 56, 28, 14, 14, 7, 7, 7),
        ),
    ],
)
def test_documented_shapes(name: str, channels: tuple[int, ...], pixels: tuple[int, ...]) -> None:
    config = network(name)
    assert config.image_size == 224
    shapes = config.build((1, 28, 28)).shapes
    flat = 9216 if name == "alexnet" else channels[-1]
    maps = tuple((c, s, s) for c, s in zip(channels, pixels, strict=True))
    assert shapes == ((1, 28, 28), *maps, (flat,))


@pytest.fixture(scope="module")
def glr() -> Backbone:
    built: Backbone = network("alexnet-glr").build((1, 28, 28))
    return built


def test_network_of_generative_latent_replay(glr: Backbone) -> None:
    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    assert count(glr) + count(nn.Linear(glr.features, 10)) == 3_716_810
    assert count(glr.blocks[:6]) == 2_469_696
    assert glr.shapes[5:] == ((256, 6, 6), (2304,), (512,), (128,))
    # The published order of layers, from the pooling to the head.
    names = [type(m).__name__ for block in glr.blocks[5:] for m in block.children()]
    fully_connected = ["Dropout", "Linear", "ReLU"]
    assert names == ["AdaptiveAvgPool2d", "Flatten", *fully_connected, *fully_connected]


def test_latents_are_clean_and_masked_anew(glr: Backbone) -> None:
    glr.freeze(6)
    glr.train()
    with torch.no_grad():
        z = glr.run(images(2), 0, 6)
        assert torch.equal(glr.run(images(2), 0, 6), z)
        assert not torch.equal(glr.run(z, 6), glr.run(z, 6))
        glr.eval()
        assert torch.equal(glr.run(z, 6), glr.run(z, 6))


def test_a_preset_is_its_options() -> None:
    written = {"name": "alexnet", "pool": 3, "hidden": [512, 128], "image_size": 244}
    assert network("alexnet-glr") == network({"name": "alexnet-glr"}) == network(written)
    assert network("alexnet-glr").depth == 8
    changed = network({"name": "alexnet-glr", "image_size": 64, "dropout": 0.0})
    assert changed == AlexNet(pool=3, hidden=(512, 128), image_size=64, dropout=0.0)


@pytest.mark.parametrize(
    "value",
    [
        {"name": "alexnet", "image_size": 62},
        {"name": "alexnet", "dropout": 1.0},
        {"name": "alexnet", "pool": 0},
        {"name": "alexnet-glr", "hiden": []},
        {"name": "resnet18", "image_size": 0},
        {"name": "resnet18", "normalize": None},
        {"name": ["alexnet-glr"]},
        "resnet50",
    ],
)
def test_impossible_networks(value: Any) -> None:
    with pytest.raises(ValidationError):
        network(value)


@pytest.mark.parametrize("cls", [ResNet18, MobileNetV2])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32)])
def test_small_images_as_they_are(
    cls: type[ResNet18 | MobileNetV2], shape: tuple[int, int, int]
) -> None:
    backbone = cls(image_size=None).build(shape)
    assert backbone.shapes[0] == shape
    assert backbone.shapes[-2][1:] == (1, 1)
    x = torch.zeros(2, *shape, dtype=torch.uint8)
    assert backbone.run(x).shape == (2, backbone.features)


def test_images_that_vanish() -> None:
    with pytest.raises(ValueError, match="28 × 28 pixels in alexnet; give it an image_size of at"):
        AlexNet(image_size=None).build((1, 28, 28))
    assert AlexNet(image_size=None).build((3, 63, 63)).shapes[5] == (256, 1, 1)
    assert AlexNet(image_size=63).build((1, 28, 28)).shapes[5] == (256, 1, 1)


# Batch norm


def learnt(freeze_depth: int, seed: int = 0) -> tuple[Naive, list[dict[str, Tensor]]]:
    """Return a method after two tasks, with its weights before each of them and at the end."""
    stream = StreamInfo(Scenario.CLASS_INCREMENTAL, 2, SHAPE, 4, ((0, 1), (2, 3)))
    options = {
        "network": {"name": "resnet18", "image_size": None},
        "budget": {"iterations": 2, "batch_size": 8},
        "freeze_depth": freeze_depth,
    }
    method = Naive(Naive.Config.model_validate(options), stream, Rng(seed))
    states = []
    for index, classes in enumerate(stream.classes_of):
        states.append(state(method))
        y = torch.tensor(classes)[torch.arange(16) % 2]
        method.learn(Task(index, classes, TensorExamples(images(16), y)))
        before = state(method)
        method.predict(images())
        assert not moved(before, state(method))
    return method, [*states, state(method)]


def state(method: Naive) -> dict[str, Tensor]:
    backbone = method.network.backbone
    return {name: value.clone() for name, value in backbone.state_dict().items()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def block_of(name: str) -> int:
    return int(name.split(".")[1])


def test_statistics_of_frozen_blocks_do_not_move() -> None:
    method, (start, first, second) = learnt(freeze_depth=3)
    statistics = {name for name in start if "running" in name or "tracked" in name}
    assert statistics <= moved(start, first)  # the first task trains everything
    assert {block_of(name) for name in moved(first, second)} == set(range(3, 9))
    assert {n for n in statistics if block_of(n) >= 3} <= moved(first, second)
    frozen = method.network.backbone.blocks[:3]
    assert not any(module.training for module in frozen.modules() if module is not frozen)


def test_nothing_global_is_touched_and_a_seed_repeats() -> None:
    torch.rand(1)
    before = torch.get_rng_state()
    _, one = learnt(freeze_depth=1)
    assert torch.equal(torch.get_rng_state(), before)
    _, same = learnt(freeze_depth=1)
    assert not any(moved(a, b) for a, b in zip(one, same, strict=True))
    _, other = learnt(freeze_depth=1, seed=1)
    assert moved(one[-1], other[-1])
