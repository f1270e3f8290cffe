"""Stored images: as many of each task, and what becomes of them."""

from __future__ import annotations

import pytest
import torch
from tiny import TASKS, learnt, make, make_task

from methods.core.episodic import Episodic
from methods.core.rng import Rng
from methods.core.task import Task
from methods.naive import Naive


class Noting(Episodic):
    """Writes down what it has of the past at the start of each task."""

    def before_task(self, task: Task) -> None:
        super().before_task(task)
        self.seen = self.past


def test_each_task_has_an_equal_share_that_never_changes() -> None:
    learner, first = make(Episodic, buffer_size=23), None
    for index in range(TASKS):
        task = make_task(index)
        all_of_it = task.train.gather(torch.arange(len(task.train)))
        learner.learn(task)
        memory = learner.memory
        assert memory.task.tolist() == [k for k in range(index + 1) for _ in range(23 // TASKS)]
        numbers = memory.x[memory.task == index][:, 0, 0, 1].long()
        assert len(numbers.unique()) == 5
        assert sorted(numbers.tolist()) != list(range(5))  # any of the task's, not its first
        assert torch.equal(memory.x[memory.task == index], all_of_it.x[numbers])
        assert torch.equal(memory.y[memory.task == index].long(), all_of_it.y[numbers])
        first = memory.x[:5].clone() if first is None else first
        assert torch.equal(memory.x[:5], first)
    assert learner.bytes_kept()["memory"] == 20 * (9 + 2 + 2 + 4)  # image, label, task, priority
    assert learner.sample(4, task=1).y.unique().tolist() == [2, 3]


def test_a_small_task_is_stored_whole() -> None:
    learner = make(Episodic, buffer_size=40)
    learner.learn(make_task(0, n=7))
    assert sorted(learner.memory.x[:, 0, 0, 1].tolist()) == list(range(7))


def test_an_image_for_each_task_is_the_least() -> None:
    assert make(Episodic, buffer_size=4).share == 1
    with pytest.raises(ValueError, match="buffer_size 3 has no image for each of 4 tasks"):
        make(Episodic, buffer_size=3)


def test_the_past_is_there_from_the_second_task_on_and_behind_what_is_frozen() -> None:
    for frozen, shape in ((0, (7, 1, 3, 3)), (1, (7, 8))):
        learner = learnt(Noting, 1, freeze_depth=frozen)
        assert learner.seen is None
        learner.learn(make_task(1))
        assert learner.seen.x.shape == shape
        assert learner.past is None
        torch.testing.assert_close(learner.seen.x, learner.encode(learner.memory.x[:7], frozen))


def test_draws_are_without_replacement_and_differ() -> None:
    learner = learnt(Noting, 1)
    learner.before_task(make_task(1))
    one, other = learner.drawn(20, 8), learner.drawn(20, 8)
    assert len(set(one.tolist())) == 8
    assert one.tolist() != other.tolist()
    assert sorted(learner.drawn(5, 8).tolist()) == list(range(5))


def test_storing_images_is_no_training() -> None:
    """The weights are those of fine-tuning."""
    learner = make(Episodic)
    naive = Naive(learner.config, learner.stream, Rng(0))
    for index in range(2):
        learner.learn(make_task(index))
        naive.learn(make_task(index))
    torch.testing.assert_close(
        learner.network.state_dict(), naive.network.state_dict(), rtol=0, atol=0
    )
