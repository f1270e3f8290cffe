"""A frozen copy stays as the network was, and keeps nothing twice that cannot change."""

from __future__ import annotations

import torch
from torch import nn

from methods.core.accounting import reachable_bytes
from methods.core.snapshot import frozen_copy


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))


def test_it_does_not_follow_the_original() -> None:
    original, x = network(), torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.SGD(original.parameters(), lr=0.1)
    copied = frozen_copy(original)
    before = copied(x)
    for _ in range(3):
        optimizer.zero_grad()
        original(x).square().sum().backward()
        optimizer.step()
    assert torch.equal(copied(x), before)
    assert not torch.equal(original.eval()(x), before)
    assert original[0].weight.requires_grad


def test_it_learns_nothing_and_is_in_eval_mode() -> None:
    original = network()
    original(torch.ones(2, 4)).sum().backward()
    copied = frozen_copy(original)
    assert original.training
    assert not any(module.training for module in copied.modules())
    assert all(not p.requires_grad and p.grad is None for p in copied.parameters())


def test_frozen_blocks_are_shared() -> None:
    original = network()
    original[0].requires_grad_(False)
    copied, seen = frozen_copy(original), set[int]()
    assert copied[0].weight is original[0].weight
    assert copied[3].weight is not original[3].weight
    reachable_bytes(original, seen)
    assert 0 < reachable_bytes(copied, seen) < reachable_bytes(copied)
