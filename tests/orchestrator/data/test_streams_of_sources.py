"""Streams of several sources, and what brings images to another size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from methods.core.task import Scenario
from orchestrator.data import StreamConfig, fingerprint, open_source, open_stream
from orchestrator.data.sources import SOURCES, Images, Layout, Source
from orchestrator.data.transforms import permute_pixels, resize, rotate


def source(name: str, classes: int, shape: tuple[int, int, int]) -> Source:
    random = np.random.default_rng(classes)

    def some(n: int) -> tuple[Any, Any]:
        x = random.integers(0, 256, (n, *shape), dtype=np.uint8)
        return x, np.arange(n, dtype=np.int64) % classes

    (train_x, train_y), (test_x, test_y) = some(60), some(30)
    layout = Layout(lambda folder: Images(train_x, train_y, test_x, test_y))
    return Source(name, name, classes, shape, (layout,))


@pytest.fixture(scope="module", autouse=True)
def sources() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        for one in (source("colour", 10, (3, 12, 11)), source("letters", 26, (1, 8, 8))):
            patch.setitem(SOURCES, one.name, one)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def config(dataset: str, **options: Any) -> StreamConfig:
    return StreamConfig.model_validate({"dataset": dataset, **options})


def everything(examples: Any) -> tuple[Tensor, Tensor]:
    batch = examples.gather(torch.arange(len(examples)))
    assert batch.y is not None
    return batch.x, batch.y


# Several sources


def test_each_task_has_a_source(folder: Path) -> None:
    stream = open_stream(config("digits-colour"), folder)
    digits, colour = open_source("digits", folder), open_source("colour", folder)
    assert stream.info.scenario is Scenario.DOMAIN_INCREMENTAL
    assert stream.info.shape == (3, 12, 11)
    assert (stream.info.tasks, stream.info.classes) == (2, 10)
    assert stream.info.classes_of == (tuple(range(10)),) * 2
    for part, x, y in (
        (stream.task(0).train, digits.train_x, digits.train_y),
        (stream.test(0), digits.test_x, digits.test_y),
    ):
        shown, labels = everything(part)
        assert torch.equal(labels, y)
        # 8 × 8 in 12 × 11: two rows above and below; one column to the left, two to the right.
        assert torch.equal(shown, functional.pad(x, (1, 2, 2, 2)).repeat(1, 3, 1, 1))
    assert torch.equal(everything(stream.task(1).train)[0], colour.train_x)
    assert torch.equal(everything(stream.test(1))[1], colour.test_y)
    assert stream.fingerprint == config("digits+colour").fingerprint(folder)


@pytest.mark.parametrize("scenario", ["class-incremental", "task-incremental"])
def test_labels_go_on_from_source_to_source(scenario: str, folder: Path) -> None:
    stream = open_stream(config("letters+digits+colour", scenario=scenario), folder)
    assert stream.info.classes == 46
    assert stream.info.classes_of == (
        *(tuple(range(26)), tuple(range(26, 36)), tuple(range(36, 46))),
    )
    for i, classes in enumerate(stream.info.classes_of):
        for examples in (stream.task(i).train, stream.test(i)):
            assert sorted(set(everything(examples)[1].tolist())) == list(classes)
    colour = open_source("colour", folder)
    assert torch.equal(everything(stream.task(2).train)[1], colour.train_y + 36)


def test_nothing_is_copied_that_stays_as_it_is(folder: Path) -> None:
    stream, digits = open_stream(config("digits+digits"), folder), open_source("digits", folder)
    for i in range(2):
        assert stream.test(i).x.data_ptr() == digits.test_x.data_ptr()
        assert stream.test(i).y.data_ptr() == digits.test_y.data_ptr()
    mixed = open_stream(config("colour+letters", train_per_task=20), folder)
    colour = open_source("colour", folder)
    assert mixed.test(0).x.data_ptr() == colour.test_x.data_ptr()
    # A grey image takes the memory of one channel, until it is gathered.
    grey = mixed.test(1)
    assert grey.x.untyped_storage().nbytes() == len(grey) * 12 * 11
    batch = grey.gather(torch.arange(2))
    assert batch.x.is_contiguous()
    assert batch.x.untyped_storage().nbytes() == 2 * 3 * 12 * 11


def test_a_subset_of_each_source(folder: Path) -> None:
    stream = open_stream(config("digits+colour", train_per_task=20, pad_to=16), folder)
    assert [len(stream.task(i).train) for i in range(2)] == [20, 20]
    assert [len(stream.test(i)) for i in range(2)] == [359, 30]
    shown = {image.numpy().tobytes() for image in everything(stream.task(1).train)[0]}
    colour = open_source("colour", folder)
    known = {image.numpy().tobytes() for image in functional.pad(colour.train_x, (2, 3, 2, 2))}
    assert shown < known


def test_a_sequence_has_the_fingerprints_of_its_sources(folder: Path) -> None:
    own = [fingerprint(name, folder) for name in ("digits", "colour")]
    assert config("split-digits").fingerprint(folder) == own[0]
    both = [config(name).fingerprint(folder) for name in ("digits+colour", "colour+digits")]
    assert len({*own, *both}) == 4
    assert all(len(text) == 64 for text in both)


# Sizes


@pytest.mark.parametrize("dataset", ["split-digits", "rotated-digits", "digits+letters"])
def test_padded(dataset: str, folder: Path) -> None:
    raw, padded = (open_stream(config(dataset, pad_to=to), folder) for to in (None, 11))
    assert padded.info.shape == (1, 11, 11)
    for i in range(2):
        for part, other in (
            (raw.task(i).train, padded.task(i).train),
            (raw.test(i), padded.test(i)),
        ):
            x, y = everything(part)
            assert torch.equal(everything(other)[0], functional.pad(x, (1, 2, 1, 2)))
            assert torch.equal(everything(other)[1], y)


@pytest.mark.parametrize("dataset", ["split-digits", "permuted-digits", "rotated-digits"])
def test_resized(dataset: str, folder: Path) -> None:
    raw, resized = (open_stream(config(dataset, resize=to), folder) for to in (None, 13))
    assert resized.info.shape == (1, 13, 13)
    for i in (0, 3):
        assert torch.equal(
            everything(resized.task(i).train)[0], resize(everything(raw.task(i).train)[0], 13)
        )


def test_sources_are_resized_each_from_its_own_size(folder: Path) -> None:
    stream = open_stream(config("digits+colour", resize=12), folder)
    assert stream.info.shape == (3, 12, 12)
    digits = resize(open_source("digits", folder).test_x, 12).repeat(1, 3, 1, 1)
    assert torch.equal(everything(stream.test(0))[0], digits)
    colour = resize(open_source("colour", folder).test_x, 12)
    assert torch.equal(everything(stream.test(1))[0], colour)


# Permutations and rotations


def test_pixels_are_permuted_before_or_after_padding(folder: Path) -> None:
    digits = open_source("digits", folder).test_x
    usual = everything(open_stream(config("permuted-digits"), folder).test(1))[0]
    before = everything(open_stream(config("permuted-digits", pad_to=12), folder).test(1))[0]
    assert torch.equal(before, functional.pad(usual, (2, 2, 2, 2)))
    after = open_stream(config("permuted-digits", pad_to=12, permute="padded"), folder)
    x = torch.arange(144, dtype=torch.uint8).view(1, 1, 12, 12)
    permutation = after._permuted(x, 1).flatten().long()
    assert sorted(permutation.tolist()) == list(range(144))
    expected = permute_pixels(functional.pad(digits, (2, 2, 2, 2)), permutation)
    assert torch.equal(everything(after.test(1))[0], expected)
    assert not torch.equal(expected, before)


def test_the_first_task_may_be_padded_and_not_permuted(folder: Path) -> None:
    wanted = config("permuted-digits", pad_to=12, permute="padded", permute_first=False)
    stream = open_stream(wanted, folder)
    digits = open_source("digits", folder).test_x
    assert torch.equal(everything(stream.test(0))[0], functional.pad(digits, (2, 2, 2, 2)))
    assert not torch.equal(everything(stream.test(1))[0], functional.pad(digits, (2, 2, 2, 2)))


def test_angles_divide_the_largest(folder: Path) -> None:
    digits = open_source("digits", folder)
    stream = open_stream(config("rotated-digits", tasks=4, max_angle=180), folder)
    for i in range(4):
        assert torch.equal(everything(stream.test(i))[0], rotate(digits.test_x, 45 * i))
