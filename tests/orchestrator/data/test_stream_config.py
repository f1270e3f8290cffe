"""Options of task streams: defaults, what goes together, one form for what is equal."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from methods.core.task import Scenario
from orchestrator.data import StreamConfig, stream_names
from orchestrator.data.sources import SOURCES, Source

#: Of each some that are in no data folder: a configuration needs none.
SOURCES_HERE = {
    "colour": (10, (3, 12, 12)),
    "letters": (26, (1, 8, 8)),
    "wide": (7, (1, 6, 10)),
    "deep": (10, (4, 8, 8)),
}


@pytest.fixture(autouse=True)
def sources(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, (classes, shape) in SOURCES_HERE.items():
        monkeypatch.setitem(SOURCES, name, Source(name, name, classes, shape))


def config(dataset: str = "split-digits", **options: Any) -> StreamConfig:
    return StreamConfig.model_validate({"dataset": dataset, **options})


def errors(**options: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as error:
        config(**options)
    return {str(detail["loc"][0]): detail["msg"] for detail in error.value.errors()}


def test_defaults_follow_the_kind() -> None:
    assert config("split-mnist").scenario is Scenario.CLASS_INCREMENTAL
    assert config("permuted-mnist").scenario is Scenario.DOMAIN_INCREMENTAL
    assert config("rotated-mnist").scenario is Scenario.DOMAIN_INCREMENTAL
    assert config("digits+mnist").scenario is Scenario.DOMAIN_INCREMENTAL
    assert config("digits+letters").scenario is Scenario.CLASS_INCREMENTAL
    assert config("split-mnist") == config("split-mnist", scenario="class-incremental", tasks=5)
    assert config("split-mnist") == config("split-mnist", scenario=None, tasks=None)
    assert hash(config("split-mnist")) == hash(config("split-mnist"))
    assert config("split-mnist").canonical()["scenario"] == "class-incremental"


def test_the_usual_number_of_tasks() -> None:
    assert config("split-digits").tasks == config("rotated-letters").tasks == 5
    assert config("split-letters").tasks == 13
    assert config("digits+mnist+colour").tasks == 3
    assert "cannot be divided evenly among 5" in errors(dataset="split-wide")["tasks"]


@pytest.mark.parametrize("dataset", [*stream_names(), "digits+mnist+letters"])
@pytest.mark.parametrize("scenario", ["task-incremental", "class-incremental"])
def test_canonical_form_reads_back(dataset: str, scenario: str) -> None:
    options = {"stream_seed": 3, "train_per_task": 700, "validation": 0.2, "pad_to": 99}
    whole = config(dataset, scenario=scenario, **options)
    assert StreamConfig.model_validate(whole.canonical()) == whole
    assert set(whole.canonical()) == StreamConfig.options_of(dataset)


def test_two_names_of_one_stream_have_one_canonical_form() -> None:
    assert config("digits-mnist") == config("digits+mnist")
    assert config("digits-mnist").canonical()["dataset"] == "digits+mnist"
    assert config("mnist-digits") != config("digits-mnist")


def test_unknown_names_have_suggestions() -> None:
    assert "did you mean 'split-mnist'" in errors(dataset="split-mnits")["dataset"]
    assert "did you mean 'rotated-digits'" in errors(dataset="rotatd-digits")["dataset"]
    assert "possible: " in errors(dataset="foo")["dataset"]
    assert set(errors(dataset="foo", tasks=3, validation=0.1, pad_to=2)) == {"dataset"}
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
        ("digits+mnist", "permute_first", False),
        ("rotated-mnist", "class_order", "seeded"),
        ("permuted-mnist", "class_order", "seeded"),
        ("permuted-mnist", "max_angle", 180),
        ("split-mnist", "permute", "padded"),
    ],
)
def test_options_of_another_kind(dataset: str, option: str, value: object) -> None:
    assert "is an option of" in errors(dataset=dataset, **{option: value})[option]


@pytest.mark.parametrize(
    ("dataset", "option", "value", "message"),
    [
        ("digits+mnist", "tasks", 5, "should be left out, or 2, the number of sources"),
        ("digits+letters", "scenario", "domain-incremental", "digits 10, letters 26: it cannot be"),
        ("digits+digits", "scenario", "class-incremental", "has a source twice"),
        ("split-mnist", "pad_to", 27, "at least 28, the largest height or width of images of spli"),
        ("digits+mnist", "pad_to", 8, "at least 28, the largest height or width of images of digi"),
        ("split-wide", "pad_to", 9, "at least 10"),
        ("permuted-mnist", "permute", "padded", "give pad_to too"),
    ],
)
def test_what_does_not_suit_the_sources(
    dataset: str, option: str, value: object, message: str
) -> None:
    tasks = {"tasks": 7} if dataset == "split-wide" else {}
    assert message in errors(dataset=dataset, **tasks | {option: value})[option]


def test_colours_must_be_of_one_kind() -> None:
    assert config("digits+colour").info().shape == (3, 12, 12)
    message = errors(dataset="digits+colour+deep")["dataset"]
    assert "no number of channels in common: digits 1, colour 3, deep 4" in message


def test_sizes_are_given_one_way() -> None:
    assert set(errors(pad_to=32, resize=32)) == {"resize"}
    assert config(pad_to=32, resize=None).info().shape == (1, 32, 32)


@pytest.mark.parametrize(
    ("dataset", "size", "fits"),
    [("split-digits", 2, False), ("split-digits", 3, True), ("rotated-digits", 10, False)],
)
def test_a_share_is_held_out_of_enough_images(dataset: str, size: int, fits: bool) -> None:
    options: dict[str, Any] = {"dataset": dataset, "train_per_task": size, "validation": 0.5}
    if fits:
        assert config(**options).validation == 0.5
    else:
        assert f"at least {size + 1}" in errors(**options)["validation"]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("tasks", 0),
        ("tasks", "5"),
        ("tasks", True),
        ("scenario", 3),
        ("class_order", "random"),
        ("train_per_task", 0),
        ("validation", 0),
        ("validation", 1),
        ("validation", float("nan")),
        ("validation", True),
        ("pad_to", 0),
        ("pad_to", 32.0),
        ("resize", "32"),
        ("max_angle", 0),
        ("max_angle", 361),
        ("max_angle", float("nan")),
        ("permute", "first"),
        ("stream_seed", 0.5),
        ("stream_seed", "sane"),
        ("stream_seed", True),
        ("taks", 5),
    ],
)
def test_wrong_values_are_refused_where_they_stand(option: str, value: object) -> None:
    assert set(errors(dataset="split-mnist", **{option: value})) == {option}


def test_all_mistakes_come_at_once() -> None:
    found = errors(
        dataset="split-mnist",
        tasks=4,
        permute_first=False,
        scenario="x",
        zzz=1,
        pad_to=20,
        permute="padded",
        validation=2.0,
    )
    wrong = {"tasks", "permute_first", "scenario", "zzz", "pad_to", "permute", "validation"}
    assert set(found) == wrong


def test_the_stream_seed_may_follow_the_seed() -> None:
    tied, fixed = config("permuted-mnist", stream_seed="same"), config("permuted-mnist")
    assert tied.with_seed(3) == config("permuted-mnist", stream_seed=3)
    assert fixed.with_seed(3) is fixed
    with pytest.raises(ValueError, match="with_seed"):
        _ = tied.rng


@pytest.mark.parametrize(
    ("dataset", "options", "drawn"),
    [
        ("split-mnist", {}, False),
        ("split-mnist", {"class_order": "seeded"}, True),
        ("split-mnist", {"train_per_task": 9}, True),
        ("split-mnist", {"validation": 0.1}, True),
        ("rotated-mnist", {"max_angle": 90.0}, False),
        ("permuted-mnist", {}, True),
        ("digits+mnist", {}, False),
        ("digits+mnist", {"validation": 0.1}, True),
    ],
)
def test_the_stream_seed_counts_where_something_is_drawn(
    dataset: str, options: dict[str, Any], drawn: bool
) -> None:
    stream = config(dataset, stream_seed="same", **options).with_seed(4)
    assert stream.stream_seed == (4 if drawn else 0)


@pytest.mark.parametrize(
    ("dataset", "options", "same_as"),
    [
        ("permuted-mnist", {"pad_to": 28, "permute": "padded"}, {}),
        ("split-mnist", {"resize": 28}, {}),
        ("digits+mnist", {"pad_to": 28}, {}),
        ("digits+mnist", {"resize": 28}, {"resize": 28}),
        ("rotated-wide", {"pad_to": 10}, {"pad_to": 10}),
        ("split-mnist", {"pad_to": 32}, {"pad_to": 32}),
    ],
)
def test_a_size_that_images_have_already_is_left_out(
    dataset: str, options: dict[str, Any], same_as: dict[str, Any]
) -> None:
    given, other = config(dataset, **options).with_seed(0), config(dataset, **same_as)
    assert given == other
    assert given.canonical() == other.canonical()
    assert given.info() == config(dataset, **options).info()


def test_options_of_a_dataset() -> None:
    common = {"dataset", "scenario", "train_per_task", "test_per_task", "stream_seed"}
    common |= {"pad_to", "resize", "validation"}
    assert StreamConfig.options_of("split-mnist") == common | {"tasks", "class_order"}
    assert StreamConfig.options_of("permuted-mnist") == common | {
        *("tasks", "permute_first", "permute")
    }
    assert StreamConfig.options_of("rotated-mnist") == common | {"tasks", "max_angle"}
    assert StreamConfig.options_of("digits-mnist") == common
    assert StreamConfig.options_of("digits+mnist") == common
    assert StreamConfig.options_of(7) == set(StreamConfig.model_fields)


def test_options_are_documented() -> None:
    assert all(field.description for field in StreamConfig.model_fields.values())
