"""Task streams: what each task holds, under which labels, and from which seed."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch

from methods.core.task import Batch, Scenario, TaskClosed, TensorExamples
from orchestrator.data import StreamConfig, TaskStream, open_source, open_stream
from orchestrator.data.transforms import rotate
from orchestrator.errors import UserError

SCENARIOS = list(Scenario)
KINDS = ["split", "permuted", "rotated"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def config(dataset: str = "split-digits", **options: Any) -> StreamConfig:
    return StreamConfig.model_validate({"dataset": dataset, **options})


def everything(examples: Any) -> tuple[torch.Tensor, torch.Tensor]:
    batch = examples.gather(torch.arange(len(examples)))
    assert batch.y is not None
    return batch.x, batch.y


# Tasks and labels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_an_opened_stream_keeps_what_its_info_says(
    kind: str, scenario: Scenario, folder: Path
) -> None:
    wanted = config(f"{kind}-digits", scenario=scenario, tasks=5)
    stream = open_stream(wanted, folder)
    assert stream.info == wanted.info()
    assert stream.info.shape == (1, 8, 8)
    assert stream.fingerprint == wanted.fingerprint(folder)
    for i, classes in enumerate(stream.info.classes_of):
        task = stream.task(i)
        assert (task.index, task.classes) == (i, classes)
        for examples in (task.train, stream.test(i)):
            x, y = everything(examples)
            assert x.dtype == torch.uint8
            assert x.shape[1:] == stream.info.shape
            assert sorted(set(y.tolist())) == sorted(classes)
    seen = {c for classes in stream.info.classes_of for c in classes}
    assert seen == set(range(stream.info.classes))


@pytest.mark.parametrize("scenario", [Scenario.CLASS_INCREMENTAL, Scenario.TASK_INCREMENTAL])
def test_split_keeps_the_labels_of_the_source(scenario: Scenario, folder: Path) -> None:
    digits = open_source("digits", folder)
    stream = open_stream(config(scenario=scenario), folder)
    assert stream.info.classes == 10
    assert stream.info.classes_of == ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
    taken = []
    for i in range(5):
        x, y = everything(stream.task(i).train)
        rows = ((digits.train_y == 2 * i) | (digits.train_y == 2 * i + 1)).nonzero().squeeze(1)
        assert torch.equal(x, digits.train_x[rows])
        assert torch.equal(y, digits.train_y[rows])
        taken.append(rows)
    assert torch.cat(taken).sort().values.tolist() == list(range(len(digits.train_y)))


def test_split_in_domains_labels_by_place(folder: Path) -> None:
    ordered = config(scenario="domain-incremental", class_order="seeded", stream_seed=1)
    stream, digits = open_stream(ordered, folder), open_source("digits", folder)
    chunks = [part.classes for part in ordered.layout()]
    assert sorted(c for chunk in chunks for c in chunk) == list(range(10))
    assert any(chunk[0] > chunk[1] for chunk in chunks)  # or the test would not tell the order
    assert stream.info.classes == 2
    assert stream.info.classes_of == ((0, 1),) * 5
    for i, chunk in enumerate(chunks):
        _, y = everything(stream.test(i))
        mine = digits.test_y[torch.isin(digits.test_y, torch.tensor(chunk))]
        assert [chunk[label] for label in y.tolist()] == mine.tolist()


@pytest.mark.parametrize("kind", ["permuted", "rotated"])
def test_labels_of_domains(kind: str, folder: Path) -> None:
    digits = open_source("digits", folder)
    domain = open_stream(config(f"{kind}-digits"), folder)
    classes = open_stream(config(f"{kind}-digits", scenario="class-incremental"), folder)
    assert domain.info.classes == 10
    assert classes.info.classes == 50
    assert classes.info.classes_of[3] == tuple(range(30, 40))
    for i in (0, 3):
        assert torch.equal(everything(domain.task(i).train)[1], digits.train_y)
        assert torch.equal(everything(classes.test(i))[1], digits.test_y + 10 * i)
        assert torch.equal(everything(classes.test(i))[0], everything(domain.test(i))[0])


def test_splitting_copies_nothing(folder: Path) -> None:
    digits, stream = open_source("digits", folder), open_stream(config(), folder)
    test = stream.test(2)
    assert test.x.data_ptr() == digits.test_x.data_ptr()
    assert test.y.data_ptr() == digits.test_y.data_ptr()
    assert test.rows is not None
    assert len(test.rows) == len(test)
    train = stream._examples(digits.train_x, digits.train_y, test.rows, 2)
    assert train.x.data_ptr() == digits.train_x.data_ptr()


def test_a_closed_task_is_opened_afresh(folder: Path) -> None:
    stream = open_stream(config("rotated-digits"), folder)
    task = stream.task(1)
    task.close()
    with pytest.raises(TaskClosed):
        task.train.gather(torch.tensor([0]))
    assert len(stream.task(1).train) == 1438
    with pytest.raises(IndexError, match="no task 5"):
        stream.task(5)
    with pytest.raises(IndexError):
        stream.test(-1)


# Permutations, rotations, subsets


def permutations(stream: TaskStream, folder: Path) -> list[list[int]]:
    """Recover the permutation of each task from a source whose pixels are all different."""
    x = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8)
    return [stream._transformed(x, i).flatten().tolist() for i in range(stream.info.tasks)]


def test_each_task_has_its_permutation(folder: Path) -> None:
    one = permutations(open_stream(config("permuted-digits"), folder), folder)
    assert all(sorted(permutation) == list(range(64)) for permutation in one)
    assert len({tuple(permutation) for permutation in one}) == 5
    assert list(range(64)) not in one
    # More tasks, another scenario, a subset: the permutations of a seed stay.
    more = config("permuted-digits", tasks=7, scenario="class-incremental", train_per_task=9)
    assert permutations(open_stream(more, folder), folder)[:5] == one
    other = permutations(open_stream(config("permuted-digits", stream_seed=1), folder), folder)
    assert not {tuple(p) for p in one} & {tuple(p) for p in other}


def test_the_first_task_may_be_left_as_it_is(folder: Path) -> None:
    digits = open_source("digits", folder)
    stream = open_stream(config("permuted-digits", permute_first=False), folder)
    assert torch.equal(everything(stream.task(0).train)[0], digits.train_x)
    usual = open_stream(config("permuted-digits"), folder)
    assert permutations(stream, folder)[1:] == permutations(usual, folder)[1:]


def test_train_and_test_share_the_permutation(folder: Path) -> None:
    digits, stream = open_source("digits", folder), open_stream(config("permuted-digits"), folder)
    permutation = torch.tensor(permutations(stream, folder)[2])
    for examples, x in ((stream.task(2).train, digits.train_x), (stream.test(2), digits.test_x)):
        assert torch.equal(everything(examples)[0].flatten(1), x.flatten(1)[:, permutation])


@pytest.mark.parametrize("draw", [lambda: None, lambda: torch.manual_seed(123)])
def test_no_other_seed_enters(draw: Any, folder: Path) -> None:
    wanted = config("permuted-digits", train_per_task=20)
    draw()
    before = torch.random.get_rng_state()
    stream = TaskStream(wanted, [open_source("digits", folder)], torch.device("cpu"))
    x, y = everything(stream.task(3).train)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert y[:6].tolist() == everything(open_stream(wanted, folder).task(3).train)[1][:6].tolist()
    assert torch.equal(x, everything(open_stream(wanted, folder).task(3).train)[0])


def test_angles_divide_the_circle(folder: Path) -> None:
    digits = open_source("digits", folder)
    stream = open_stream(config("rotated-digits", tasks=4), folder)
    for i in range(4):
        x, _ = everything(stream.test(i))
        assert torch.equal(x, torch.rot90(digits.test_x, i, (2, 3)))
    five = open_stream(config("rotated-digits"), folder)
    assert torch.equal(everything(five.task(3).train)[0], rotate(digits.train_x, 216.0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_subset_is_a_part_of_the_task(kind: str, folder: Path) -> None:
    whole = open_stream(config(f"{kind}-digits"), folder)
    part = open_stream(config(f"{kind}-digits", train_per_task=40), folder)
    other = open_stream(config(f"{kind}-digits", train_per_task=40, stream_seed=1), folder)
    assert len(part.test(1)) == len(whole.test(1))
    x, y = everything(part.task(1).train)
    assert len(x) == len(y) == 40
    all_x, all_y = everything(whole.task(1).train)
    known = {
        (image.numpy().tobytes(), int(label)) for image, label in zip(all_x, all_y, strict=True)
    }
    assert all(
        (image.numpy().tobytes(), int(label)) in known for image, label in zip(x, y, strict=True)
    )
    assert torch.equal(x, everything(part.task(1).train)[0])
    assert not torch.equal(x, everything(other.task(1).train)[0])


def test_subsets_differ_between_tasks(folder: Path) -> None:
    stream = open_stream(config("rotated-digits", train_per_task=40), folder)
    assert not torch.equal(everything(stream.task(0).train)[1], everything(stream.task(1).train)[1])


def test_a_subset_larger_than_the_task_is_a_mistake(folder: Path) -> None:
    stream = open_stream(config(train_per_task=1000), folder)
    with pytest.raises(UserError, match="train_per_task is 1000, but task 0 of split-digits has"):
        stream.task(0)


# Opening


def test_a_stream_is_opened_once(folder: Path) -> None:
    stream = open_stream(config("permuted-digits"), folder)
    assert open_stream(config("permuted-digits"), folder, torch.device("cpu")) is stream
    assert stream.test(1) is stream.test(1)
    assert isinstance(stream.test(1), TensorExamples)


def test_only_a_few_streams_are_kept(folder: Path) -> None:
    kept = [
        weakref.ref(open_stream(config("rotated-digits", stream_seed=seed), folder))
        for seed in range(6)
    ]
    gc.collect()
    assert sum(reference() is not None for reference in kept) == 2


def test_another_device(folder: Path) -> None:
    stream = open_stream(config("split-digits"), folder, "meta")
    batch = stream.task(0).train.gather(torch.arange(3, device="meta"))
    assert batch.x.device.type == "meta"
    assert batch.x.shape == (3, 1, 8, 8)


@pytest.mark.parametrize("dataset", ["split-digits", "rotated-digits"])
def test_a_subset_of_the_test_images(dataset: str, data_dir: Path) -> None:
    def tests(**options: Any) -> list[Batch]:
        stream = open_stream(StreamConfig(dataset=dataset, **options), data_dir)
        sets = [stream.test(task) for task in range(5)]
        return [examples.gather(torch.arange(len(examples))) for examples in sets]

    whole, part, again = tests(), tests(test_per_task=20), tests(test_per_task=20)
    other = tests(test_per_task=20, stream_seed=1)
    for all_of_it, some, same, differs in zip(whole, part, again, other, strict=True):
        assert len(some.x) == 20
        assert torch.equal(some.x, same.x)
        assert not torch.equal(some.x, differs.x)
        rows = [int((all_of_it.x == x).flatten(1).all(1).nonzero()[0]) for x in some.x]
        assert len(set(rows)) == 20
        assert torch.equal(all_of_it.y[rows], some.y)


def test_more_test_images_than_there_are(data_dir: Path) -> None:
    stream = open_stream(StreamConfig(dataset="split-digits", test_per_task=500), data_dir)
    with pytest.raises(UserError, match="test_per_task is 500, but task 0 of split-digits has"):
        stream.test(0)
