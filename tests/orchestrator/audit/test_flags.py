"""Red flags: raised where replay is useless, and not where it is fine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from orchestrator.audit.flags import Finding, missing, red_flag

FINE = Finding(agreement=0.93, coverage=0.98, judge_accuracy=0.95)


def test_nothing_is_said_where_nothing_is_wrong() -> None:
    assert red_flag(FINE) == ""
    assert red_flag(replace(FINE, agreement=0.81, coverage=0.51, judge_accuracy=0.81)) == ""


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"agreement": 0.41}, "41 % of replayed labels are right"),
        (
            {"agreement": 0.41, "unseen": (3,), "unlabelled": (0,)},
            "41 % of replayed labels are right; hardly any draws of classes 0, 3",
        ),
        ({"unlabelled": (7,), "coverage": 0.1}, "hardly any draws of class 7"),
        (
            {"unseen": tuple(range(10))},
            "hardly any draws of classes 0, 1, 2, 3, 4, 5, 6, 7 and 2 more",
        ),
        ({"coverage": 0.31}, "draws are of few classes: coverage 0.31"),
        ({"not_finite": 0.25}, "25 % of replayed items are not finite"),
        (
            {"judge_accuracy": 0.5, "agreement": 0.2, "coverage": 0.1, "unseen": (1,)},
            "the audit is not to be trusted: its judge is right about 50 % of real test items",
        ),
        (
            {"judge_accuracy": 0.5, "unlabelled": (1,)},
            "the audit is not to be trusted: its judge is right about 50 % of real test items; "
            "hardly any draws of class 1",
        ),
    ],
)
def test_what_is_wrong_is_said(found: dict[str, Any], said: str) -> None:
    assert red_flag(replace(FINE, **found)) == said


def test_where_nothing_could_be_measured_only_that_is_said() -> None:
    assert red_flag(Finding(not_finite=1.0)) == "100 % of replayed items are not finite"


def test_a_class_is_missing_below_a_tenth_of_its_draws() -> None:
    frequencies = torch.tensor([0.5, 0.3, 0.2, 0.0])
    counts = torch.tensor([480, 480, 20, 20])
    labels = torch.arange(4).repeat_interleave(counts)
    assert missing(labels, frequencies) == (), "20 of 200 are not below"
    labels = torch.arange(4).repeat_interleave(torch.tensor([490, 490, 19, 1]))
    assert missing(labels, frequencies) == (2,)
    assert missing(torch.zeros(1000, dtype=torch.int64), frequencies) == (1, 2)


def test_a_class_that_chance_can_leave_out_is_not_missing() -> None:
    frequencies = torch.full((200,), 1 / 200)  # five draws each
    assert missing(torch.zeros(1000, dtype=torch.int64), frequencies) == ()
