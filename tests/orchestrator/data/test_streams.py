"""Task streams: what each task holds, under which labels, and from which seed."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from methods.core.task import Scenario, TaskClosed, TensorExamples
from orchestrator.data import StreamConfig, TaskStream, open_source, open_stream, stream_names
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


def errors(**options: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as error:
        config(**options)
    return {str(detail["loc"][0]): detail["msg"] for detail in error.value.errors()}


# Configuration


def test_defaults_follow_the_kind() -> None:
    assert config("split-mnist").scenario is Scenario.CLASS_INCREMENTAL
    assert config("permuted-mnist").scenario is Scenario.DOMAIN_INCREMENTAL
    assert config("rotated-mnist").scenario is Scenario.DOMAIN_INCREMENTAL
    assert config("split-mnist") == config("split-mnist", scenario="class-incremental", tasks=5)
    assert config("split-mnist") == config("split-mnist", scenario=None, tasks=None)
    assert hash(config("split-mnist")) == hash(config("split-mnist"))
    assert config("split-mnist").canonical()["scenario"] == "class-incremental"


@pytest.mark.parametrize("dataset", stream_names())
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_canonical_form_reads_back(dataset: str, scenario: Scenario) -> None:
    whole = config(dataset, scenario=str(scenario), stream_seed=3, train_per_task=7)
    assert StreamConfig.model_validate(whole.canonical()) == whole


def test_unknown_names_have_suggestions() -> None:
    assert "did you mean 'split-mnist'" in errors(dataset="split-mnits")["dataset"]
    assert "did you mean 'rotated-digits'" in errors(dataset="rotatd-digits")["dataset"]
    assert "possible: " in errors(dataset="foo")["dataset"]
    assert set(errors(dataset="foo", tasks=3)) == {"dataset"}
    found = errors(dataset="split-mnist", scenario="clas-incremental")
    assert "did you mean 'class-incremental'" in found["scenario"]


def test_tasks_must_divide_the_classes() -> None:
    assert errors(dataset="split-digits", tasks=3)["tasks"].endswith("possible: 1, 2, 5, 10")
    assert config("permuted-digits", tasks=3).info().tasks == 3


@pytest.mark.parametrize(
    ("dataset", "option", "value"),
    [
        ("split-mnist", "permute_first", False),
        ("rotated-mnist", "permute_first", False),
        ("rotated-mnist", "class_order", "seeded"),
        ("permuted-mnist", "class_order", "seeded"),
    ],
)
def test_options_of_another_kind(dataset: str, option: str, value: object) -> None:
    assert "is an option of" in errors(dataset=dataset, **{option: value})[option]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tasks", 0),
        ("tasks", "5"),
        ("tasks", True),
        ("scenario", 3),
        ("class_order", "random"),
        ("train_per_task", 0),
        ("stream_seed", 0.5),
        ("stream_seed", "sane"),
        ("stream_seed", True),
        ("taks", 5),
    ],
)
def test_wrong_values_are_refused_where_they_stand(option: str, value: object) -> None:
    assert set(errors(dataset="split-mnist", **{option: value})) == {option}


def test_all_mistakes_come_at_once() -> None:
    found = errors(dataset="split-mnist", tasks=4, permute_first=False, scenario="x", zzz=1)
    assert set(found) == {"tasks", "permute_first", "scenario", "zzz"}


def test_the_stream_seed_may_follow_the_seed() -> None:
    tied, fixed = config("permuted-mnist", stream_seed="same"), config("permuted-mnist")
    assert tied.with_seed(3) == config("permuted-mnist", stream_seed=3)
    assert fixed.with_seed(3) is fixed
    with pytest.raises(ValueError, match="with_seed"):
        _ = tied.rng


def test_options_of_a_dataset() -> None:
    common = {"dataset", "scenario", "tasks", "train_per_task", "stream_seed"}
    assert StreamConfig.options_of("split-mnist") == common | {"class_order"}
    assert StreamConfig.options_of("permuted-mnist") == common | {"permute_first"}
    assert StreamConfig.options_of("rotated-mnist") == common
    assert StreamConfig.options_of(7) == set(StreamConfig.model_fields)


def test_options_are_documented() -> None:
    assert all(field.description for field in StreamConfig.model_fields.values())


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
    chunks = ordered.class_chunks()
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
    train = stream._examples(digits.train_x, digits.train_y, 2, None)
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
    stream = TaskStream(wanted, open_source("digits", folder), torch.device("cpu"))
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
