"""Buffers that are filled while a task is learnt: in place, and with what the network said."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.core.task import Batch
from methods.memories.buffer import Buffer, Policy


def batch(start: int, n: int, *, logits: bool = True) -> Batch:
    """Items that are their own numbers; label, logits and number belong together."""
    x = torch.arange(start, start + n, dtype=torch.int16).view(-1, 1, 1, 1)
    number = x.flatten()
    outputs = torch.stack([number.float(), -number.float()], 1) if logits else None
    return Batch(x, number.long() % 5, None, outputs)


def filled(buffer: Buffer, sizes: list[int], *, logits: bool = True) -> Buffer:
    """Show a buffer batches of these sizes; batch i is of task i."""
    generator, start = torch.Generator().manual_seed(0), 0
    for task, n in enumerate(sizes):
        buffer.add(batch(start, n, logits=logits), task, generator)
        start += n
    return buffer


def assert_rows_belong_together(stored: Batch) -> None:
    number = stored.x.flatten()
    assert stored.y is not None
    assert stored.logits is not None
    assert torch.equal(stored.y, number.long() % 5)
    assert torch.equal(stored.logits, torch.stack([number.float(), -number.float()], 1))


@settings(deadline=None, max_examples=80)
@given(size=st.integers(1, 25), sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_a_reservoir_keeps_the_lowest_of_all_priorities(size: int, sizes: list[int]) -> None:
    """Against all priorities drawn at once and sorted, which is the definition."""
    buffer = filled(Buffer(size), sizes)
    generator = torch.Generator().manual_seed(0)
    priority = torch.cat([torch.rand(n, generator=generator) for n in sizes])
    task = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    kept = priority.argsort()[:size]
    assert sorted(buffer.x.flatten().tolist()) == sorted(kept.tolist())
    number = buffer.x.flatten().long()
    assert torch.equal(buffer.priority, priority[number])
    assert torch.equal(buffer.task.long(), task[number])
    assert_rows_belong_together(buffer.gather(torch.arange(len(buffer))))


def test_a_full_reservoir_changes_in_place() -> None:
    """What stays does not move, and what was drawn before is left alone."""
    buffer = filled(Buffer(20), [30])
    storage, before = buffer.x.data_ptr(), buffer.gather(torch.arange(20))
    copied = [column.clone() for column in before if column is not None]
    buffer.add(batch(30, 10), 1, torch.Generator().manual_seed(1))
    assert buffer.x.data_ptr() == storage
    stays = buffer.x.flatten() < 30
    assert 0 < stays.sum() < 20
    assert torch.equal(buffer.x[stays], before.x[stays])
    columns = [column for column in before if column is not None]
    assert all(torch.equal(one, other) for one, other in zip(columns, copied, strict=True))


def test_a_buffer_takes_copies() -> None:
    buffer, shown = Buffer(20), batch(0, 20)
    buffer.add(shown, 0, torch.Generator())
    before = buffer.state_dict()
    for column in (shown.x, shown.logits):
        assert column is not None
        column.fill_(7)
    assert all(torch.equal(before[name], value) for name, value in buffer.state_dict().items())


@pytest.mark.parametrize("policy", ["reservoir", "class-balanced", "task-balanced"])
def test_logits_stay_with_their_items(policy: Policy) -> None:
    buffer = filled(Buffer(13, policy=policy), [20, 7, 16])
    assert_rows_belong_together(buffer.gather(torch.arange(13)))
    assert_rows_belong_together(buffer.sample(50, torch.Generator(), task=0))
    buffer.keep(torch.arange(12, -1, -2))
    assert_rows_belong_together(buffer.gather(torch.arange(7)))
    unlimited = Buffer()
    unlimited.put(buffer.gather(torch.arange(7)))
    assert_rows_belong_together(unlimited.gather(torch.arange(7)))


def test_state_with_logits_goes_round() -> None:
    one, other = filled(Buffer(13), [20, 7]), filled(Buffer(13), [9])
    state = one.state_dict()
    other.load_state_dict(state)
    for buffer in (one, other):
        buffer.add(batch(27, 30), 2, torch.Generator().manual_seed(2))
    assert list(state) == ["x", "y", "task", "priority", "logits"]
    assert all(torch.equal(v, other.state_dict()[n]) for n, v in one.state_dict().items())
    assert not torch.equal(state["logits"], one.state_dict()["logits"])


def test_without_logits_nothing_is_kept_of_them() -> None:
    buffer = filled(Buffer(13), [20, 7], logits=False)
    assert list(buffer.state_dict()) == ["x", "y", "task", "priority"]
    assert buffer.sample(3, torch.Generator()).logits is None
    with_logits = filled(Buffer(13), [20])
    with_logits.load_state_dict(buffer.state_dict())
    assert with_logits.logits is None
    assert filled(Buffer(13), []).state_dict().keys() == buffer.state_dict().keys()


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("n", [5, 20])
def test_either_all_items_have_logits_or_none(first: bool, n: int) -> None:
    """In a buffer with room and in a full one; the mistake leaves it as it was."""
    buffer = filled(Buffer(13), [n], logits=first)
    before: dict[str, Any] = buffer.state_dict()
    wrong = batch(20, 5, logits=not first)._replace(task=torch.zeros(5))
    with pytest.raises(ValueError, match="all examples of a buffer come with logits, or none"):
        buffer.add(wrong, 1, torch.Generator())
    with pytest.raises(ValueError, match="all examples of a buffer come with logits, or none"):
        buffer.put(wrong)
    assert before.keys() == buffer.state_dict().keys()
    assert all(torch.equal(before[name], value) for name, value in buffer.state_dict().items())


def test_an_emptied_buffer_may_begin_otherwise() -> None:
    buffer = filled(Buffer(13), [20])
    buffer.keep(torch.zeros(13, dtype=torch.bool))
    buffer.add(batch(0, 5, logits=False), 0, torch.Generator())
    assert (len(buffer), buffer.logits) == (5, None)
