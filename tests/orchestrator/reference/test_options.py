from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
)

from methods.core.config import Config
from methods.core.training import Adam, Budget, OptimizerConfig, Sgd
from methods.memories import FlowConfig, GmmConfig, MemoryConfig
from methods.networks import Mlp, NetworkConfig
from orchestrator.reference.options import as_yaml, in_words, options_table, table

Share = Annotated[float, Field(ge=0, le=1)]


class Inner(Config):
    """A mapping that nothing else describes."""

    width: PositiveInt = 3
    """Units | cells."""


class Wider(GmmConfig):
    """A memory with other defaults."""

    components: PositiveInt = 9
    """Many."""


class Outer(Config):
    """Options of every kind."""

    name: Literal["outer"] = "outer"
    rate: PositiveFloat = 1e-5
    """How fast."""
    usual: float | None = Field(default=None, validate_default=True)
    """Twice the ``rate``."""
    memory: MemoryConfig = Field(default_factory=lambda: GmmConfig(components=10))
    """What is kept."""
    inner: Inner = Field(default_factory=Inner)
    """More of them."""

    @field_validator("usual")
    @classmethod
    def _twice(cls, usual: float | None, info: ValidationInfo) -> float:
        return 2 * float(info.data["rate"]) if usual is None else usual


def test_a_table_has_names_types_defaults_and_meanings() -> None:
    assert options_table(Outer, within="x.").splitlines()[2:] == [
        "| `x.rate` | number > 0 | `1e-5` | How fast. |",
        "| `x.usual` | number, or none | `2e-5`, by other options | Twice the `rate`. |",
        "| `x.memory` | a [memory](#memories) | `{name: gmm, components: 10}` | What is kept. |",
        "| `x.inner` | a mapping | as below | More of them. |",
        "| `x.inner.width` | whole number > 0 | `3` | Units \\| cells. |",
    ]
    assert options_table(Outer, []) == ""


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "whole number"),
        (bool, "`true` or `false`"),
        (str, "text"),
        (NonNegativeInt, "whole number ≥ 0"),
        (Share, "number ≥ 0 and ≤ 1"),
        (Share | None, "number ≥ 0 and ≤ 1, or none"),
        (Literal["a"], "`a`"),
        (Literal["a", "b", "c"] | None, "`a`, `b` or `c`, or none"),
        (Literal["mean", "1/t"] | Share, "`mean`, `1/t` or number ≥ 0 and ≤ 1"),
        (tuple[PositiveInt, ...], "list: whole number > 0"),
        (tuple[Share, Share], "list of 2: number ≥ 0 and ≤ 1"),
        (NetworkConfig, "a [network](#networks)"),
        (MemoryConfig, "a [memory](#memories)"),
        (OptimizerConfig, "an [optimizer](#optimizer)"),
        (FlowConfig | None, "a [memory](#memories): `flow`, or none"),
        (Annotated[Wider | FlowConfig, Field(discriminator="name")], "a [memory](#memories)"),
        (Inner | None, "a mapping: `width`, or none"),
    ],
)
def test_types_are_told_in_words(annotation: Any, words: str) -> None:
    assert in_words(annotation) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        (1e-3, "0.001"),
        (1e4, "10000"),
        (2e-8, "2e-8"),
        (3e9, "3e9"),
        ((400, 400), "[400, 400]"),
        ({"name": "vae", "conditional": True}, "{name: vae, conditional: true}"),
        (Inner(), "{width: 3}"),
    ],
)
def test_values_are_written_as_in_a_search_space(value: Any, text: str) -> None:
    assert as_yaml(value) == text


def test_parts_are_known_by_their_name_alone_where_nothing_differs() -> None:
    class Parts(Config):
        network: NetworkConfig = Field(default_factory=Mlp)
        """A."""
        optimizer: OptimizerConfig = Field(default_factory=lambda: Sgd(lr=0.1))
        """B."""
        memory: FlowConfig = Field(default_factory=FlowConfig)
        """C."""
        budget: Budget | None = Budget(epochs=2)
        """D."""
        other: OptimizerConfig | None = None
        """E."""

    rows = [line.split(" | ")[2] for line in options_table(Parts).splitlines()[2:]]
    assert rows == [
        "`mlp`",
        "`{name: sgd, lr: 0.1}`",
        "`flow`",
        "`{epochs: 2, batch_size: 128}`",
        "–",
    ]
    assert Adam().name == "adam"


def test_columns_are_aligned() -> None:
    assert table(["a", "n"], [["x", "1"]], " r") == "| a | n |\n| --- | ---: |\n| x | 1 |"
