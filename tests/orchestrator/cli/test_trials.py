"""Trials on the command line: found by id and by name, and told apart."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.results import ResultsStore
from orchestrator.trial_view import trial_name

Write = Callable[..., Path]


def test_show_by_id_and_by_name(answer: Callable[..., Any], done: Path, ids: list[str]) -> None:
    results = done / "results"
    trial = ids[3]
    length = next(n for n in range(1, 17) if sum(other.startswith(trial[:n]) for other in ids) == 1)
    shown = answer("show", trial, "--results", results)
    assert shown.status == 0
    assert trial in shown.out
    assert "finished" in shown.out
    assert "average accuracy" in shown.out
    assert "network.widths" in shown.out
    assert answer("show", trial[:length], "--results", results).out == shown.out
    name = shown.out.split("   (")[0]
    assert re.fullmatch(r"split-digits/.*-incremental/(naive|replay\[.*\])/seed=[01]", name)
    assert answer("show", name, "--results", results).out == shown.out


def test_show_tells_trials_apart(answer: Callable[..., Any], done: Path) -> None:
    given = answer("show", "naive", "--results", done / "results")
    assert (given.status, given.err.count("\n")) == (2, 1)
    assert "'naive' fits 4 trials, among them " in given.err
    assert "give one's id" in given.err


def test_show_prefers_a_whole_name(
    answer: Callable[..., Any], done: Path, home: Path, ids: list[str]
) -> None:
    store = ResultsStore(home / "results")
    record = ResultsStore(done / "results").records(ids[:1])[0]
    for seed in (1, 10, 11):
        store.write(record | {"id": f"{seed:016x}", "seed": seed})
    name = trial_name(record | {"seed": 1})
    given = answer("show", name)
    assert given.status == 0
    assert given.out.startswith(f"{name}   (0000000000000001)")
    assert "fits 3 trials" in answer("show", name[1:]).err


def test_trials_of_one_name_are_told_apart(
    answer: Callable[..., Any], write: Write, home: Path
) -> None:
    path = write(
        "dataset: split-digits\ntasks: [2, 5]\nclass_order: [natural, seeded]\n"
        "stream_seed: [0, 7]\nmethod: [naive, joint]\nseed: 0..1\n"
        "network: {name: mlp, widths: [8]}\n"
    )
    rows = re.findall(r"(?m)^[0-9a-f]{16} +(.*)$", answer("plan", path).out)
    assert len(set(rows)) == len(rows) == 24
    assert "naive class_order=seeded, tasks=2, stream_seed=7" in "\n".join(rows)
    assert "widths" not in "".join(rows), "what all have in common tells nothing apart"
    same = write("dataset: split-digits\nstream_seed: same\nmethod: naive\nseed: 0..1\n")
    rows = re.findall(r"(?m)^[0-9a-f]{16} +(.*)$", answer("plan", same).out)
    assert [row.split() for row in rows] == [
        ["split-digits", "class-incremental", "naive", str(seed), "pending"] for seed in (0, 1)
    ]


def test_recorded_trials_of_one_name_are_told_apart(
    answer: Callable[..., Any], done: Path, home: Path, ids: list[str]
) -> None:
    record = ResultsStore(done / "results").records(ids[:1])[0]
    setup = json.loads(record["setup"])
    for tasks in (2, 5):
        changed = {"id": f"{tasks:016x}", "setup": json.dumps(setup | {"tasks": tasks})}
        ResultsStore(home / "results").write(record | changed)
    listed = answer("list", "trials").out
    for tasks in (2, 5):
        named = re.escape(f"{trial_name(record)} tasks={tasks} ")
        assert re.search(rf"(?m)^{tasks:016x} +{named}", listed)
