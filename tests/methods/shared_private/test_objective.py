"""The loss of shared and private autoencoders, against hand-made and closed forms."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from torch.nn import functional

from methods.core.task import Batch, Scenario, StreamInfo
from methods.feedback import Code
from methods.shared_private import (
    Autoencoder,
    Objective,
    Past,
    Rehearsed,
    SharedPrivateNetwork,
    released_terms,
)

STREAM = StreamInfo(Scenario.TASK_INCREMENTAL, 3, (1, 8, 8), 6, ((0, 1), (2, 3), (4, 5)))
SCALE, BETA = 0.3, 0.7


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def network() -> SharedPrivateNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SharedPrivateNetwork(STREAM, "relu", noise_rows=7)
    network.learn_only(2)
    return network


@pytest.fixture
def batch() -> Batch:
    x = torch.randint(256, (7, 1, 8, 8), generator=generator(1), dtype=torch.uint8)
    return Batch(x, torch.tensor([4, 5, 5, 4, 4, 5, 4]))


@pytest.fixture
def old(network: SharedPrivateNetwork) -> Rehearsed:
    return Past(network, STREAM, 2).rehearse(3, generator(2))


def objective(network: SharedPrivateNetwork, **options: Any) -> Objective:
    return Objective(
        **{
            "network": network,
            "scale": SCALE,
            "beta": BETA,
            "through": "own",
            "replay_loss": "1/t",
            **options,
        }
    )


def test_a_bound_is_summed_over_pixels_and_over_latents() -> None:
    x = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]], [[[1.0, 1.0], [1.0, 1.0]]]])
    code = Code(*(torch.tensor([[1.0, -2.0], [0.0, 0.0]]), torch.zeros(2, 2), torch.empty(0)))
    bound = Autoencoder.bound(x, torch.ones_like(x), code)
    assert bound.reconstruction.tolist() == [1 + 0 + 1 + 4, 0]
    assert bound.divergence.tolist() == [2.5, 0]


def test_the_divergence_and_its_gradient_are_those_of_two_normals() -> None:
    mean = torch.randn(5, 4, generator=generator(0)).requires_grad_()
    log_variance = torch.randn(5, 4, generator=generator(1)).requires_grad_()
    image = torch.zeros(5, 1, 2, 2)
    divergence = Autoencoder.bound(image, image, Code(mean, log_variance, mean)).divergence
    normals = Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(4), torch.ones(4))
    torch.testing.assert_close(divergence, kl_divergence(*normals).sum(1))
    divergence.mean().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(mean.grad, mean.detach() / 5)
    torch.testing.assert_close(log_variance.grad, (log_variance.detach().exp() - 1) / 10)


def test_a_batch_twice_as_large_has_the_same_loss(network: SharedPrivateNetwork) -> None:
    """As released, its divergence is twice as large."""
    x = torch.randint(256, (3, 1, 8, 8), generator=generator(1), dtype=torch.uint8)
    small, large = (Batch(x.repeat(n, 1, 1, 1), torch.tensor([4, 5, 5] * n)) for n in (1, 2))
    network.eps.zero_()
    ratio = {}
    for name in ("shared_divergence", "private_divergence", "new"):
        terms = [objective(network).terms(b, 2, generator(0))[name] for b in (small, large)]
        published = [released_terms(network, b, 2)[name] for b in (small, large)]
        if name != "new":  # which is that of a noisy code
            torch.testing.assert_close(*terms)
        ratio[name] = (published[1] / published[0]).item()
    expected = {"shared_divergence": 2.0, "private_divergence": 2.0, "new": 1.0}
    assert ratio == pytest.approx(expected, rel=1e-5)


def by_hand(
    network: SharedPrivateNetwork, x: Tensor, y: Tensor, part: Autoencoder, noise: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """What is classified, squared errors and divergences of one autoencoder."""
    mean, log_variance = part.encoder(x).chunk(2, 1)
    z = mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=noise)
    told, silent = (torch.cat([z, c], 1) for c in (torch.eye(6)[y], torch.zeros(len(y), 6)))
    aware, unaware = (part.decoder(each.view(*each.shape, 1, 1)) for each in (told, silent))
    normals = Normal(mean, (log_variance / 2).exp()), Normal(torch.zeros(1), torch.ones(1))
    return unaware, ((aware - x) ** 2).sum((1, 2, 3)), kl_divergence(*normals).sum(1)


def test_a_step_of_the_third_task_is_written_out(
    network: SharedPrivateNetwork, batch: Batch, old: Rehearsed
) -> None:
    """A third of the new loss and two thirds of the replayed one, through the draws' own heads."""
    terms, noise = objective(network).terms(batch, 2, generator(3), old), generator(3)
    assert batch.y is not None
    x, y = torch.cat([batch.x, old.x]), torch.cat([batch.y, old.y])
    x = (x / 255 - 0.1307) / 0.3081
    shared, error, divergence = by_hand(network, x, y, network.shared, noise)
    private, own_error, own_divergence = by_hand(
        network, x[:7], batch.y, network.private_of(2), noise
    )
    logits = network.heads[2](torch.cat([shared[:7], private], 1))
    replayed = []
    for task, rows in ((0, slice(7, 13)), (1, slice(13, 19))):
        images = torch.cat([shared[rows], old.private[rows.start - 7 : rows.stop - 7]], 1)
        two = network.heads[task](images)[:, 2 * task : 2 * task + 2]
        replayed.append(functional.cross_entropy(two, y[rows] - 2 * task, reduction="sum"))
    new, past = 1 / 3, 2 / 3
    expected = {
        "new": new * functional.cross_entropy(logits[:, 4:], batch.y - 4),
        "shared_reconstruction": new * SCALE * error[:7].mean(),
        "shared_divergence": new * SCALE * BETA * divergence[:7].mean(),
        "private_reconstruction": new * SCALE * own_error.mean(),
        "private_divergence": new * SCALE * BETA * own_divergence.mean(),
        "replay": past * torch.stack(replayed).sum() / 12,
        "replay_shared_reconstruction": past * SCALE * error[7:].mean(),
        "replay_shared_divergence": past * SCALE * BETA * divergence[7:].mean(),
    }
    assert terms.keys() == expected.keys()
    for name, term in expected.items():
        torch.testing.assert_close(terms[name], term, msg=name)


