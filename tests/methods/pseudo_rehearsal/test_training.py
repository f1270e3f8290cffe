"""Mixing the task with the past, and when training ends."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from methods.core.log import SILENT, SilentLog
from methods.core.rng import Rng
from methods.core.task import Batch, TensorExamples
from methods.core.training import Budget, Diverged
from methods.pseudo_rehearsal.config import EmbeddingFlowConfig, TrainingConfig
from methods.pseudo_rehearsal.training import Mixture, train


def examples(value: float, n: int) -> TensorExamples:
    return TensorExamples(torch.full((n, 2), value), torch.full((n,), int(value)))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_each_row_is_of_the_task_with_a_fixed_probability() -> None:
    mixture = Mixture(examples(1.0, 50), examples(7.0, 9), 0.25, seeded())
    batch = mixture.gather(torch.arange(8000) % 50)
    assert len(mixture) == 50
    assert float((batch.x[:, 0] == 1).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert torch.equal(batch.x[:, 0].long(), batch.y)


def test_without_a_past_rows_are_those_asked_for() -> None:
    new = TensorExamples(torch.arange(20.0).view(10, 2), torch.arange(10))
    for old, share in ((None, 0.3), (examples(7.0, 9), 1.0)):
        batch = Mixture(new, old, share, seeded()).gather(torch.tensor([4, 0]))
        assert batch.x.tolist() == [[8, 9], [0, 1]]
        assert batch.y.tolist() == [4, 0]  # type: ignore[union-attr]


class Scripted(nn.Module):
    """A part whose loss is as written, step by step."""

    def __init__(self, *losses: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.losses = list(losses)
        self.steps = 0

    def loss(self, batch: Batch) -> Tensor:
        value = self.losses[min(self.steps, len(self.losses) - 1)]
        self.steps += 1
        return value + 0 * self.weight.sum()


def steps(part: Scripted, log: Any = SILENT, **options: Any) -> int:
    """Train on 10 items in batches of 5: two steps a pass."""
    config, items = TrainingConfig(**options), Mixture(examples(1.0, 10), None, 1.0, seeded())
    budget = Budget(epochs=20, batch_size=5)
    train("it", part, part.loss, items, config, budget, Rng(0), torch.device("cpu"), log)
    assert not part.training
    return part.steps


def test_it_ends_after_the_budget() -> None:
    assert steps(Scripted(1.0)) == 40  # the classifier's
    assert steps(Scripted(1.0), epochs=3) == 6
    assert steps(Scripted(1.0), iterations=7) == 7
    assert steps(Scripted(1.0), epochs=3, batch_size=10) == 3


@pytest.mark.parametrize(("tolerance", "expected"), [(1, 6), (2, 8), (None, 40)])
def test_it_ends_where_the_mean_loss_of_a_pass_no_longer_falls(
    tolerance: int | None, expected: int
) -> None:
    """Passes have mean losses 4, 3, 3, 3: the third has not fallen."""
    losses = (6.0, 2.0, 3.0, 3.0, 3.0)
    assert steps(Scripted(*losses), tolerance=tolerance) == expected


def test_a_fall_starts_the_count_again() -> None:
    losses = [value for mean in (4.0, 5.0, 3.0, 3.0, 3.0, 1.0) for value in (mean, mean)]
    assert steps(Scripted(*losses), tolerance=2) == 10


def test_a_loss_that_is_not_finite_stops_it() -> None:
    with pytest.raises(Diverged, match="generator's 'it' is nan at step 10"):
        steps(Scripted(float("nan")))


def test_losses_are_told() -> None:
    class Told(SilentLog):
        values: ClassVar[dict[int, float]] = {}

        def scalar(self, name: str, value: float, step: int) -> None:
            assert name == "generator/it"
            self.values[step] = value

    steps(Scripted(2.5), Told(), iterations=12)
    assert Told.values == {10: 2.5, 12: 2.5}


def test_adam_has_the_options() -> None:
    config = EmbeddingFlowConfig(lr=0.02)
    (group,) = config.optimizer().build([nn.Parameter(torch.zeros(1))]).param_groups
    assert (group["lr"], group["weight_decay"]) == (0.02, 1e-5)
