from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import accuracy_score, f1_score

from orchestrator import metrics

nan = math.nan
DOMAIN = np.array([[0.1, 0.2, 0.3], [0.9, 0.3, 0.2], [0.7, 0.8, 0.4], [0.8, 0.6, 1.0]])
CLASS = np.array([[nan, nan, nan], [0.9, nan, nan], [0.7, 0.8, nan], [0.8, 0.6, 1.0]])
WORKED = {
    "average_accuracy": (0.8 + 0.6 + 1.0) / 3,
    "average_incremental_accuracy": (0.9 + (0.7 + 0.8) / 2 + (0.8 + 0.6 + 1.0) / 3) / 3,
    "learning_accuracy": (0.9 + 0.8 + 1.0) / 3,
    "backward_transfer": ((0.8 - 0.9) + (0.6 - 0.8)) / 2,
    "forgetting": ((0.9 - 0.8) + (0.8 - 0.6)) / 2,
    "forward_transfer": ((0.3 - 0.2) + (0.4 - 0.3)) / 2,
}

#: True classes in rows, classes named in columns; the worked example of the formulas.
CONFUSED = np.array([[3, 1, 0], [1, 3, 0], [0, 0, 2]])
WORKED_CONFUSED = {
    "union_accuracy": (3 + 3 + 2) / 10,
    "macro_f1": (2 * 3 / (4 + 4) + 2 * 3 / (4 + 4) + 2 * 2 / (2 + 2)) / 3,
}

matrices = st.integers(1, 6).flatmap(
    lambda tasks: arrays(np.float64, (tasks + 1, tasks), elements=st.floats(0, 1, width=32))
)


confusions = st.integers(1, 6).flatmap(
    lambda classes: arrays(np.int64, (classes, classes), elements=st.integers(0, 40))
)


def of_accuracies(R: ArrayLike) -> dict[str, float]:
    """The metrics of an accuracy matrix alone."""
    values = metrics.summary(R, CONFUSED)
    return {name: values[name] for name in WORKED}


def without_the_future(R: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.tri(len(R), R.shape[1], k=-1, dtype=bool), R, nan)


@pytest.mark.parametrize("name", WORKED)
def test_worked_example(name: str) -> None:
    assert getattr(metrics, name)(DOMAIN) == pytest.approx(WORKED[name])


@pytest.mark.parametrize("name", WORKED)
def test_worked_example_in_class_incremental(name: str) -> None:
    expected = nan if name == "forward_transfer" else pytest.approx(WORKED[name], nan_ok=True)
    result = getattr(metrics, name)(CLASS)
    assert math.isnan(result) if name == "forward_transfer" else result == expected


@pytest.mark.parametrize("name", WORKED_CONFUSED)
def test_worked_example_of_a_confusion_matrix(name: str) -> None:
    assert getattr(metrics, name)(CONFUSED) == pytest.approx(WORKED_CONFUSED[name])


def test_summary_has_all_in_order() -> None:
    worked = WORKED | WORKED_CONFUSED
    assert metrics.summary(DOMAIN, CONFUSED) == {k: pytest.approx(v) for k, v in worked.items()}
    assert tuple(metrics.summary(DOMAIN, CONFUSED)) == metrics.METRICS == tuple(worked)
    assert tuple(metrics.confusion_summary(CONFUSED)) == metrics.CONFUSION_METRICS


def test_a_list_of_lists_will_do() -> None:
    assert metrics.average_accuracy(DOMAIN.tolist()) == pytest.approx(0.8)


def test_forgetting_takes_the_best_moment_not_the_first() -> None:
    R = [[nan, nan, nan], [0.5, nan, nan], [0.9, 0.6, nan], [0.4, 0.6, 0.7]]
    assert metrics.forgetting(R) == pytest.approx(((0.9 - 0.4) + 0.0) / 2)
    assert metrics.backward_transfer(R) == pytest.approx(((0.4 - 0.5) + 0.0) / 2)


def test_forgetting_ignores_luck_before_learning() -> None:
    R = [[1.0, 1.0, 1.0], [0.5, 1.0, 1.0], [0.5, 0.6, 1.0], [0.5, 0.6, 0.7]]
    assert metrics.forgetting(R) == 0.0


