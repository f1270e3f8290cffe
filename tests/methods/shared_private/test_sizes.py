"""Sizes of shared and private autoencoders: those published, and those of any other image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from methods.core.task import Scenario, StreamInfo
from methods.shared_private import Layer, SharedPrivateNetwork, sizes_of

#: Trainable parameters that the published notebooks print.
PUBLISHED = {
    "MNIST, Fashion-MNIST, QMNIST": ((1, 28, 28), 10, 5, 199_019),
    "EMNIST letters": ((1, 28, 28), 26, 13, 562_939),
    "CIFAR-10, SVHN": ((3, 32, 32), 10, 5, 3_388_428),
    "CIFAR-100": ((3, 32, 32), 100, 20, 13_790_903),
    "mini-ImageNet": ((3, 84, 84), 100, 20, 4_107_152),
}


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """The same networks and items in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def stream(shape: tuple[int, int, int], classes: int, tasks: int) -> StreamInfo:
    each = classes // tasks
    classes_of = tuple(tuple(range(t * each, (t + 1) * each)) for t in range(tasks))
    return StreamInfo(Scenario.TASK_INCREMENTAL, tasks, shape, classes, classes_of)


@pytest.mark.parametrize("data", PUBLISHED)
def test_it_has_as_many_parameters_as_published(data: str) -> None:
    *given, count = PUBLISHED[data]
    network = SharedPrivateNetwork(stream(*given))
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == count


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [4, 5, 8, 11, 16, 28, 31, 32, 40, 64, 84, 96])
def test_a_reconstruction_has_the_shape_of_the_image(channels: int, side: int) -> None:
    network = SharedPrivateNetwork(stream((channels, side, side), 4, 2))
    x = torch.zeros(3, channels, side, side)
    code = network.shared.encode(x)
    assert network.shared.decode(code.z, network.null(3)).shape == x.shape
    assert network(x.to(torch.uint8), 1).shape == (3, 4)


def test_images_of_28_pixels_have_the_published_layers_by_the_rule_of_all_others() -> None:
    sizes = sizes_of((1, 28, 28), 10)
    halvings = (Layer(6, 2, 2), Layer(12, 2, 2), Layer(24, 2, 2))
    assert sizes.encoder == sizes.head == (Layer(3, 3, 1, 1), *halvings)
    assert sizes.decoder == (Layer(24, 3), Layer(12, 3, 2), Layer(6, 2, 2), Layer(1, 2, 2))


@pytest.mark.parametrize("shape", [(1, 28, 32), (3, 3, 3)])
def test_other_shapes_are_refused_in_one_line(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"^dvae takes square images .* give resize or pad_to$"):
        SharedPrivateNetwork(stream(shape, 4, 2))


def test_there_is_no_activation_function_but_where_it_is_asked_for() -> None:
    """At the means of the codes all is affine: f(x) + f(y) = f(x + y) + f(0)."""
    for activation, affine in (("none", True), ("relu", False)):
        network = SharedPrivateNetwork(stream((1, 8, 8), 4, 2), activation)  # type: ignore[arg-type]
        x = torch.randint(100, (2, 1, 8, 8), generator=torch.Generator().manual_seed(1))
        images = torch.cat([x, x[:1] + x[1:], torch.zeros_like(x[:1])]).to(torch.uint8)
        one, other, both, none = network(images, 0)
        assert torch.allclose(one + other, both + none, atol=1e-4) == affine
