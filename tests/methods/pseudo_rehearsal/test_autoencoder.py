"""The decoder mirrors the encoder, whatever that is."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from digits import digits
from pydantic import TypeAdapter
from torch import nn

from methods.core.rng import Rng
from methods.networks import Backbone, NetworkConfig
from methods.pseudo_rehearsal.autoencoder import Autoencoder, features_depth, mirrored
from methods.pseudo_rehearsal.condition import Condition
from methods.pseudo_rehearsal.config import AutoencoderConfig


def network(shape: tuple[int, int, int], **options: Any) -> Backbone:
    adapter: TypeAdapter[Any] = TypeAdapter(NetworkConfig)
    with Rng(0).scoped("initialisation"):
        backbone: Backbone = adapter.validate_python(options).build(shape)
    return backbone


@pytest.mark.parametrize(
    ("shape", "options", "depth"),
    [
        ((1, 28, 28), {"name": "prer-cnn-mnist"}, 2),
        ((3, 32, 32), {"name": "prer-cnn-cifar"}, 4),
        ((1, 8, 8), {"name": "mlp", "widths": [12, 6]}, 2),
        ((3, 9, 13), {"name": "cnn", "widths": [4, 6], "hidden": [5]}, 2),
        ((1, 12, 10), {"name": "dgr-cnn", "channels": 64}, 4),
        ((3, 32, 32), {"name": "resnet18", "image_size": None}, 9),
        ((1, 28, 28), {"name": "alexnet", "image_size": 63}, 5),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_it_leads_back_to_images(
    shape: tuple[int, int, int], options: dict[str, Any], depth: int
) -> None:
    backbone = network(shape, **options)
    assert features_depth(backbone) == depth
    with Rng(0).scoped("autoencoder"):
        autoencoder = Autoencoder(backbone, Condition(3, "one-hot"), AutoencoderConfig(dim=7))
    y = torch.tensor([0, 2])
    drawn = torch.randn(2, 7, generator=torch.Generator().manual_seed(0))
    images = autoencoder.decode(drawn, y)
    assert images.shape == (2, *shape)
    assert 0 < float(images.min().detach()) < float(images.max().detach()) < 1


def test_parameters_of_the_published_one() -> None:
    """A mirrored network: 110 to 864 values, 24 to 12 channels, 12 to 1; 864 to 100 before."""
    condition = Condition(10, "one-hot")
    backbone = network((1, 28, 28), name="prer-cnn-mnist")
    autoencoder = Autoencoder(backbone, condition, AutoencoderConfig())
    expected = (110 * 864 + 864) + (24 * 12 * 16 + 12) + (12 * 16 + 1)
    assert sum(p.numel() for p in autoencoder.decoder.parameters()) == expected
    assert sum(p.numel() for p in autoencoder.projector.parameters()) == 864 * 100 + 100
    kinds = [type(layer) for layer in autoencoder.decoder]
    transposed = [nn.ConvTranspose2d, nn.ReLU, nn.ConvTranspose2d]
    assert kinds == [nn.Linear, nn.Unflatten, nn.ReLU, *transposed]


@pytest.mark.parametrize("side", range(20, 29))
def test_transposed_convolutions_undo_every_stride(side: int) -> None:
    backbone = network((1, side, 29), name="prer-cnn-mnist")
    layers = mirrored(backbone, 2, 5)
    assert sum(isinstance(layer, nn.ConvTranspose2d) for layer in layers) == 2
    assert nn.Sequential(*layers)(torch.zeros(1, 5)).shape == (1, 1, side, 29)


def test_conditions() -> None:
    y = torch.tensor([2, 0, 2])
    one_hot = Condition(4, "one-hot")
    assert one_hot(y).tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert not list(one_hot.parameters())
    none = Condition(4, "none")
    assert none.width == 0
    assert none(y).shape == (3, 0)
    learned = Condition(4, "embedding")
    assert learned.width == 4
    assert torch.equal(learned(y)[0], learned(y)[2])
    assert sum(p.numel() for p in learned.parameters()) == 16


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_loss_is_a_mean_over_pixels(loss: Any) -> None:
    backbone = network((1, 8, 8), name="mlp", widths=[16, 8])
    with Rng(1).scoped("autoencoder"):
        autoencoder = Autoencoder(
            backbone, Condition(10, "one-hot"), AutoencoderConfig(loss=loss, dim=6)
        )
    x, y, *_ = digits().gather(torch.arange(20))
    assert y is not None
    features = backbone.run(x).detach()
    drawn, pixels = autoencoder.decode(autoencoder.project(features), y), x / 255
    each = (drawn - pixels).square()
    if loss == "bce":
        each = -(pixels * drawn.log() + (1 - pixels) * (1 - drawn).log())
    expected = each.sum() / (20 * math.prod(x.shape[1:]))
    torch.testing.assert_close(autoencoder.reconstruction(x, features, y), expected)