def test_improving_with_the_last_task_is_negative_forgetting() -> None:
    R = [[nan, nan, nan], [0.5, nan, nan], [0.6, 0.6, nan], [0.9, 0.8, 0.7]]
    assert metrics.forgetting(R) == pytest.approx(((0.6 - 0.9) + (0.6 - 0.8)) / 2)


def test_one_task_has_no_transfer_and_no_forgetting() -> None:
    result = of_accuracies([[0.5], [0.9]])
    assert [result[name] for name in metrics.METRICS[:3]] == [0.9, 0.9, 0.9]
    assert all(math.isnan(result[name]) for name in list(WORKED)[3:])


@pytest.mark.parametrize("row", [0, 1])
def test_forward_transfer_needs_both_of_its_entries(row: int) -> None:
    R = DOMAIN.copy()
    R[row, 1] = nan
    assert math.isnan(metrics.forward_transfer(R))


@pytest.mark.parametrize("shape", [(3, 3), (4,), (0, 0), (1, 0), (3, 4), (2, 2, 1)])
@pytest.mark.parametrize("name", WORKED)
def test_other_shapes_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(T\+1, T\)"):
        getattr(metrics, name)(np.zeros(shape))


@pytest.mark.parametrize("hole", [nan, math.inf])
@pytest.mark.parametrize("name", WORKED)
def test_a_hole_at_a_learnt_task_is_an_error(name: str, hole: float) -> None:
    R = CLASS.copy()
    R[2, 0] = hole
    with pytest.raises(ValueError, match="task 1 after task 2"):
        getattr(metrics, name)(R)


@settings(deadline=None, max_examples=60)
@given(matrices)
def test_the_future_matters_to_forward_transfer_alone(R: NDArray[np.float64]) -> None:
    before = R.copy()
    full, past = of_accuracies(R), of_accuracies(without_the_future(R))
    assert math.isnan(past.pop("forward_transfer"))
    full.pop("forward_transfer")
    assert full == pytest.approx(past, nan_ok=True)
    np.testing.assert_array_equal(R, before)


@settings(deadline=None, max_examples=60)
@given(matrices)
def test_relations_between_the_metrics(R: NDArray[np.float64]) -> None:
    tasks, m = R.shape[1], of_accuracies(R)
    for name in metrics.METRICS[:3]:
        assert 0 <= m[name] <= 1
    if tasks == 1:
        return
    assert m["forgetting"] >= -m["backward_transfer"] - 1e-12
    change = (m["average_accuracy"] - m["learning_accuracy"]) * tasks / (tasks - 1)
    assert m["backward_transfer"] == pytest.approx(change, abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(matrices, st.floats(-1, 1, width=16))
def test_a_shift_moves_accuracies_and_leaves_differences(
    R: NDArray[np.float64], shift: float
) -> None:
    one, other = of_accuracies(R), of_accuracies(R + shift)
    for i, name in enumerate(WORKED):
        expected = one[name] + (shift if i < 3 else 0)
        assert other[name] == pytest.approx(expected, abs=1e-9, nan_ok=True)


@settings(deadline=None, max_examples=60)
@given(confusions)
def test_confusion_metrics_are_those_of_scikit_learn(C: NDArray[np.int64]) -> None:
    true, named = (np.repeat(axis.ravel(), C.ravel()) for axis in np.indices(C.shape))
    if not len(true):
        assert all(math.isnan(value) for value in metrics.confusion_summary(C).values())
        return
    occurring = np.unique(true)
    expected = f1_score(true, named, labels=occurring, average="macro", zero_division=0.0)
    assert metrics.macro_f1(C) == pytest.approx(expected)
    assert metrics.union_accuracy(C) == pytest.approx(accuracy_score(true, named))


def test_a_class_without_images_has_no_part_and_a_forgotten_one_has() -> None:
    C = [[2, 0, 0], [2, 0, 0], [0, 0, 0]]
    assert metrics.macro_f1(C) == pytest.approx((2 * 2 / (2 + 4) + 0) / 2)
    assert metrics.union_accuracy(C) == 0.5


@pytest.mark.parametrize("name", WORKED_CONFUSED)
@pytest.mark.parametrize("C", [np.zeros((2, 3)), np.zeros(3), [[1, -1], [0, 1]]])
def test_what_is_no_confusion_matrix_is_refused(name: str, C: ArrayLike) -> None:
    with pytest.raises(ValueError, match="a confusion matrix"):
        getattr(metrics, name)(C)
