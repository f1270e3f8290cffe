"""What is drawn of past tasks."""

from __future__ import annotations

import pytest
import torch

from methods.core.learnt import Wanted
from methods.core.task import Batch, Scenario, StreamInfo, TensorExamples
from methods.core.training import Budget
from methods.shared_private import Past, Prepended, SharedPrivateNetwork, released_batches

STREAM = StreamInfo(Scenario.TASK_INCREMENTAL, 3, (3, 8, 8), 5, ((3, 1), (0, 2, 3), (4,)))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def past() -> Past:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Past(SharedPrivateNetwork(STREAM), STREAM, 2)


def test_an_image_goes_in_and_comes_out_again() -> None:
    x = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    assert torch.equal(SharedPrivateNetwork.leave(SharedPrivateNetwork.enter(x)), x)
    beyond = torch.tensor([-9.0, 9.0])
    assert SharedPrivateNetwork.leave(beyond).tolist() == [0, 255]


def test_draws_are_those_of_their_own_tasks_decoders(past: Past) -> None:
    """Class 3 occurs in two tasks, and is drawn by both."""
    wanted = Wanted(torch.tensor([3, 3, 0, 1]), torch.tensor([1, 0, 1, 0]))
    batch = past.draw(wanted, generator(4))
    assert batch.y is not None
    assert batch.task is not None
    assert torch.equal(batch.y, wanted.y)
    assert torch.equal(batch.task, wanted.task)
    z = torch.randn(4, past.network.shared.dim, generator=generator(4))
    for row, (label, task) in enumerate(zip(*wanted, strict=True)):
        given = torch.cat([z[row], torch.eye(5)[label]]).view(1, -1, 1, 1)
        pixels = past.network.private_of(task).decoder(given)[0] * 0.3081 + 0.1307
        expected = (pixels.clamp(0, 1) * 255).round()
        assert (batch.x[row].float() - expected).abs().max() <= 1  # where it lies between two
    assert batch.x.shape == (4, 3, 8, 8)


def test_every_class_of_every_past_task_is_rehearsed_as_often(past: Past) -> None:
    old = past.rehearse(2, generator(0))
    assert old.y.tolist() == [3, 3, 1, 1, 0, 0, 2, 2, 3, 3]
    assert old.rows == {0: slice(0, 4), 1: slice(4, 10)}
    network = past.network
    for task, rows in old.rows.items():
        part = network.private_of(task)
        mean = part.encode(network.enter(old.x[rows])).mean
        expected = part.decode(mean, torch.zeros(len(mean), 5))
        torch.testing.assert_close(old.private[rows], expected)
    assert not old.private.requires_grad
    asked = past.draw(past.learnt.each(2), generator(0))
    assert torch.equal(old.x, asked.x)


def test_released_batches_come_in_stored_order_and_drop_what_is_over() -> None:
    budget = Budget(epochs=2, batch_size=3)
    assert [b.tolist() for b in released_batches(budget, 8, 4)] == [[0, 1, 2], [3, 4, 5]] * 2
    assert [b.tolist() for b in released_batches(budget, 2, 2)] == [[0, 1]] * 2


def test_draws_stand_before_the_examples_of_the_task() -> None:
    old, new = (torch.full((n, 1, 4, 4), n, dtype=torch.uint8) for n in (2, 3))
    present = TensorExamples(new, torch.tensor([5, 6, 7]))
    both = Prepended(Batch(old, torch.tensor([8, 9])), present)
    assert len(both) == 5
    batch = both.gather(torch.tensor([1, 2, 4]))
    assert batch.y is not None
    assert batch.y.tolist() == [9, 5, 7]
    assert batch.x[:, 0, 0, 0].tolist() == [2, 3, 3]