def test_published_replay_asks_the_head_at_hand_for_old_classes(
    network: SharedPrivateNetwork, batch: Batch, old: Rehearsed
) -> None:
    terms = objective(network, through="current", replay_loss=0.5).terms(
        batch, 2, generator(3), old
    )
    noise = generator(3)
    assert batch.y is not None
    y = torch.cat([batch.y, old.y])
    x = (torch.cat([batch.x, old.x]) / 255 - 0.1307) / 0.3081
    shared, *_ = by_hand(network, x, y, network.shared, noise)
    private, error, _ = by_hand(network, x, y, network.private_of(2), noise)
    logits = network.heads[2](torch.cat([shared, private], 1))
    torch.testing.assert_close(terms["new"], functional.cross_entropy(logits[:7], y[:7]) / 2)
    torch.testing.assert_close(terms["replay"], functional.cross_entropy(logits[7:], y[7:]) / 2)
    replayed = terms["replay_private_reconstruction"]
    torch.testing.assert_close(replayed, SCALE * error[7:].mean() / 2)


def test_as_released_a_head_chooses_among_the_classes_of_all_tasks(
    network: SharedPrivateNetwork, batch: Batch
) -> None:
    assert batch.y is not None
    logits = network(batch.x, 2, network.condition(batch.y), network.noise(7))
    among_all = functional.cross_entropy(logits, batch.y)
    torch.testing.assert_close(released_terms(network, batch, 2)["new"], among_all)
    assert among_all > functional.cross_entropy(logits[:, 4:], batch.y - 4) + 0.1


@pytest.mark.parametrize("through", ["own", "current"])
def test_a_step_waits_for_no_device(through: str, network: SharedPrivateNetwork) -> None:
    """A device without values: whoever looks at one fails."""
    network.to("meta")
    old = Past(network, STREAM, 2).rehearse(3, generator(2))
    x = torch.empty(7, 1, 8, 8, dtype=torch.uint8, device="meta")
    batch = Batch(x, torch.empty(7, dtype=torch.int64, device="meta"))
    terms = objective(network, through=through).terms(batch, 2, generator(3), old)
    assert all(term.shape == () for term in terms.values())


@pytest.mark.parametrize("through", ["own", "current"])
def test_no_label_reaches_what_is_classified(
    through: str, network: SharedPrivateNetwork, batch: Batch, old: Rehearsed
) -> None:
    """What a decoder makes of a class may change at will: only the bounds see it."""
    loss = objective(network, through=through)
    before = loss.terms(batch, 2, generator(3), old)
    with torch.no_grad():
        for part in (network.shared, network.private_of(2)):
            first = part.decoder[0].weight
            assert isinstance(first, Tensor)
            first[part.dim :] += 1.0
    after = loss.terms(batch, 2, generator(3), old)
    for name in before:
        same = torch.equal(before[name], after[name])
        assert same == ("reconstruction" not in name), name


def test_replay_teaches_the_shared_autoencoder_and_leaves_old_tasks_alone(
    network: SharedPrivateNetwork, batch: Batch, old: Rehearsed
) -> None:
    terms = objective(network).terms(batch, 2, generator(3), old)
    replay = [term for name, term in terms.items() if name.startswith("replay")]
    torch.stack(replay).sum().backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.any() for p in network.shared.parameters())
    others = [*network.private.parameters(), *network.heads.parameters()]
    assert not any(p.grad is not None and p.grad.any() for p in others)
