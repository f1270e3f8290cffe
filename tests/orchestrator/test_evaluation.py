"""One pass over the test data, checked against scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix
from torch import Tensor

from methods.core.method import Method
from methods.core.rng import Rng
from methods.core.task import Scenario
from methods.core.training import Diverged
from methods.naive import Naive
from orchestrator.data.stream_config import StreamConfig
from orchestrator.data.streams import TaskStream, open_stream
from orchestrator.evaluation import confusion, evaluate
from orchestrator.watch import glance

TASKS = 5


def trained(data_dir: Path, scenario: str, tasks: int = 3) -> tuple[Method, TaskStream]:
    stream = open_stream(
        StreamConfig(dataset="split-digits", scenario=Scenario(scenario)), data_dir
    )
    config = Naive.Config.model_validate(
        {"network": {"name": "mlp", "widths": [16]}, "budget": {"iterations": 20, "batch_size": 8}}
    )
    method = Naive(config, stream.info, Rng(0))
    for task in range(tasks):
        method.learn(stream.task(task))
    return method, stream


def answers(method: Method, stream: TaskStream, task: int) -> tuple[Any, Any]:
    """True classes of a task's test images, and the classes they are taken for."""
    known = task if stream.info.scenario is Scenario.TASK_INCREMENTAL else None
    batch = stream.test(task).gather(torch.arange(len(stream.test(task))))
    assert batch.y is not None
    return batch.y.numpy(), method.predict(batch.x, known).argmax(1).numpy()


@pytest.mark.parametrize("scenario", sorted(Scenario))
def test_rows_and_confusion_are_those_of_scikit_learn(scenario: str, tmp_path: Path) -> None:
    method, stream = trained(tmp_path, scenario)
    found = evaluate(method, stream, 3)
    tested = TASKS if scenario == "domain-incremental" else 3
    both = [answers(method, stream, task) for task in range(tested)]
    expected = [accuracy_score(*pair) for pair in both] + [np.nan] * (TASKS - tested)
    np.testing.assert_array_equal(found.accuracies, expected)
    true, named = (np.concatenate(parts) for parts in zip(*both[:3], strict=True))
    labels = np.arange(stream.info.classes)
    np.testing.assert_array_equal(found.confusion, confusion_matrix(true, named, labels=labels))


def test_before_any_task_nothing_is_confused(tmp_path: Path) -> None:
    method, stream = trained(tmp_path, "domain-incremental", tasks=0)
    found = evaluate(method, stream, 0)
    assert np.isfinite(found.accuracies).all()
    assert not found.confusion.any()


def test_a_part_of_the_test_images_is_always_the_same_and_of_all_classes(tmp_path: Path) -> None:
    method, stream = trained(tmp_path, "class-incremental")
    seen: list[Tensor] = []

    class Watched:
        device = method.device

        def predict(self, x: Tensor, task_id: int | None) -> Tensor:
            seen.append(x)
            return method.predict(x, task_id)

    for _ in range(2):
        counts = confusion(Watched(), stream, 1, images=20)  # type: ignore[arg-type]
        assert counts is not None
        assert counts.sum() == 20
        assert (counts.sum(1)[[2, 3]] > 5).all()
    assert torch.equal(*seen)
    everything = confusion(method, stream, 1)
    np.testing.assert_array_equal(everything, confusion(method, stream, 1, images=10_000))
    assert len(torch.unique(seen[0], dim=0)) == 20


def test_logits_that_are_no_numbers_end_a_trial_but_not_the_watching(tmp_path: Path) -> None:
    method, stream = trained(tmp_path, "class-incremental")
    predict = method.predict
    method.predict = (  # type: ignore[method-assign]
        lambda x, task_id=None: predict(x, task_id) * torch.nan
    )
    with pytest.raises(Diverged, match="logits for images of task 1 are not numbers"):
        evaluate(method, stream, 3)
    assert np.isnan(list(glance(method, stream, 3, 10).values())).all()


def test_a_glance_has_a_point_for_each_task_that_is_tested(tmp_path: Path) -> None:
    method, stream = trained(tmp_path, "domain-incremental")
    point, row = glance(method, stream, 3, 10_000), evaluate(method, stream, 3).accuracies
    assert list(point) == ["average_accuracy", *(f"accuracy/task {j}" for j in range(1, 6))]
    np.testing.assert_array_equal([point[f"accuracy/task {j}"] for j in range(1, 6)], row)
    assert point["average_accuracy"] == pytest.approx(row[:3].mean())


def test_a_glance_leaves_every_generator_as_it_was(tmp_path: Path) -> None:
    method, stream = trained(tmp_path, "class-incremental")
    predict = method.predict
    method.predict = (  # type: ignore[method-assign]
        lambda x, task_id=None: predict(x, task_id) + torch.rand(1)
    )
    before = torch.get_rng_state()
    one, two = glance(method, stream, 3, 50), glance(method, stream, 3, 50)
    assert torch.equal(torch.get_rng_state(), before)
    assert one == two
