"""A flow over embeddings and a decoder draw what they were shown, and forget nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from digits import digits, recognised
from torch import Tensor

from methods.core.rng import Rng
from methods.core.task import TensorExamples
from methods.core.training import Budget
from methods.memories.buffer import Buffer
from methods.memories.flow_layers import ActNorm
from methods.networks import Mlp
from methods.pseudo_rehearsal import AutoencoderConfig, EmbeddingFlowConfig, EmbeddingGenerator
from methods.pseudo_rehearsal import generator as module
from methods.pseudo_rehearsal.condition import Condition, EmbeddingFlow
from methods.pseudo_rehearsal.training import Mixture


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(autoencoder: Any = None, flow: Any = None, **options: Any) -> EmbeddingGenerator:
    with Rng(0).scoped("initialisation"):
        backbone = Mlp(widths=(48,)).build((1, 8, 8)).eval()
    return EmbeddingGenerator(
        backbone,
        AutoencoderConfig(**({"iterations": 5} | (autoencoder or {}))),
        EmbeddingFlowConfig(**({"iterations": 5, "blocks": 1, "levels": 1} | (flow or {}))),
        10,
        Budget(iterations=5, batch_size=64),
        torch.device("cpu"),
        Rng(0).of("memory"),
        **options,
    )


def well(**options: Any) -> EmbeddingGenerator:
    trained: dict[str, Any] = {"iterations": 250, "lr": 4e-3}
    flow = trained | {"blocks": 3, "levels": 2, "hidden": 1.0}
    return made(trained | {"dim": 16}, flow, **options)


def right(generator: EmbeddingGenerator, *classes: int) -> float:
    """Share of draws of some classes that a logistic regression takes for what they should be."""
    batch = generator.sample(300, seeded(), classes=classes)
    assert batch.y is not None
    return float((recognised(batch.x) == batch.y).float().mean())


@pytest.fixture(scope="module")
def one() -> EmbeddingGenerator:
    generator = well()
    generator.absorb(digits(0, 1, 2), 0, Rng(0).at(0))
    return generator


def test_draws_are_of_their_class(one: EmbeddingGenerator) -> None:
    assert right(one, 0, 1, 2) > 0.8
    batch = one.sample(6, seeded(), classes=(2,))
    assert batch.x.shape == (6, 1, 8, 8)
    assert batch.x.dtype == torch.uint8
    assert batch.y.tolist() == [2] * 6  # type: ignore[union-attr]
    assert batch.task.tolist() == [0] * 6  # type: ignore[union-attr]


def test_a_restored_generator_draws_the_same(one: EmbeddingGenerator) -> None:
    """Permutations, scales of the first batch and the embeddings' statistics are saved."""
    other = well()
    for part in (other.autoencoder, other.flow):
        for value in part.state_dict().values():
            value.copy_(value.flatten().flip(0).view_as(value))
    other.load_state_dict(one.state_dict())
    same = other.sample(20, seeded())
    assert torch.equal(same.x, one.sample(20, seeded()).x)


def test_embeddings_are_standardised_by_their_own_statistics(one: EmbeddingGenerator) -> None:
    x = one._embedded(digits(0, 1, 2)).x
    standard = one.units.enter(x)
    assert standard.mean(0).abs().max() < 1e-3
    assert 0.5 < float(standard.std(0).mean()) < 1.01
    torch.testing.assert_close(one.units.leave(standard), x, rtol=1e-3, atol=1e-3)


def past_of(generator: EmbeddingGenerator, n: int = 400) -> Buffer:
    held = Buffer()
    held.put(generator.sample(n, seeded(7)))
    return held


def test_what_is_over_is_rehearsed_or_forgotten(one: EmbeddingGenerator) -> None:
    shares = {}
    for name, past in (("rehearsed", past_of(one)), ("alone", None)):
        generator = well()
        generator.load_state_dict(one.state_dict())
        generator.past = past
        generator.absorb(digits(5, 6, 7), 1, Rng(0).at(1))
        shares[name] = right(generator, 0, 1, 2), right(generator, 5, 6, 7)
    assert shares["rehearsed"][0] > 0.6 > shares["alone"][0] + 0.1
    assert min(new for _, new in shares.values()) > 0.6


