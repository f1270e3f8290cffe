"""The measures of an audit against closed forms, scipy and scikit-learn."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import entropy
from sklearn.metrics import accuracy_score
from torch import Tensor

from orchestrator.audit import measures
from orchestrator.audit.measures import agreement, copying, coverage, drift, frechet


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels(n: int, classes: int, seed: int = 0) -> Tensor:
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))


def test_the_worked_examples_are_right() -> None:
    found = doctest.testmod(measures)
    assert found.attempted >= 6
    assert not found.failed


def test_agreement_is_scikit_learn_s_accuracy() -> None:
    y, judged = labels(500, 4), labels(500, 4, seed=1)
    assert agreement(y, judged) == pytest.approx(accuracy_score(y, judged))


def test_coverage_is_scipy_s_entropy_over_that_of_the_data() -> None:
    judged = labels(300, 5).clamp(max=3)
    frequencies = torch.tensor([0.4, 0.3, 0.2, 0.1, 0.0], dtype=torch.float64)
    counts = np.bincount(judged, minlength=5)[:4]
    data = entropy([0.8, 0.1, 0.05, 0.05])
    skewed = torch.tensor([0.8, 0.1, 0.05, 0.05, 0.0])
    assert coverage(judged, skewed) == 1.0, "the draws are more even than the data"
    wanted = entropy(counts) / entropy(frequencies[:4])
    assert coverage(judged, frequencies) == pytest.approx(min(1.0, wanted))
    few = torch.tensor([0, 0, 0, 1])
    assert coverage(few, skewed) == pytest.approx(entropy([3, 1]) / data, rel=1e-6)


@pytest.mark.parametrize(
    ("judged", "frequencies", "value"),
    [
        ([3, 3, 3], [0.5, 0.5, 0, 0], 0.0),  # none of the classes seen
        ([0, 0, 0], [0.5, 0.5, 0, 0], 0.0),  # one of two
        ([0, 0, 3], [1.0, 0, 0, 0], 1.0),  # the only one
        ([3, 3, 3], [1.0, 0, 0, 0], 0.0),
        ([0, 1, 3, 3], [0.5, 0.5, 0, 0], 1.0),  # classes not seen do not count
    ],
)
def test_coverage_at_its_ends(judged: list[int], frequencies: list[float], value: float) -> None:
    assert str(coverage(torch.tensor(judged), torch.tensor(frequencies))) == str(value), "no -0"


@pytest.mark.parametrize(("n", "m", "features"), [(200, 300, 7), (40, 40, 60), (30, 200, 60)])
def test_frechet_is_heusel_s_formula_with_scipy_s_root(n: int, m: int, features: int) -> None:
    mixing = numbers(features, features, seed=2)
    a, b = numbers(n, features) @ mixing, numbers(m, features, seed=1) * 0.7 + 0.3
    c_a, c_b = (np.cov(x.numpy(), rowvar=False) for x in (a, b))
    # Where there are fewer items than features, scipy's root needs a nudge off the singular.
    nudge = 1e-9 * np.eye(features)
    root = sqrtm((c_a + nudge) @ (c_b + nudge)).real
    wanted = float((a.mean(0) - b.mean(0)).square().sum()) + np.trace(c_a + c_b - 2 * root)
    assert frechet(a, b) == pytest.approx(wanted, rel=1e-3)
    assert frechet(a, b) == pytest.approx(frechet(b, a))


def test_frechet_of_equal_sets_is_zero_and_of_two_gaussians_their_closed_form() -> None:
    x = numbers(500, 20)
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet(x, x + 2) == pytest.approx(20 * 2**2)
    spread = float(((x - x.mean(0)) * 2).var(0).sum())
    assert frechet(x, x.mean(0) + (x - x.mean(0)) * 3) == pytest.approx(spread), "(3 - 1)² var"


def test_frechet_of_one_item_is_unknown() -> None:
    assert math.isnan(frechet(numbers(1, 3), numbers(9, 3)))


def near(n: int, low: float, high: float, seed: int = 0) -> Tensor:
    """Distances whose ratio is between two values."""
    ratio = low + (high - low) * torch.rand(n, generator=torch.Generator().manual_seed(seed))
    return torch.stack([ratio, torch.ones(n)], 1) * 7


def test_copying_of_new_items_is_one_percent_and_of_copies_all() -> None:
    real = near(2000, 0.5, 1.0)
    assert copying(near(2000, 0.5, 1.0, seed=1), real) == pytest.approx(0.01, abs=0.006)
    assert copying(near(100, 0, 0.1), real) == 1.0
    assert copying(near(100, 0.9, 1), real) == 0.0
    duplicated = torch.zeros(10, 2)  # the training data have them twice
    assert copying(duplicated, real) == 1.0


def test_drift_in_distances_between_classes() -> None:
    means = torch.eye(3).double() * 10
    y = torch.arange(3).repeat(50)
    real = means[y] + numbers(150, 3) * 0.1
    unit = 10 * math.sqrt(2)
    assert drift(real, y, real, y) == 0
    assert drift(real + torch.tensor([unit, 0, 0]), y, real, y) == pytest.approx(1, rel=0.01)
    swapped = torch.tensor([1, 0, 2])[y]
    assert drift(real, swapped, real, y) == pytest.approx(2 / 3, rel=0.01)
    some = y < 2  # no draws of the third: it does not count
    moved = real + torch.tensor([[1.0], [0.0], [0.0]])[y] * unit / math.sqrt(3)
    assert drift(moved[some], y[some], real, y) == pytest.approx(0.5, rel=0.01)


def test_drift_of_one_class_is_unknown() -> None:
    y = torch.zeros(5, dtype=torch.int64)
    assert math.isnan(drift(numbers(5, 2), y, numbers(5, 2), y))
    two = torch.tensor([0, 0, 1, 1, 1])
    assert math.isnan(drift(numbers(5, 2), y + 7, numbers(5, 2), two)), "no draws of either"
