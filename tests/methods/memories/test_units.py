"""Units of a generator: images between 0 and 1, activations standardised over all tasks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from methods.core.accounting import reachable_bytes
from methods.core.task import TensorExamples
from methods.memories.units import Units

CPU = torch.device("cpu")
SCALE = torch.linspace(0.5, 40, 12)


def examples(x: Tensor) -> TensorExamples:
    return TensorExamples(x, torch.zeros(len(x), dtype=torch.int64))


def activations(seed: int, n: int = 500, shift: float = 0.0) -> Tensor:
    noise = torch.randn(n, 12, generator=torch.Generator().manual_seed(seed))
    return (noise * SCALE + 7 * SCALE + shift).view(n, 3, 2, 2)


def absorbed(*parts: Tensor, clamp: bool = True) -> Units:
    units = Units(CPU, clamp)
    for part in parts:
        units.absorb(examples(part))
    return units


def test_images_go_in_and_out_unchanged() -> None:
    x = torch.arange(256, dtype=torch.uint8).view(4, 1, 8, 8)
    units = absorbed(x)
    assert units.images
    assert units.item == (1, 8, 8)
    inside = units.enter(x)
    assert inside.dtype == torch.float32
    assert [inside.min(), inside.max()] == [0, 1]
    assert torch.equal(units.leave(inside), x)
    assert reachable_bytes(units) == 0


def test_draws_of_images_are_rounded_and_cut() -> None:
    drawn = torch.tensor([-3.0, -0.001, 0.0019, 0.0021, 0.5, 1.2, 300.0]).view(1, 1, 1, 7)
    left = absorbed(torch.zeros(1, 1, 1, 7, dtype=torch.uint8)).leave(drawn)
    assert left.dtype == torch.uint8
    assert left.flatten().tolist() == [0, 0, 0, 1, 128, 255, 255]
    assert drawn[0, 0, 0, 0] == -3  # what is given stays as it is


def test_activations_are_standardised_over_all_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("methods.memories.units._CHUNK", 64)
    parts = activations(0), activations(1, 90, shift=25.0), activations(2, 1)
    units, everything = absorbed(*parts), torch.cat(parts)
    assert units.item == (12,)
    assert not units.images
    inside = units.enter(everything)
    assert inside.shape == (591, 12)
    torch.testing.assert_close(inside.mean(0), torch.zeros(12), atol=1e-4, rtol=0)
    deviation = inside.std(0, correction=0)
    torch.testing.assert_close(deviation[2:], torch.ones(10), atol=1e-4, rtol=0)
    torch.testing.assert_close(units.leave(inside), everything)


def test_units_that_hardly_vary_are_not_blown_up() -> None:
    x = activations(0).flatten(1)
    x[:, 0] = 5.0
    x[:, 1] = 5.0 + 1e-4 * x[:, 1]
    inside = absorbed(x).enter(x)
    typical = float(x.var(0, correction=0).mean().sqrt())
    assert inside[:, 0].abs().max() == 0
    expected = (x[:, 1] - x[:, 1].mean()) / (0.1 * typical)
    torch.testing.assert_close(inside[:, 1], expected, atol=1e-4, rtol=1e-3)
    flat = torch.full((9, 4), 3.0)
    units = absorbed(flat)
    assert torch.equal(units.leave(units.enter(flat)), flat)
    assert units.enter(flat).isfinite().all()


def test_draws_are_cut_to_the_range_of_all_tasks() -> None:
    one, other = activations(0).relu(), activations(1, shift=30.0)
    far = torch.linspace(-90, 90, 400).view(-1, 1).expand(-1, 12).clone()
    both = torch.cat([one, other])
    left = absorbed(one, other).leave(far)
    assert left.shape == (400, 3, 2, 2)
    assert torch.equal(left.amin(0), both.amin(0))
    assert torch.equal(left.amax(0), both.amax(0))
    free = absorbed(one, other, clamp=False).leave(far)
    assert (free.amin(0) < both.amin(0)).all()
    assert (free.amax(0) > both.amax(0)).all()
    assert far[0, 0] == -90


def test_a_copy_stays_behind() -> None:
    """What a frozen generator draws keeps the units it was trained in."""
    units = absorbed(activations(0))
    before = copy.copy(units)
    inside = before.enter(activations(0))
    units.absorb(examples(activations(1, shift=100.0)))
    assert torch.equal(before.enter(activations(0)), inside)
    assert not torch.equal(units.enter(activations(0)), inside)


def test_state_goes_round() -> None:
    one, other = absorbed(activations(0)), absorbed(activations(5))
    state = one.state_dict()
    other.load_state_dict(state)
    for value in state.values():
        if isinstance(value, Tensor):
            value.zero_()  # nothing is shared
    for units in (one, other):
        units.absorb(examples(activations(1, 70, shift=9.0)))
    x = activations(2)
    assert torch.equal(one.enter(x), other.enter(x))
    assert torch.equal(one.leave(5 * one.enter(x)), other.leave(5 * other.enter(x)))
    assert one.item == other.item
    assert reachable_bytes(one) == reachable_bytes(other) == 5 * 12 * 4
