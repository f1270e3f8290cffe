"""Networks of a Wasserstein GAN: their sizes, and that items do not mix."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from methods.memories.wgan_networks import (
    ConvCritic,
    ConvGenerator,
    LeakyReLU,
    MlpCritic,
    MlpGenerator,
)

PUBLISHED_CRITIC = 2_758_593


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    """The same networks and items in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(("channels", "expected"), [(1, 3_582_849), (3, 3_584_003)])
def test_the_published_generator(channels: int, expected: int) -> None:
    generator = ConvGenerator(100, 64, (channels, 32, 32))
    assert count(generator) == expected
    x = generator(torch.randn(2, 100)).detach()
    assert x.shape == (2, channels, 32, 32)
    assert 0 <= float(x.min()) <= float(x.max()) <= 1


def test_the_published_critic_with_a_score_for_each_image() -> None:
    critic = ConvCritic(64, (1, 32, 32))
    published, corrected = 512 * 8, 512 * 3 * 3
    assert count(critic) == PUBLISHED_CRITIC + corrected - published


def test_published_initialisation() -> None:
    for network in (ConvGenerator(100, 8, (1, 32, 32)), ConvCritic(16, (1, 32, 32))):
        for module in network.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
                assert module.bias is not None
                assert not module.bias.any()
                if module.weight.numel() > 1000:
                    assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.parametrize("rows", [1, 3, 32, 37])
@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 28, 28), (1, 16, 20)])
@pytest.mark.parametrize("classes", [0, 4])
def test_critics_have_a_score_for_each_item_from_it_alone(
    rows: int, shape: tuple[int, int, int], classes: int
) -> None:
    x = torch.rand(rows, *shape)
    code = functional.one_hot(torch.arange(rows) % 4, 4).float() if classes else None
    for critic in (ConvCritic(4, shape, classes), MlpCritic(x[0].numel() + classes, (8,))):
        nn.init.normal_(next(critic.parameters()))
        scores = critic(x, code)
        assert scores.shape == (rows,)
        alone = [critic(x[i : i + 1], None if code is None else code[i : i + 1]) for i in range(2)]
        torch.testing.assert_close(scores[:2], torch.cat(alone)[:rows])


def test_scores_depend_on_the_class() -> None:
    x = torch.rand(1, 1, 16, 16).expand(2, -1, -1, -1)
    for critic in (ConvCritic(4, (1, 16, 16), 2), MlpCritic(256 + 2, (8,))):
        one, other = critic(x, torch.eye(2)).detach()
        assert one != other


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 16, 16), (2, 17, 45), (1, 8, 8)])
@pytest.mark.parametrize("running", [False, True])
def test_generators_draw_images_of_any_size(shape: tuple[int, int, int], running: bool) -> None:
    for generator in (ConvGenerator(5, 2, shape, running), MlpGenerator(5, (8,), shape)):
        for mode in (True, False):
            x = generator.train(mode)(torch.randn(3, 5)).detach()
            assert x.shape == (3, *shape)
            assert x.is_contiguous()
            assert 0 <= float(x.min()) <= float(x.max()) <= 1


def test_an_image_is_the_centre_of_what_is_drawn() -> None:
    whole = ConvGenerator(5, 2, (1, 32, 32))
    part = ConvGenerator(5, 2, (1, 28, 26))
    part.load_state_dict(whole.state_dict())
    z = torch.randn(4, 5)
    assert torch.equal(part(z), whole(z)[:, :, 2:30, 3:29])


def test_activations_are_not_bounded() -> None:
    torch.manual_seed(0)
    generator = MlpGenerator(5, (8,), (12,))
    nn.init.constant_(generator.layers[-1].bias, -3.0)
    assert generator(torch.randn(4, 5)).mean().item() < -2


@pytest.mark.parametrize("size", [(8, 8), (15, 32), (32, 12)])
def test_images_too_small_for_a_critic(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"too small for a convolutional critic.*16x16"):
        ConvCritic(4, (1, *size))


def test_statistics_of_the_batch_leave_no_trace() -> None:
    batch, running = (ConvGenerator(5, 2, (1, 16, 16), which) for which in (False, True))
    assert not list(batch.buffers())
    before = {name: value.clone() for name, value in running.named_buffers()}
    running.eval()(torch.randn(8, 5))
    assert all(torch.equal(value, before[name]) for name, value in running.named_buffers())
    running.train()(torch.randn(8, 5))
    assert not torch.equal(
        running.get_buffer("layers.0.running_mean"), before["layers.0.running_mean"]
    )


def second_order(activation: nn.Module) -> list[Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 7), activation, nn.Linear(7, 1)).double()
    x = torch.randn(9, 5, dtype=torch.float64, requires_grad=True)
    y = network(x)
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (slope.square().sum() + y.square().sum()).backward()
    assert x.grad is not None
    gradients = [parameter.grad for parameter in network.parameters()]
    return [y.detach(), slope.detach(), x.grad, *(each for each in gradients if each is not None)]


def test_leaky_relu_is_pytorchs() -> None:
    for ours, theirs in zip(
        second_order(LeakyReLU(0.2)), second_order(nn.LeakyReLU(0.2)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
