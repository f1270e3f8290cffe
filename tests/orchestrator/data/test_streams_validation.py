"""What task streams hold out for validation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from methods.core.task import TaskClosed
from orchestrator.data import StreamConfig, TaskStream, open_source, open_stream
from orchestrator.data.cache import Dataset
from orchestrator.errors import UserError

STREAMS = ["split-digits", "permuted-digits", "rotated-digits", "digits+digits"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def config(dataset: str, **options: Any) -> StreamConfig:
    return StreamConfig.model_validate({"dataset": dataset, "validation": 0.2, **options})


def everything(examples: Any) -> tuple[torch.Tensor, torch.Tensor]:
    batch = examples.gather(torch.arange(len(examples)))
    assert batch.y is not None
    return batch.x, batch.y


def counted(x: torch.Tensor, y: torch.Tensor) -> dict[tuple[bytes, int], int]:
    """Tell how often each image stands with each label."""
    counts: dict[tuple[bytes, int], int] = {}
    for image, label in zip(x, y, strict=True):
        key = (image.numpy().tobytes(), int(label))
        counts[key] = counts.get(key, 0) + 1
    return counts


@pytest.mark.parametrize("dataset", STREAMS)
@pytest.mark.parametrize("size", [None, 200])
def test_training_and_validation_are_the_training_data(
    dataset: str, size: int | None, folder: Path
) -> None:
    held = open_stream(config(dataset, train_per_task=size), folder)
    whole = open_stream(config(dataset, train_per_task=size, validation=None), folder)
    assert whole.task(1).validation is None
    for i in range(2):
        task, all_of_it = held.task(i), everything(whole.task(i).train)
        assert task.validation is not None
        train, validation = everything(task.train), everything(task.validation)
        both = [torch.cat(pair) for pair in zip(train, validation, strict=True)]
        assert counted(*both) == counted(*all_of_it)
        in_class = torch.bincount(all_of_it[1])
        apart = (torch.bincount(validation[1]) - 0.2 * in_class).abs()
        assert apart.max() <= 0.5
        # Test data are left alone.
        assert torch.equal(everything(held.test(i))[0], everything(whole.test(i))[0])


@pytest.mark.parametrize("dataset", ["split-digits", "permuted-digits"])
def test_the_stream_seed_draws_it(dataset: str, folder: Path) -> None:
    def drawn(**options: Any) -> torch.Tensor:
        # Afresh, not out of the cache of opened streams.
        stream = TaskStream(
            config(dataset, **options), [open_source("digits", folder)], torch.device("cpu")
        )
        validation = stream.task(1).validation
        assert validation is not None
        return everything(validation)[0].flatten(1).sum(1)

    before = torch.random.get_rng_state()
    one = drawn()
    assert torch.equal(one, drawn())
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(one, drawn(stream_seed=1))
    assert torch.equal(drawn(tasks=5), drawn(tasks=5, scenario="task-incremental"))


def test_all_domains_hold_out_the_same_images(folder: Path) -> None:
    stream = open_stream(config("permuted-digits"), folder)
    brightness = []
    for i in range(5):
        validation = stream.task(i).validation
        assert validation is not None
        brightness.append(everything(validation)[0].flatten(1).sum(1))
    assert all(torch.equal(one, brightness[0]) for one in brightness)


def test_a_task_takes_both_away(folder: Path) -> None:
    task = open_stream(config("rotated-digits"), folder).task(0)
    task.close()
    assert task.validation is not None
    for examples in (task.train, task.validation):
        with pytest.raises(TaskClosed):
            examples.gather(torch.tensor([0]))


def test_splitting_copies_no_image(folder: Path) -> None:
    digits = open_source("digits", folder)
    stream = TaskStream(config("split-digits"), [digits], torch.device("cpu"))
    rows = stream._rows(digits.train_y, 3, "train_per_task")
    whole = stream._examples(digits.train_x, digits.train_y, rows, 3)
    for part in stream._divided(whole, digits.train_y, rows, 3, 0.5):
        assert part.x.data_ptr() == digits.train_x.data_ptr()


def test_a_class_of_one_image_cannot_give_any() -> None:
    x, y = torch.zeros(10, 1, 8, 8, dtype=torch.uint8), torch.arange(10)
    few = Dataset("digits", x, y, x, y, 10, (1, 8, 8), "0")
    stream = TaskStream(config("split-digits"), [few], torch.device("cpu"))
    with pytest.raises(UserError, match="task 2 of split-digits has no class with two training"):
        stream.task(2)


def test_another_device(folder: Path) -> None:
    task = open_stream(config("digits+digits"), folder, "meta").task(1)
    assert task.validation is not None
    assert task.validation.gather(torch.arange(3, device="meta")).x.device.type == "meta"
    assert len(task.validation) + len(task.train) == 1438
