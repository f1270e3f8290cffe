"""Records as trials leave them, made by hand; and pages as a browser reads them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from orchestrator.metrics import (
    METRICS,
    average_accuracy,
    backward_transfer,
    forgetting,
    learning_accuracy,
)

Record = dict[str, Any]


def record(
    method: str = "naive",
    seed: int = 0,
    final: list[float] | None = None,
    options: dict[str, Any] | None = None,
    stream: dict[str, Any] | None = None,
    setup: dict[str, Any] | None = None,
    **other: Any,
) -> Record:
    """A trial whose tasks have these accuracies at the end; each is 0.9 when it is learned."""
    accuracies = np.array([0.5, 0.9] if final is None else final)
    tasks = len(accuracies)
    matrix = np.full((tasks + 1, tasks), math.nan)
    for i in range(1, tasks + 1):
        matrix[i, :i] = 0.9
    matrix[-1] = accuracies
    common = {"tasks": tasks, "data": "d" * 16} | (setup or {})
    of_stream = {"dataset": "split-digits", "scenario": "class-incremental", "tasks": tasks}
    config = {
        "method": method,
        "options": {"freeze_depth": 0, "variant": "corrected"} | (options or {}),
        "seed": seed,
        "stream": of_stream | {"stream_seed": 0} | (stream or {}),
    }
    numbers = (average_accuracy, learning_accuracy, forgetting, backward_transfer)
    row = {
        "dataset": "split-digits",
        "scenario": "class-incremental",
        "method": method,
        "settings": "",
        "setup": json.dumps({"code": f"code of {method}"} | common),
        "variant": "corrected",
        "seed": seed,
        "stream_seed": 0,
        "config": json.dumps(config),
        "outcome": "finished",
        "accuracy": matrix.tolist(),
        **dict.fromkeys(METRICS, math.nan),
        **{number.__name__: number(matrix) for number in numbers},
        "bytes_kept": 1000,
        "seconds": 2.0,
        "samples_per_second": 100.0,
        "started": datetime(2026, 3, 1 + seed, tzinfo=UTC),
        "engram": "0.1.0",
        "torch": "2.13.0",
        "device": "cpu",
        "gpu": "",
    } | other
    if row["outcome"] != "finished":
        row |= dict.fromkeys((*METRICS, "bytes_kept"), math.nan) | {"accuracy": None}
    told = [row[k] for k in ("dataset", "scenario", "settings", "variant", "stream_seed", "setup")]
    return {"id": f"{method}-{seed}-{told}"} | row


@pytest.fixture(scope="session")
def make_record() -> Callable[..., Record]:
    """Makes a record: ``make_record("replay", seed=1, final=[0.4, 0.9], settings="…")``."""
    return record


VOID = {"meta", "link", "input", "br", "img", "hr"}


class Node:
    def __init__(self, tag: str, attributes: dict[str, str], parent: Node | None) -> None:
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.children: list[Node | str] = []

    @property
    def text(self) -> str:
        whole = "".join(c if isinstance(c, str) else c.text for c in self.children)
        return " ".join(whole.split())

    def find(self, tag: str = "", **wanted: str) -> list[Node]:
        """Descendants with this tag and these attributes; ``class_`` is one of the classes."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                has = {**child.attributes, "class_": child.attributes.get("class", "")}
                alike = all(
                    (v in has["class_"].split()) if k == "class_" else has.get(_name(k)) == v
                    for k, v in wanted.items()
                )
                found += [child] if tag in ("", child.tag) and alike else []
                found += child.find(tag, **wanted)
        return found


def _name(keyword: str) -> str:
    return keyword.replace("_", "-")


class Page(HTMLParser):
    """A tree of what a page holds; a tag that is not closed, or closed twice, is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.root = self.at = Node("", {}, None)
        self.feed(text)
        self.close()
        assert self.at is self.root, f"<{self.at.tag}> is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"<{tag}> has an attribute twice"
        node = Node(tag, {name: value or "" for name, value in attrs}, self.at)
        self.at.children.append(node)
        if tag not in VOID:
            self.at = node

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.at.children.append(Node(tag, {n: v or "" for n, v in attrs}, self.at))

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.at.tag, f"</{tag}> where <{self.at.tag}> is open"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.children.append(data)


@pytest.fixture(scope="session")
def read_page() -> Callable[[str], Node]:
    """Reads HTML into a tree; what is not well-formed fails."""
    return lambda text: Page(text).root
