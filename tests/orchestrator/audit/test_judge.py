"""The judge knows real data, is the same each time, and touches nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from methods.core.rng import Rng
from methods.core.task import Batch
from methods.networks import Cnn, Mlp
from orchestrator.audit import real
from orchestrator.audit.judge import Judge, judge_of_images, train_judge
from orchestrator.audit.real import RealItems, real_items, sampled_tests
from orchestrator.data.stream_config import StreamConfig
from orchestrator.data.streams import TaskStream, open_stream

SMALL = Mlp(widths=(48, 32))


def accuracy(judge: Judge, batch: Batch, encode: Callable[[Tensor], Tensor] = lambda x: x) -> float:
    assert batch.y is not None
    return float((judge.labels(judge.features(encode(batch.x))) == batch.y).double().mean())


def all_tests(stream: TaskStream) -> Batch:
    return sampled_tests(stream, stream.info.tasks, 10_000, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("network", [SMALL, Cnn(widths=(8, 16), hidden=(32,)), None])
def test_a_judge_of_images_knows_the_classes_of_all_tasks(
    network: Mlp | Cnn | None, digits: TaskStream
) -> None:
    judge = judge_of_images(digits, network, 300)
    assert accuracy(judge, all_tests(digits)) > 0.9
    assert judge.flat == (network is None)
    assert judge_of_images(digits, network, 300) is judge, "trained once in a process"
    assert judge_of_images(digits, network, 301) is not judge


@pytest.mark.parametrize("depth", [1, 2])
def test_behind_frozen_blocks_it_knows_what_they_leave(depth: int, digits: TaskStream) -> None:
    backbone = SMALL.build(digits.info.shape).eval()

    def encode(x: Tensor) -> Tensor:
        return backbone.run(x, 0, depth).detach()

    judge = train_judge(digits, SMALL, depth, encode, 500)
    assert accuracy(judge, all_tests(digits), encode) > 0.8
    assert (judge.start, judge.flat) == ((1, False) if depth == 1 else (0, True))


def test_what_no_network_fits_is_taken_as_vectors(digits: TaskStream) -> None:
    def halves(x: Tensor) -> Tensor:
        return x[..., ::2].float() / 255

    judge = train_judge(digits, SMALL, 1, halves, 300)
    assert (judge.start, judge.flat) == (0, True)
    assert judge.features(halves(all_tests(digits).x)).shape[1] == 400
    assert accuracy(judge, all_tests(digits), halves) > 0.8


def test_two_judges_are_the_same_whatever_the_global_generator_is(digits: TaskStream) -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.append(train_judge(digits, SMALL, 0, lambda x: x, 20))
        assert torch.equal(torch.get_rng_state(), before)
    x = all_tests(digits).x
    assert torch.equal(found[0].features(x), found[1].features(x))


# Real items ---------------------------------------------------------------------------------------


def test_all_items_are_held_where_there_is_room(digits: TaskStream) -> None:
    items = real_items(digits)
    assert items.held == items.sizes == tuple(len(digits.task(i).train) for i in range(5))
    for task in range(5):
        own = digits.task(task).train
        assert torch.equal(items.of_task(task), own.gather(torch.arange(len(own))).x)
    y = torch.cat([digits.task(i).train.gather(torch.arange(items.sizes[i])).y for i in range(3)])  # type: ignore[misc]
    wanted = y.bincount(minlength=10).double() / len(y)
    assert torch.allclose(items.frequencies(3, 10), wanted)


def test_of_large_tasks_a_part_is_held(digits: TaskStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real, "_MOST_HELD", 250)
    items = real_items.__wrapped__(digits)
    assert items.held == (50,) * 5
    assert len(items.x) == 250
    assert sum(items.sizes) > 1000
    assert float(items.frequencies(5, 10).sum()) == pytest.approx(1)
    assert set(items.frequencies(1, 10).nonzero().squeeze(1).tolist()) == {0, 1}


def test_frequencies_and_samples_go_by_the_sizes_of_tasks() -> None:
    y = torch.tensor([0, 0, 1, 1, 2])
    items = RealItems(torch.arange(5).reshape(5, 1, 1, 1), y, (4, 1), (4, 12))
    assert items.frequencies(2, 4).tolist() == [0.125, 0.125, 0.75, 0]
    assert items.frequencies(1, 4).tolist() == [0.5, 0.5, 0, 0]
    sample = items.sample(2, 8, Rng(0).generator("sample"))
    assert sample.y is not None
    assert len(sample.y) == 3, "2 of 8 of the first task, and all that is held of the second"
    assert sample.y.tolist().count(2) == 1
    assert all(y[x] == label for x, label in zip(sample.x.flatten(), sample.y, strict=True))


def test_test_items_are_spread_over_what_was_learnt(digits: TaskStream) -> None:
    batch = sampled_tests(digits, 2, 100, torch.Generator().manual_seed(0))
    assert batch.y is not None
    assert len(batch.x) == pytest.approx(100, abs=1)
    counts = batch.y.bincount(minlength=10)
    assert (counts[:4] > 15).all()
    assert not counts[4:].any()
    assert torch.unique(batch.y[:50]).tolist() == [0, 1, 2, 3], "in random order"


def test_a_domain_incremental_stream_has_one_judge_for_all_domains(tmp_path: Path) -> None:
    stream = open_stream(StreamConfig(dataset="rotated-digits", tasks=2, max_angle=90), tmp_path)
    judge = judge_of_images(stream, SMALL, 500)
    assert accuracy(judge, all_tests(stream)) > 0.85
