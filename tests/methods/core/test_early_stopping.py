"""Early stopping looks at validation data only, stops in time, and restores the best weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from methods.core.early_stopping import BestWeights, EarlyStopping
from methods.core.rng import Rng
from methods.core.task import Scenario, StreamInfo, Task, TensorExamples
from methods.core.training import Budget
from methods.naive import Naive

SHAPE = (1, 4, 4)


def examples(n: int, seed: int, noise: float = 0.0) -> TensorExamples:
    """Two classes: bright at the top, or at the bottom."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = torch.randint(100, (n, *SHAPE), generator=generator, dtype=torch.uint8)
    for label in (0, 1):
        x[y == label, :, 2 * label : 2 * label + 2] += 100
    wrong = torch.rand(n, generator=generator) < noise
    return TensorExamples(x, torch.where(wrong, 1 - y, y))


class Watched(Naive):
    """Counts passes, and keeps the weights and the accuracy after each."""

    def before_task(self, task: Task) -> None:
        self.passes = 0
        self.seen: list[tuple[float, torch.Tensor]] = []

    def before_epoch(self, task: Task, epoch: int) -> None:
        assert epoch == self.passes
        self.passes += 1

    def _validation_accuracy(self, task: Task) -> float:
        accuracy = super()._validation_accuracy(task)
        self.seen.append((accuracy, self.network.head.weight.detach().clone()))
        return accuracy


def learnt(noise: float = 0.0, validation: int = 20, **stopping: Any) -> Watched:
    budget = Budget(epochs=30, batch_size=8, early_stopping=EarlyStopping(**stopping))
    config = Naive.Config.model_validate(
        {"network": {"name": "mlp", "widths": [16]}, "optimizer": {"name": "adam", "lr": 0.01}}
    ).model_copy(update={"budget": budget})
    stream = StreamInfo(Scenario.DOMAIN_INCREMENTAL, 1, SHAPE, 2, ((0, 1),))
    method = Watched(config, stream, Rng(0))
    held_out = examples(validation, 1, noise) if validation else None
    method.learn(Task(0, (0, 1), examples(40, 0), held_out))
    return method


@pytest.mark.parametrize("patience", [1, 3])
def test_it_stops_after_so_many_passes_without_a_rise(patience: int) -> None:
    method = learnt(patience=patience)
    accuracies = [accuracy for accuracy, _ in method.seen]
    best = accuracies.index(max(accuracies))
    assert max(accuracies) > 0.9
    assert method.passes == len(accuracies) == best + 1 + patience < 30


def test_the_weights_of_the_best_pass_come_back() -> None:
    method = learnt(noise=0.3, patience=4)
    best = max(accuracy for accuracy, _ in method.seen)
    weights = next(weights for accuracy, weights in method.seen if accuracy == best)
    assert torch.equal(method.network.head.weight, weights)
    assert not torch.equal(method.network.head.weight, method.seen[-1][1])


def test_a_rise_must_exceed_the_margin() -> None:
    network = torch.nn.Linear(1, 1)
    best = BestWeights(EarlyStopping(patience=2, min_delta=0.1), network)
    assert [best.no_longer_rises(a) for a in (0.5, 0.55, 0.7, 0.75, 0.78)] == [
        False,
        False,
        False,
        False,
        True,
    ]
    assert best.best == 0.7


def test_without_validation_data_it_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"validation: 0\.1"):
        learnt(validation=0)


def test_validation_accuracy_is_that_of_predict() -> None:
    method = learnt(patience=1)
    held_out = examples(20, 1)
    batch = held_out.gather(torch.arange(20))
    predicted = method.predict(batch.x).argmax(1)
    assert batch.y is not None
    assert max(a for a, _ in method.seen) == float(predicted.eq(batch.y).float().mean())
