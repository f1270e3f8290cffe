"""A share of each class, against a plain way to say the same."""

from __future__ import annotations

import pytest
import torch

from orchestrator.data.held_out import held_out


def labels_and_priority(sizes: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    return y[torch.randperm(len(y), generator=generator)], torch.randperm(
        len(y), generator=generator
    )


@pytest.mark.parametrize("share", [0.001, 0.1, 0.37, 0.5, 0.999])
def test_against_loops(share: float) -> None:
    y, priority = labels_and_priority([40, 0, 1, 2, 3, 15, 100])
    expected: set[int] = set()
    for label in range(7):
        rows = sorted((int(priority[i]), i) for i in range(len(y)) if int(y[i]) == label)
        most = len(rows) - 1
        size = min(max(round(share * len(rows)), 1), most) if most > 0 else 0
        expected |= {i for _, i in rows[:size]}
    assert set(held_out(y, share, priority).nonzero().flatten().tolist()) == expected
    assert expected


def test_a_tenth_of_even_classes_is_a_tenth() -> None:
    y, priority = labels_and_priority([50] * 10)
    held = held_out(y, 0.1, priority)
    assert torch.bincount(y[held]).tolist() == [5] * 10


def test_single_images_stay_for_training() -> None:
    y, priority = labels_and_priority([1, 1, 1])
    assert not held_out(y, 0.9, priority).any()
