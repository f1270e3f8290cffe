"""The flow is invertible, knows its volume change, and draws what it was shown."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from digits import digits, recognised
from torch import Tensor

from methods.core.rng import Rng
from methods.core.task import TensorExamples
from methods.core.training import Adam, Budget
from methods.memories import FlowConfig
from methods.memories.flow import Flow
from methods.memories.flow_layers import (
    ActNorm,
    AffineCoupling,
    Gaussianize,
    Permutation,
    Whitening,
)
from methods.memories.generator_network import Labelled
from methods.memories.neural import NeuralMemory


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(shape: tuple[int, ...], classes: int = 0, **options: Any) -> Flow:
    with Rng(0).scoped("flow"):
        return Flow(shape, classes, **options)


def trained(
    flow: Flow, x: Tensor, y: Tensor | None = None, steps: int = 60, lr: float = 5e-3
) -> Flow:
    """Train on random batches of items."""
    optimizers = {"generator": torch.optim.Adam(flow.parameters(), lr)}
    noise = seeded(1)
    flow.train()
    flow.initialise_from(x, seeded())
    for _ in range(steps):
        rows = torch.randint(len(x), (128,), generator=noise)
        batch = Labelled(x[rows], None if y is None else y[rows])
        flow.step(batch, None, 1.0, optimizers, noise)
    return flow.eval()


def correlated(n: int = 3000, dim: int = 6) -> tuple[Tensor, Tensor]:
    """Return normal items float ``[n, dim]`` and their covariance."""
    root = torch.randn(dim, dim, generator=seeded(3)) / 2 + torch.eye(dim)
    return torch.randn(n, dim, generator=seeded(4)) @ root.T, root @ root.T


@pytest.mark.parametrize("dim", [1, 2, 7, 16])
@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("levels", [1, 3])
def test_it_is_inverted_exactly(dim: int, classes: int, levels: int) -> None:
    x = 2 * torch.randn(500, dim, generator=seeded()) + 1
    y = torch.randint(classes, (500,), generator=seeded()) if classes else None
    flow = trained(made((dim,), classes, blocks=3, levels=levels), x, y, steps=20)
    with torch.no_grad():
        u, _ = flow(x, y)
        assert u.shape == x.shape
        assert (flow.inverse(u, y) - x).abs().max() < 1e-4
        assert (flow(flow.inverse(u, y), y)[0] - u).abs().max() < 1e-3


def started(whitening: Whitening) -> Whitening:
    whitening.double().start(correlated(dim=5)[0].double())
    return whitening


def jacobian(function: Any, x: Tensor) -> float:
    """Return log |det| of a function's Jacobian at one row, by autograd."""
    matrix = torch.autograd.functional.jacobian(lambda row: function(row[None])[0], x)
    return float(torch.linalg.slogdet(matrix)[1])


@pytest.mark.parametrize(
    "layer",
    [
        lambda: ActNorm(5),
        lambda: Permutation(5),
        lambda: started(Whitening(5)),
        lambda: AffineCoupling(5, 0, 2.0, 1),
        lambda: AffineCoupling(5, 3, 0.5, 0),
    ],
    ids=["act norm", "permutation", "whitening", "coupling", "conditional coupling"],
)
def test_log_determinant_of_each_layer(layer: Any) -> None:
    with Rng(1).scoped("layer"):
        part = layer().double()
        for parameter in part.parameters():
            parameter.data.normal_(0, 0.5)
    part.eval()
    x = torch.randn(4, 5, generator=seeded()).double()
    conditional = isinstance(part, AffineCoupling) and part.body[0].in_features == 5
    condition = torch.eye(3).double()[[0, 1, 2, 1]] if conditional else None
    change = part(x, condition)[1].expand(4)
    for i in range(4):
        one = None if condition is None else condition[i : i + 1]
        expected = jacobian(lambda row, one=one: part(row, one)[0], x[i])
        assert float(change[i]) == pytest.approx(expected, abs=1e-9)


def test_log_determinant_of_a_whole_flow_for_each_item() -> None:
    x, y = torch.randn(300, 7, generator=seeded()), torch.arange(300) % 3
    flow = trained(made((7,), 3, blocks=2), x, y, steps=30).double()
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        items, labels = x[:5].double(), y[:5]
        change = flow(items, labels)[1]
        for i in range(5):
            expected = jacobian(lambda row, i=i: flow(row, labels[i : i + 1])[0], items[i])
            # The whitening's axes are orthogonal to single precision.
            assert float(change[i]) == pytest.approx(expected, abs=1e-5)
    finally:
        torch.set_default_dtype(default)


