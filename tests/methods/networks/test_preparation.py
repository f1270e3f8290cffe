"""Input of ImageNet's networks, against torchvision's own transforms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from methods.core.vision import import_torchvision
from methods.networks import AlexNet, Backbone
from methods.networks.preparation import Preparation


def images(channels: int, height: int, width: int, n: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, channels, height, width), generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 40, 24), (3, 16, 16), (3, 20, 30)])
@pytest.mark.parametrize("size", [None, 16, 32])
def test_as_torchvision_does_it(shape: tuple[int, int, int], size: int | None) -> None:
    import_torchvision()
    from torchvision.transforms import v2

    x = images(*shape) / 255
    steps = [v2.RGB(), v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    if size is not None:
        steps.insert(0, v2.Resize((size, size), antialias=True))
    prepared = Preparation(shape[0], size, normalize=True)(x)
    assert prepared.shape == (3, 3, size or shape[1], size or shape[2])
    torch.testing.assert_close(prepared, v2.Compose(steps)(x), rtol=1e-5, atol=1e-5)


def test_left_in_the_unit_interval() -> None:
    x = images(3, 8, 8) / 255
    assert torch.equal(Preparation(3, None, normalize=False)(x), x)
    assert torch.equal(Preparation(3, 8, normalize=False)(x), x)
    grey = images(1, 8, 8) / 255
    assert torch.equal(Preparation(1, None, normalize=False)(grey), torch.cat([grey] * 3, 1))


def test_nothing_to_learn_and_nothing_to_save() -> None:
    preparation = Preparation(1, 8, normalize=True)
    assert not list(preparation.parameters())
    assert not preparation.state_dict()


def test_images_are_not_changed_and_take_gradients() -> None:
    x = (images(3, 8, 8) / 255).requires_grad_()
    before = x.detach().clone()
    Preparation(3, None, normalize=True)(x).sum().backward()
    assert torch.equal(x.detach(), before)
    expected = (1 / torch.tensor((0.229, 0.224, 0.225))).view(3, 1, 1).expand(3, 3, 8, 8)
    torch.testing.assert_close(x.grad, expected)


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels(channels: int) -> None:
    with pytest.raises(ValueError, match=f"1 or 3 channels, not {channels}"):
        AlexNet().build((channels, 64, 64))


class Widest(nn.Module):
    """Passes its input on and notes the largest batch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen = max(self.seen, len(x))
        return x * 2


def test_it_belongs_to_depth_0_and_counts_as_none() -> None:
    backbone = Backbone([Widest(), nn.Flatten()], (1, 8, 8), Preparation(1, 4, normalize=True))
    assert backbone.depth == 2
    assert backbone.shapes == ((1, 8, 8), (3, 4, 4), (48,))
    x = images(1, 8, 8)
    at_0 = backbone.run(x, 0, 0)
    assert torch.equal(at_0, x / 255)
    whole = backbone.run(x)
    assert torch.equal(backbone.run(at_0), whole)
    assert torch.equal(backbone.run(backbone.run(x, 0, 1), 1), whole)
    expected = 2 * Preparation(1, 4, normalize=True)(x / 255)
    assert torch.equal(whole, expected.flatten(1))
    assert not backbone.state_dict()


@pytest.mark.parametrize(
    ("training", "gradients", "prepared", "widest"),
    [
        (False, False, True, 784),  # 64 · 224² / 64² images fit
        (True, False, True, 2000),
        (False, True, True, 2000),
        (False, False, False, 2000),
    ],
)
def test_large_images_go_through_in_parts(
    training: bool, gradients: bool, prepared: bool, widest: int
) -> None:
    block = Widest()
    prepare = Preparation(3, 64, normalize=False) if prepared else None
    backbone = Backbone([nn.AvgPool2d(4), block, nn.Flatten()], (3, 4, 4), prepare)
    backbone.train(training)
    x = images(3, 4, 4, n=2000)
    with torch.set_grad_enabled(gradients):
        z = backbone.run(x)
    assert block.seen == widest
    assert len(z) == 2000
    assert torch.equal(z[-5:], backbone.run(x[-5:]))