@pytest.mark.parametrize(
    ("classes_of", "share"),
    [
        (((0, 1, 2), (5,)), 1 / 4),
        (((0, 1), (2, 3, 4), (5, 6, 7)), 3 / 8),
        (((0, 1, 2), (0, 1, 2)), 1 / 2),  # other images of the same classes
        (((0, 1), (1, 2), (1,)), 1 / 5),
    ],
)
def test_an_image_is_of_the_task_as_often_as_it_has_classes(
    classes_of: tuple[tuple[int, ...], ...], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[bool, float]] = []

    class Noting(Mixture):
        def __init__(self, new: Any, old: Any, share: float, draws: torch.Generator) -> None:
            super().__init__(new, old, share, draws)
            given.append((old is not None, share))

    monkeypatch.setattr(module, "Mixture", Noting)
    generator = made({"iterations": 1}, {"iterations": 1})
    for task, classes in enumerate(classes_of):
        generator.past = past_of(generator, 20) if task else None
        generator.absorb(digits(*classes), task, Rng(0).at(task))
    assert given[:2] == [(False, 1.0)] * 2
    assert given[-2:] == [(True, share)] * 2  # of the autoencoder, and of the flow


def test_statistics_are_those_of_the_task_and_of_the_past_as_they_are_now() -> None:
    generator = made()
    generator.absorb(digits(0, 1), 0, Rng(0).at(0))
    past = past_of(generator, 150)
    generator.past = past
    generator.absorb(digits(5, 6), 1, Rng(0).at(1))
    x = torch.cat([generator._embedded(some).x for some in (digits(5, 6), past)])
    assert generator.units.count == len(x)
    for found, expected in ((generator.units.mean, x.mean(0)), (generator.units.low, x.amin(0))):
        assert found is not None
        torch.testing.assert_close(found, expected)


def test_flow_goes_on_and_its_scales_start_once() -> None:
    generator = made()
    generator.absorb(digits(0, 1), 0, Rng(0).at(0))
    norms = [m for m in generator.flow.modules() if isinstance(m, ActNorm)]
    assert all(bool(norm.started) for norm in norms)
    before = norms[0].mean.detach().clone()
    shifted = digits(0, 1).gather(torch.arange(300))
    generator.absorb(TensorExamples(255 - shifted.x, shifted.y + 2), 1, Rng(0).at(1))  # type: ignore[operator]
    assert float((norms[0].mean.detach() - before).abs().max()) < 0.02  # five steps of Adam at 1e-3


def test_as_released_the_decoder_learns_the_new_task_alone() -> None:
    def decoder(past: Buffer | None, rehearse: bool) -> Tensor:
        generator = made(rehearse_decoder=rehearse)
        generator.past = past
        generator.absorb(digits(3, 4), 0, Rng(0).at(0))
        return generator.autoencoder.projector.weight.detach().clone()

    held = Buffer()
    held.put(digits(0, 1).gather(torch.arange(50)))
    # In a first task every class is new: nothing is replaced, and the share of the past is 0.
    assert torch.equal(decoder(held, True), decoder(None, True))
    first = made(rehearse_decoder=False)
    both = made()
    weights = []
    for generator in (first, both):
        generator.absorb(digits(0, 1), 0, Rng(0).at(0))
        generator.past = held
        generator.absorb(digits(3, 4), 1, Rng(0).at(1))
        weights.append(generator.autoencoder.projector.weight.detach())
        assert generator.past is None
    alone = made()
    alone.absorb(digits(0, 1), 0, Rng(0).at(0))
    alone.absorb(digits(3, 4), 1, Rng(0).at(1))
    assert torch.equal(weights[0], alone.autoencoder.projector.weight.detach())
    assert not torch.equal(weights[1], weights[0])


@pytest.mark.parametrize(
    ("dim", "hidden_layers", "published"), [(100, 1, 447_002), (200, 2, 2_152_602)]
)
def test_parameters_of_the_published_flow(dim: int, hidden_layers: int, published: int) -> None:
    """All of them, but for a linear map and two scalars that the published code never uses."""
    config = EmbeddingFlowConfig(hidden_layers=hidden_layers)
    flow = EmbeddingFlow(dim, Condition(10, "one-hot"), config)
    ours = sum(parameter.numel() for parameter in flow.parameters())
    assert ours + 2 * (dim // 4) ** 2 + 2 == published


@pytest.mark.parametrize("kind", ["one-hot", "embedding", "none"])
def test_the_flow_is_inverted_under_its_condition(kind: Any) -> None:
    with Rng(0).scoped("flow"):
        flow = EmbeddingFlow(7, Condition(4, kind), EmbeddingFlowConfig(blocks=2)).double()
        for parameter in flow.parameters():
            torch.nn.init.normal_(parameter, 0, 0.3)
    y = torch.arange(50) % 4
    x = torch.randn(50, 7, generator=seeded()).double()
    torch.set_default_dtype(torch.float64)
    try:
        u, _ = flow(x, y)
        torch.testing.assert_close(flow.inverse(u, y), x)
        other = flow(x, (y + 1) % 4)[0]
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.allclose(other, u) == (kind == "none")