def test_the_density_integrates_to_one() -> None:
    angle = 2 * math.pi * torch.rand(2000, generator=seeded())
    ring = torch.stack([angle.cos(), angle.sin()], 1)
    ring = ring + 0.2 * torch.randn(2000, 2, generator=seeded(1))
    flow = trained(made((2,), blocks=4, levels=1, hidden=16, jitter=0.0), ring, steps=150)
    side = torch.linspace(-4, 4, 201)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        density = (-flow.losses(grid, None, seeded())["nll"]).exp()
    assert float(density.sum()) * (8 / 200) ** 2 == pytest.approx(1.0, abs=0.03)


def test_the_loss_comes_down_to_the_entropy_of_a_normal_distribution() -> None:
    x, covariance = correlated()
    flow = trained(made((6,), blocks=4, jitter=0.0), x, steps=300)
    entropy = 0.5 * float(torch.logdet(2 * math.pi * math.e * covariance))
    with torch.no_grad():
        nll = float(flow.losses(x, None, seeded())["nll"].mean())
    assert entropy - 0.15 < nll < entropy + 0.2
    drawn = flow.draw(4000, None, seeded(5)).detach()
    assert (torch.cov(drawn.T) - covariance).abs().max() < 0.35 * covariance.abs().max()


def test_act_norm_starts_once_and_goes_on_where_it_was() -> None:
    layer, x = ActNorm(3), 3 * torch.randn(200, 3, generator=seeded()) + 5
    assert torch.equal(layer.eval()(x, None)[0], x)  # nothing has been seen yet
    y, _ = layer.train()(x, None)
    assert y.mean(0).abs().max() < 1e-5
    assert (y.std(0, correction=0) - 1).abs().max() < 1e-5
    other = ActNorm(3)
    other.load_state_dict(layer.state_dict())
    other.train()
    assert torch.equal(other(x + 100, None)[0], layer(x + 100, None)[0])
    assert other(x + 100, None)[0].mean() > 10


def test_whitening_makes_independent_units_of_the_first_items() -> None:
    x = correlated()[0] + 2 * torch.randn(3000, 6, generator=seeded(5))
    whitening = Whitening(6)
    whitening.start(x)
    white = whitening(x, None)[0]
    torch.testing.assert_close(white.T.cov(correction=0), torch.eye(6), rtol=0, atol=1e-4)
    torch.testing.assert_close(white.mean(0), torch.zeros(6), rtol=0, atol=1e-5)
    torch.testing.assert_close(whitening.inverse(white, None), x, rtol=0, atol=1e-4)


def test_whitened_draws_vary_as_much_as_narrow_items_do_soon() -> None:
    """Where few wide directions hide among many narrow ones, as in activations behind ReLUs."""
    factors = torch.randn(3000, 3, generator=seeded())
    loads = torch.randn(3, 60, generator=seeded(1))
    x = factors @ loads + 0.05 * torch.randn(3000, 60, generator=seeded(2))
    x = (x - x.mean(0)) / x.std(0)
    spread = {}
    for whiten in (True, False):
        flow = trained(made((60,), blocks=3, hidden=0.5, whiten=whiten), x, steps=60)
        spread[whiten] = float(flow.draw(2000, None, seeded(5)).detach().std(0).mean())
    assert spread[True] == pytest.approx(1.0, abs=0.15)
    assert spread[False] < 0.8


def test_permutations_are_part_of_the_state() -> None:
    one = made((9,), blocks=2)
    with Rng(7).scoped("another"):
        other = Flow((9,), blocks=2)
    x = torch.randn(5, 9, generator=seeded())
    assert not torch.equal(one(x)[0], other(x)[0])
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(x)[0], other(x)[0])


