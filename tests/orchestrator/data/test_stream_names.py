"""What names of streams mean, and what is said of those that mean nothing."""

from __future__ import annotations

import re

import pytest

from orchestrator.data.sources import SOURCES, Source
from orchestrator.data.stream_names import (
    KINDS,
    StreamName,
    kind_of,
    name_forms,
    parse_name,
    stream_names,
)

NAMES = ("mnist", "fashion-mnist", "svhn", "a", "b", "a-b", "b-c", "c", "split")


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(SOURCES):
        monkeypatch.delitem(SOURCES, name)
    for name in NAMES:
        monkeypatch.setitem(SOURCES, name, Source(name, name, 10, (1, 8, 8)))


@pytest.mark.parametrize(
    ("dataset", "kind", "sources", "canonical"),
    [
        ("split-mnist", "split", ("mnist",), "split-mnist"),
        ("rotated-fashion-mnist", "rotated", ("fashion-mnist",), "rotated-fashion-mnist"),
        ("permuted-a-b", "permuted", ("a-b",), "permuted-a-b"),
        ("mnist-svhn", "sequence", ("mnist", "svhn"), "mnist+svhn"),
        ("svhn-mnist", "sequence", ("svhn", "mnist"), "svhn+mnist"),
        ("mnist+svhn", "sequence", ("mnist", "svhn"), "mnist+svhn"),
        ("fashion-mnist-svhn", "sequence", ("fashion-mnist", "svhn"), "fashion-mnist+svhn"),
        ("mnist-fashion-mnist", "sequence", ("mnist", "fashion-mnist"), "mnist+fashion-mnist"),
        ("mnist+mnist", "sequence", ("mnist", "mnist"), "mnist+mnist"),
        ("a-b+c+svhn", "sequence", ("a-b", "c", "svhn"), "a-b+c+svhn"),
        ("split-split", "split", ("split",), "split-split"),
    ],
)
def test_names(dataset: str, kind: str, sources: tuple[str, ...], canonical: str) -> None:
    name = parse_name(dataset)
    assert name == StreamName(kind, sources)
    assert name.canonical == canonical
    assert parse_name(canonical) == name
    assert kind_of(dataset) == kind


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("a-b-c", "'a-b-c' could mean 'a+b-c' or 'a-b+c'; write the one that is meant"),
        ("split-mnits", "unknown dataset 'split-mnits'; did you mean 'split-mnist'?"),
        ("mnist-shvn", "unknown dataset 'mnist-shvn'; did you mean 'mnist-svhn'?"),
        ("mnits+svhn+b", "unknown dataset 'mnits+svhn+b'; did you mean 'mnist+svhn+b'?"),
        ("split-mnist+svhn", "did you mean 'mnist+svhn'?"),
        ("mnist", "mnist is a source, of which streams are made; possible: split-mnist, perm"),
        ("foo", "unknown dataset 'foo'; possible: split-SOURCE, permuted-SOURCE, rotated-SOURCE"),
        ("foo", " or SOURCE+SOURCE, where SOURCE is a, a-b, b, b-c, c, fashion-mnist, mnist, spl"),
        ("mnist+", "unknown dataset 'mnist+'; possible: split-SOURCE"),
        ("+", "unknown dataset '+'; possible: "),
        ("permuted-mnist+zzz", "unknown dataset 'permuted-mnist+zzz'; possible: "),
        ("", "unknown dataset ''; possible: "),
        ("x" * 500, "possible: "),
    ],
)
def test_names_that_mean_nothing(dataset: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        parse_name(dataset)
    assert len(str(caught.value)) < 300


def test_a_kind_is_told_by_as_much_of_a_name_as_there_is() -> None:
    assert kind_of("split-mnits") == "split"
    assert kind_of("mnist+svnh") == "sequence"
    assert [kind_of(word) for word in ("foo", "mnist-svnh", "", 7, None)] == [""] * 5


def test_names_of_all_streams() -> None:
    assert len(stream_names()) == len(KINDS) * len(NAMES)
    assert all(parse_name(name).canonical == name for name in stream_names())
    assert name_forms() == "split-SOURCE, permuted-SOURCE, rotated-SOURCE or SOURCE+SOURCE"


def test_sources_of_few_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES[1:]:
        monkeypatch.delitem(SOURCES, name)
    with pytest.raises(ValueError, match=r"where SOURCE is mnist; or your own"):
        parse_name("foo")
