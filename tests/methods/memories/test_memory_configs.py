"""Memories by name, and their options."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from methods.memories import (
    Buffer,
    BufferConfig,
    GaussianConfig,
    GmmConfig,
    KMeansConfig,
    Memory,
    MemoryConfig,
    Setting,
)
from methods.memories.pool import Pool

ANY: TypeAdapter[Any] = TypeAdapter(MemoryConfig)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("buffer", BufferConfig), ("gaussian", GaussianConfig), ("gmm", GmmConfig)]
    + [("kmeans", KMeansConfig)],
)
def test_a_name_stands_for_the_defaults(name: str, kind: type[Any]) -> None:
    config = ANY.validate_python(name)
    assert type(config) is kind
    assert config == kind() == ANY.validate_python({"name": name})
    assert ANY.validate_python(config.canonical()) == config
    memory = config.build(Setting(10))
    assert isinstance(memory, Memory)
    assert len(memory) == 0
    assert not memory.wants_features


@pytest.mark.parametrize(
    "wrong",
    ["vea", {"name": "gmm", "k": 3}, {"name": "gmm", "components": 0}]
    + [{"name": "gaussian", "components": 2}, {"name": "gmm", "decay": 1.0}]
    + [{"name": "kmeans", "covariance": "full"}, {"name": "buffer", "policy": "ring"}],
)
def test_mistakes(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        ANY.validate_python(wrong)


@pytest.mark.parametrize(
    ("options", "stores"),
    [({}, True), ({"refresh": "once"}, True), ({"refresh": "step"}, False)]
    + [({"share": "unlimited"}, False), ({"share": "decaying"}, True)],
)
def test_where_a_budget_has_a_meaning(options: dict[str, Any], stores: bool) -> None:
    config = GmmConfig(**options)
    assert config.stores is stores
    memory = config.build(Setting(10))
    assert isinstance(memory, Pool)
    assert memory.size == (10 if stores else None)


def test_a_rank_without_meaning_makes_no_difference() -> None:
    assert GmmConfig(rank=3) == GmmConfig()
    assert GmmConfig(covariance="low-rank", rank=3) != GmmConfig(covariance="low-rank")
    assert GmmConfig(decay=0.1) == GmmConfig()
    assert GmmConfig(share="decaying", decay=0.1) != GmmConfig(share="decaying")


def test_buffers() -> None:
    buffer = BufferConfig(policy="herding").build(Setting(None, 4))
    assert isinstance(buffer, Buffer)
    assert (buffer.policy, buffer.per_class, buffer.wants_features) == ("herding", 4, True)
    assert BufferConfig().stores
    assert BufferConfig().build(Setting(5)).policy == "class-balanced"
    assert BufferConfig().build(Setting(5, as_released=True)).size == 5
    with pytest.raises(ValueError, match="class-balanced budget"):
        BufferConfig(policy="reservoir").build(Setting(None, 4))