def test_an_item_s_loss_is_its_own() -> None:
    x = torch.randn(64, 8, generator=seeded())
    flow = trained(made((8,), blocks=2, jitter=0.0), x, steps=10)
    together = flow.losses(x, None, seeded())["nll"]
    alone = torch.cat([flow.losses(row[None], None, seeded())["nll"] for row in x])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_pixels_on_the_real_line() -> None:
    """Of each pixel p: z = logit(a + (1 − 2a)(255 p + u) / 256), and the log of dz / dp."""
    x, alpha = torch.tensor([[0.0, 1.0, 0.4]]), 0.05
    flow = made((1, 1, 3), blocks=1, levels=1)
    z, change = flow._spread(x, seeded(2))
    spread = torch.rand(1, 3, generator=seeded(2)).numpy().astype(float)
    inner = alpha + (1 - 2 * alpha) * (x.numpy().astype(float) * 255 + spread) / 256
    np.testing.assert_allclose(z.numpy(), np.log(inner / (1 - inner)), rtol=1e-4)
    slope = (1 - 2 * alpha) / (inner * (1 - inner))
    assert float(change) == pytest.approx(np.log(slope).sum(), rel=1e-4)


def test_drawn_pixels_are_bytes() -> None:
    drawn = made((1, 4, 4), blocks=2).eval().draw(20, None, seeded()).detach()
    assert drawn.shape == (20, 1, 4, 4)
    assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1
    torch.testing.assert_close(drawn * 255, (drawn * 255).round())


def test_silent_units_leave_the_loss_finite() -> None:
    x = torch.randn(500, 6, generator=seeded())
    x[:, :3] = 0
    flow = trained(made((6,), blocks=2), x, steps=200, lr=1e-2)
    with torch.no_grad():
        nll = flow.losses(x, None, seeded())["nll"]
        drawn = flow.draw(500, None, seeded())
    assert nll.isfinite().all()
    assert nll.mean() > -20
    assert drawn[:, :3].abs().mean() < 0.3


def memory(**options: Any) -> NeuralMemory:
    usual: dict[str, Any] = {"blocks": 3, "hidden": 1.0, "optimizer": Adam(lr=2e-3, reset="task")}
    config = FlowConfig(**usual | options)
    return NeuralMemory(config, 10, Budget(iterations=250, batch_size=64))


def test_conditional_draws_are_of_their_class() -> None:
    flow = memory(conditional=True)
    flow.absorb(digits(0, 1, 2, 3), 0, Rng(0).at(0))
    batch = flow.sample(400, seeded())
    assert batch.y is not None
    assert (recognised(batch.x) == batch.y).float().mean() > 0.8
    assert set(flow.sample(20, seeded(), classes=(3,)).y.tolist()) == {3}  # type: ignore[union-attr]


def test_what_is_over_is_rehearsed_or_forgotten() -> None:
    means = {0: -3.0, 1: 4.0}

    def task(index: int) -> TensorExamples:
        x = means[index] + torch.randn(600, 5, generator=seeded(index))
        return TensorExamples(x, torch.full((600,), index))

    shares = {}
    for rehearsed in (None, 0):
        flow = memory(replay_batch=rehearsed, clamp=False)
        for index in range(2):
            flow.absorb(task(index), index, Rng(0).at(index))
        drawn = flow.sample(1000, seeded()).x.mean(1)
        shares[rehearsed] = float((drawn < 0.5).float().mean())
    assert 0.3 < shares[None] < 0.7
    assert shares[0] < 0.1


def test_a_restored_memory_draws_the_same() -> None:
    flow = memory(conditional=True, iterations=5)
    flow.absorb(digits(4, 5), 0, Rng(0).at(0))
    other = memory(conditional=True, iterations=5)
    other.load_state_dict(flow.state_dict())
    one, same = flow.sample(9, seeded()), other.sample(9, seeded())
    assert torch.equal(one.x, same.x)
    assert one.y is not None
    assert torch.equal(one.y, same.y)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("dim", "hidden_layers", "published"), [(100, 1, 447_002), (200, 2, 2_152_602)]
)
def test_parameters_of_the_published_flow(dim: int, hidden_layers: int, published: int) -> None:
    """All of them, but for what the published code holds and never uses.

    That is a linear map in its last, constant layer, from a quarter of the dimensions to twice as
    many, and two scalars.
    """
    flow = made((dim,), 10, blocks=10, levels=2, hidden=2.0, hidden_layers=hidden_layers)
    ours = sum(parameter.numel() for parameter in flow.parameters())
    quarter = dim // 4
    assert ours + 2 * quarter * quarter + 2 == published
    assert isinstance(flow.last, Gaussianize)
    assert flow.last.weight is None
