"""Networks as blocks: cut anywhere, frozen for good."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from methods.networks import Backbone, Cnn, Mlp, NetworkConfig

SHAPE = (3, 12, 10)
CONFIGS = [
    Mlp(widths=(20, 30, 10)),
    Cnn(widths=(4, 6), hidden=(16, 8)),
    Cnn(widths=(2,) * 5, hidden=()),  # more poolings than the image can take
]


def images(n: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, *SHAPE), generator=generator, dtype=torch.uint8)


def noisy() -> Backbone:
    blocks: list[nn.Module] = [
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)),
        nn.Sequential(nn.Flatten(), nn.Linear(320, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)),
        nn.Linear(6, 5),
    ]
    return Backbone(blocks, SHAPE)


@pytest.mark.parametrize("config", CONFIGS)
def test_cut_anywhere_and_joined_is_the_whole(config: Mlp | Cnn) -> None:
    backbone = config.build(SHAPE)
    assert backbone.depth == config.depth == len(backbone.blocks)
    whole = backbone.run(images())
    for cut in range(backbone.depth + 1):
        z = backbone.run(images(), 0, cut)
        assert z.dtype == torch.float32
        assert z.shape == (5, *backbone.shapes[cut])
        assert torch.equal(backbone.run(z, cut), whole)
        for further in range(cut, backbone.depth + 1):
            assert torch.equal(backbone.run(backbone.run(z, cut, further), further), whole)
    assert backbone.shapes[0] == SHAPE
    assert backbone.features == whole.flatten(1).shape[1]


def test_shapes() -> None:
    assert CONFIGS[0].build(SHAPE).shapes == (SHAPE, (20,), (30,), (10,))
    assert CONFIGS[1].build(SHAPE).shapes == (SHAPE, (4, 6, 5), (6, 3, 2), (16,), (8,))
    deep = CONFIGS[2].build(SHAPE).shapes
    assert deep == (SHAPE, (2, 6, 5), (2, 3, 2), (2, 1, 1), (2, 1, 1), (2, 1, 1))


def test_bytes_are_scaled_and_floats_are_not() -> None:
    backbone = CONFIGS[0].build(SHAPE)
    x = images()
    assert torch.equal(backbone.run(x, 0, 0), x / 255)
    assert torch.equal(backbone.run(x), backbone.run(x / 255))
    assert x.dtype == torch.uint8
    assert torch.equal(x, images())


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 4), (4, None), (-1, -1)])
def test_depths_out_of_range(start: int, stop: int | None) -> None:
    with pytest.raises(ValueError, match="cannot run from depth"):
        CONFIGS[0].build(SHAPE).run(images(), start, stop)


def test_parameter_counts() -> None:
    def count(backbone: Backbone) -> int:
        return sum(p.numel() for p in backbone.parameters())

    assert count(Mlp().build((1, 28, 28))) == 784 * 400 + 400 + 400 * 400 + 400
    assert count(CONFIGS[0].build(SHAPE)) == 360 * 20 + 20 + 20 * 30 + 30 + 30 * 10 + 10
    small = 1 * 16 * 9 + 16 + 16 * 32 * 9 + 32 + 32 * 7 * 7 * 128 + 128
    assert count(Cnn().build((1, 28, 28))) == small


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_frozen_blocks_stay_frozen(depth: int) -> None:
    backbone = noisy()
    backbone.freeze(depth)
    for mode in (False, True):
        assert backbone.train(mode) is backbone
        assert backbone.training is mode
        for index, block in enumerate(backbone.blocks):
            assert all(m.training is (mode and index >= depth) for m in block.modules())
            assert all(p.requires_grad is (index >= depth) for p in block.parameters())
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    first = backbone.run(images(), 0, depth)
    assert torch.equal(backbone.run(images(), 0, depth), first)  # no dropout
    backbone.run(images())
    moved = {n for n, value in backbone.state_dict().items() if not torch.equal(value, before[n])}
    assert {int(name.split(".")[1]) for name in moved} == {i for i in (0, 1) if i >= depth}


def test_training_mode_is_kept() -> None:
    backbone = noisy()
    backbone.eval()
    backbone.freeze(1)
    assert not any(module.training for module in backbone.modules())


@pytest.mark.parametrize("depth", [-1, 4])
def test_freezing_blocks_that_are_not_there(depth: int) -> None:
    with pytest.raises(ValueError, match=f"cannot freeze {depth} of 3 blocks"):
        noisy().freeze(depth)


def test_building_moves_no_statistic() -> None:
    state = noisy().state_dict()
    assert all(int(v) == 0 for name, v in state.items() if name.endswith("num_batches_tracked"))
    assert noisy().training


def network(value: Any) -> Any:
    return TypeAdapter(NetworkConfig).validate_python(value)


def test_networks_are_told_apart_by_name() -> None:
    assert network("mlp") == Mlp() == network({"name": "mlp", "widths": [400, 400]})
    assert network({"name": "cnn", "hidden": []}) == Cnn(hidden=())


@pytest.mark.parametrize(
    "value",
    ["resnet", {"widths": [3]}, {"name": "mlp", "widths": []}, {"name": "cnn", "widths": 3}],
)
def test_impossible_networks(value: Any) -> None:
    with pytest.raises(ValidationError):
        network(value)
