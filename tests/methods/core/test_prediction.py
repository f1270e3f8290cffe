"""Predictions: which classes compete in each scenario, and that nothing changes by them."""

from __future__ import annotations

import pytest
import torch
from classifiers import CLASSES_OF, Noisy, alike, info, make, make_task, weights

from methods.core.task import Scenario

X = make_task(0).train.gather(torch.arange(10)).x


@pytest.mark.parametrize("training", [True, False])
def test_predicting_is_in_eval_mode_and_leaves_no_trace(training: bool) -> None:
    method = make(network=Noisy())
    method.learn(make_task(0))
    method.network.train(training)
    before = weights(method)
    assert torch.equal(method.predict(X), method.predict(X))
    assert all(m.training is training for m in method.network.modules())
    assert alike(before, weights(method))
    assert not method.predict(X).requires_grad


def test_class_incremental_hides_unseen_classes_only() -> None:
    method = make()
    assert method.predict(X).isneginf().all()
    for index in range(3):
        method.learn(make_task(index))
        logits = method.predict(X)
        seen = 2 * (index + 1)
        assert torch.equal(logits[:, :seen], method.network(X)[:, :seen])
        assert logits[:, seen:].isneginf().all()


def test_domain_incremental_hides_nothing() -> None:
    method = make(scenario=Scenario.DOMAIN_INCREMENTAL)
    for index in range(3):
        assert torch.equal(method.predict(X), method.network.eval()(X))
        method.learn(make_task(index, info(Scenario.DOMAIN_INCREMENTAL)))


def test_task_incremental_hides_other_tasks() -> None:
    method = make(scenario=Scenario.TASK_INCREMENTAL)
    for seen in range(3):
        for task, classes in enumerate(CLASSES_OF):
            finite = method.predict(X, task).isfinite().all(0).nonzero().flatten().tolist()
            assert finite == list(classes), (seen, task)
        method.learn(make_task(seen))


@pytest.mark.parametrize(
    ("scenario", "task_id"),
    [
        (Scenario.TASK_INCREMENTAL, None),
        (Scenario.CLASS_INCREMENTAL, 0),
        (Scenario.DOMAIN_INCREMENTAL, 0),
    ],
)
def test_task_is_given_where_it_is_known_and_only_there(
    scenario: Scenario, task_id: int | None
) -> None:
    with pytest.raises(ValueError, match="task_id is given in the task-incremental scenario"):
        make(scenario=scenario).predict(X, task_id)


def test_eligible_by_row() -> None:
    method = make(scenario=Scenario.TASK_INCREMENTAL)
    method.tasks_seen = 2
    assert method.eligible().nonzero().flatten().tolist() == [2, 3]
    rows = method.eligible(torch.tensor([2, 0]))
    assert [row.nonzero().flatten().tolist() for row in rows] == [[4, 5], [0, 1]]
