"""The upper bound sees all data, and each as what it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from methods.core.early_stopping import EarlyStopping
from methods.core.rng import Rng
from methods.core.task import Batch, Scenario, StreamInfo, Task, TaskClosed, TensorExamples
from methods.joint import Joint, PastAndPresent
from methods.memories.buffer import Buffer
from methods.naive import Naive

SIZES = (5, 9, 4)
CLASSES_OF = ((0, 1), (2, 3), (4, 5))


def make_task(index: int) -> Task:
    """Images of task t hold nothing but 20 t + their number."""
    n = SIZES[index]
    numbers = 20 * index + torch.arange(n)
    y = torch.tensor(CLASSES_OF[index])[torch.arange(n) % 2]
    x = numbers.to(torch.uint8).view(n, 1, 1, 1).expand(n, 1, 2, 2)
    return Task(index, CLASSES_OF[index], TensorExamples(x, y))


class Listening(Joint):
    """Writes down what it trains on."""

    def before_task(self, task: Task) -> None:
        self.shown: list[Batch] = []

    def loss_terms(self, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        self.shown.append(batch)
        return super().loss_terms(batch, logits)


def make(
    method: Any = Listening, scenario: Scenario = Scenario.TASK_INCREMENTAL, **budget: int
) -> Any:
    config = method.Config.model_validate(
        {
            "network": {"name": "mlp", "widths": [4]},
            "budget": {"batch_size": 4} | (budget or {"epochs": 1}),
        }
    )
    return method(config, StreamInfo(scenario, 3, (1, 2, 2), 6, CLASSES_OF), Rng(0))


def test_union_is_past_and_present() -> None:
    past = Buffer()
    past.absorb(make_task(0).train, 0, Rng(0))
    union = PastAndPresent(past, make_task(1).train, 1)
    assert len(union) == 14
    batch = union.gather(torch.arange(14))
    assert batch.x[:, 0, 0, 0].tolist() == [*range(5), *range(20, 29)]
    assert batch.task is not None
    assert batch.task.tolist() == [0] * 5 + [1] * 9
    assert batch.y is not None
    assert batch.y.tolist() == [0, 1, 0, 1, 0, 2, 3, 2, 3, 2, 3, 2, 3, 2]


@pytest.mark.parametrize("rows", [[13, 0, 5, 4, 0], [1, 2], [7], []])
def test_union_rows_stay_together(rows: list[int]) -> None:
    """Rows come in the order asked for, each with the label and the task of its image."""
    past = Buffer()
    past.absorb(make_task(0).train, 0, Rng(0))
    union = PastAndPresent(past, make_task(1).train, 1)
    whole, batch = union.gather(torch.arange(14)), union.gather(torch.tensor(rows).long())
    numbers = whole.x[:, 0, 0, 0].tolist()
    drawn = batch.x[:, 0, 0, 0].tolist()
    assert drawn == [numbers[row] for row in rows]
    for name in ("y", "task"):
        of = dict(zip(numbers, getattr(whole, name).tolist(), strict=True))
        assert getattr(batch, name).tolist() == [of[number] for number in drawn]


def test_as_many_steps_as_fine_tuning_drawn_from_everything_so_far() -> None:
    method = make()
    for index in range(3):
        method.learn(make_task(index))
        drawn = torch.cat([batch.x[:, 0, 0, 0] for batch in method.shown]).tolist()
        everything = [20 * task + i for task in range(index + 1) for i in range(SIZES[task])]
        assert len(method.shown) == method.config.budget.steps(SIZES[index])
        assert set(drawn) <= set(everything)
        one_pass = drawn[: len(everything)]
        assert len(set(one_pass)) == len(one_pass)
        assert len(method.memory) == len(everything)


def test_every_row_is_scored_among_the_classes_of_its_task() -> None:
    method = make()
    method.learn(make_task(0))
    method.learn(make_task(1))
    mixed = next(batch for batch in method.shown if len(set(batch.task.tolist())) == 2)
    logits = torch.randn(len(mixed.x), 6, generator=torch.Generator().manual_seed(0))
    loss = method.loss_terms(mixed, logits)["new"]
    own = [
        -logits[i, list(CLASSES_OF[task])].log_softmax(0)[label - 2 * task]
        for i, (task, label) in enumerate(zip(mixed.task.tolist(), mixed.y.tolist(), strict=True))
    ]
    torch.testing.assert_close(loss, torch.stack(own).mean())


def test_first_task_is_that_of_fine_tuning() -> None:
    joint, naive = make(Joint, iterations=7), make(Naive, iterations=7)
    for method in (joint, naive):
        method.learn(make_task(0))
    for mine, theirs in zip(joint.network.parameters(), naive.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_all_data_are_counted() -> None:
    method = make()
    for index in range(3):
        method.learn(make_task(index))
    pixels, label, task, priority = 4, 2, 2, 4
    assert method.bytes_kept()["memory"] == sum(SIZES) * (pixels + label + task + priority)


def test_the_tasks_themselves_are_closed() -> None:
    method, task = make(), make_task(0)
    method.learn(task)
    with pytest.raises(TaskClosed):
        task.train.gather(torch.arange(1))


def test_early_stopping_looks_at_validation_data_of_all_tasks() -> None:
    """The upper bound must not stop when the newest task alone is learnt."""
    method, seen = make(epochs=1), []
    budget = method.config.budget.model_copy(update={"early_stopping": EarlyStopping()})
    method.config = method.config.model_copy(update={"budget": budget})
    for index in range(2):
        task = Task(index, CLASSES_OF[index], make_task(index).train, make_task(index).train)
        examples = method.validation_examples(task)
        seen.append(examples.gather(torch.arange(len(examples))).x[:, 0, 0, 0].tolist())
        method.learn(task)
    assert seen == [[*range(5)], [*range(5), *range(20, 29)]]
    again = make(epochs=1)
    again.load_state_dict(method.state_dict())
    assert len(again.held_out) == 14
