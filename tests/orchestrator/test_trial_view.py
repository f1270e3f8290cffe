from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.metrics import METRICS
from orchestrator.results import SCHEMA_VERSION, ResultsStore
from orchestrator.trial_view import print_trial

NUMBERS = {"coverage": 0.5, "frechet": 12.34, "frechet_real": 0.5, "copying": 0.01}


def shown(folder: Path, width: int = 100, **other: Any) -> str:
    """What is printed of a trial of two tasks."""
    store = ResultsStore(folder)
    config = {"stream": {"dataset": "split-digits", "tasks": 2}, "options": {"freeze_depth": 1}}
    record = dict.fromkeys(METRICS, 0.5) | {
        "schema": SCHEMA_VERSION,
        "id": "0123456789abcdef",
        "dataset": "split-digits",
        "scenario": "class-incremental",
        "tasks": 2,
        "method": "dgr",
        "settings": "",
        "setup": "{}",
        "seed": 0,
        "stream_seed": 0,
        "config": json.dumps(config),
        "outcome": "finished",
        "cause": "",
        "accuracy": [[0.5, 0.5], [0.9, 0.1], [0.2, 0.9]],
        "bytes_kept": 1,
        "bytes_by_owner": {},
        "seconds": 1.0,
        "seconds_by_phase": {},
        "samples_per_second": 1.0,
        "traceback": "",
    }
    store.write(record | other)
    out = io.StringIO()
    print_trial("0123", store, Console(file=out, width=width))
    return out.getvalue()


@pytest.mark.parametrize("width", [100, 120])
def test_the_audit_of_a_trial_by_task(tmp_path: Path, width: int) -> None:
    audit = [NUMBERS | {"agreement": right, "drift": float("nan")} for right in (0.951, 0.403)]
    flag = "40 % of replayed labels are right; hardly any draws of classes 0, 3"
    text = shown(tmp_path, width, audit=audit, audit_flags=["", flag])
    lines = [" ".join(line.split()) for line in text.splitlines()]
    head = lines.index(
        "audit of replay labels right coverage Fréchet distance of real copying drift judge"
    )
    assert lines[head + 1 : head + 3] == [
        "after task 1 .951 .500 12.3 .500 .010 - -",
        "after task 2 .403 .500 12.3 .500 .010 - -",
    ]
    flags = lines.index("flag what is wrong with replay")
    assert lines[flags + 1 : flags + 3] == [f"after task 2 {flag}", ""]


def test_flags_are_no_markup(tmp_path: Path) -> None:
    text = shown(tmp_path, audit=[NUMBERS], audit_flags=["[bold]wrong[/bold] [link=x]"])
    assert "after task 1  [bold]wrong[/bold] [link=x]" in text


@pytest.mark.parametrize("nothing", [{}, {"audit": [], "audit_flags": []}])
def test_without_an_audit_nothing_is_said_of_it(tmp_path: Path, nothing: dict[str, Any]) -> None:
    text = shown(tmp_path, **nothing)
    assert "audit" not in text
    assert "flag" not in text


def test_an_audit_without_flags_has_no_table_of_them(tmp_path: Path) -> None:
    text = shown(tmp_path, audit=[NUMBERS] * 2, audit_flags=["", ""])
    assert "audit of replay" in text
    assert "what is wrong" not in text
