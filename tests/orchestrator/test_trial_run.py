"""One trial, without Ray: what it reports, and what it makes of failures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from methods.core import registry
from methods.core.classifier import Classifier
from methods.core.method import Method
from methods.core.task import Batch
from orchestrator.data.stream_config import StreamConfig
from orchestrator.identity import Environment
from orchestrator.machine import OtherData
from orchestrator.results import SCHEMA
from orchestrator.storage import Storage
from orchestrator.trial import Trial, TrialConfig
from orchestrator.trial_code import trial_code
from orchestrator.trial_run import Report, TrialRun

Reports = Callable[..., list[Report]]


@pytest.fixture
def reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reports:
    """Run a method, registered for the test alone, on two tasks of digits."""

    def run(cls: type[Method], data: str | None = None, **options: Any) -> list[Report]:
        monkeypatch.setattr(cls, "name", "test-method")
        monkeypatch.setitem(registry._registered, "test-method", cls)
        stream = StreamConfig(dataset="split-digits", tasks=2)
        options = {"budget": {"iterations": 20, "batch_size": 8}} | options
        config = TrialConfig(stream, "test-method", cls.Config.model_validate(options), 0)
        data = stream.fingerprint(tmp_path) if data is None else data
        trial = Trial("0" * 16, config, data, trial_code(cls))
        about, results = {"space": "test", "commit": ""}, Storage(tmp_path / "results")
        whole = TrialRun(trial, Environment.here(), tmp_path, about, results=results)
        made = [whole.step()]
        while made[-1].record is None:
            made.append(whole.step())
        return made

    return run


def test_each_task_is_reported_with_its_row_and_its_losses(reports: Reports) -> None:
    class Plain(Classifier):
        """Fine-tuning."""

    first, last = reports(Plain)
    assert (first.task, last.task) == (1, 2)
    assert first.record is None
    assert last.record is not None
    assert last.record["outcome"] == "finished"
    np.testing.assert_array_equal(last.record["accuracy"][1:], [first.row, last.row])
    assert set(first.curves.series) == set(last.curves.series) == {"loss/new"}
    again = Report.from_json(last.to_json())
    assert (again.task, repr(again.row), repr(again.record)) == (
        *(last.task, repr(last.row)),
        repr(last.record),
    )
    assert set(last.record) == set(SCHEMA.names)


@pytest.mark.parametrize(
    ("budget", "images"),
    [
        ({"iterations": 7, "batch_size": 100}, 2 * 7 * 100),
        ({"epochs": 2, "batch_size": 256}, 2 * 1438),
    ],
)
def test_samples_per_second_counts_images_drawn(
    reports: Reports, budget: dict[str, int], images: int
) -> None:
    class Plain(Classifier):
        """Fine-tuning."""

    record = reports(Plain, budget=budget)[-1].record
    assert record is not None
    counted = record["samples_per_second"] * record["seconds_by_phase"]["fit"]
    assert counted == pytest.approx(images)


def test_logits_that_are_no_numbers_are_a_divergence(reports: Reports) -> None:
    class Breaks(Classifier):
        """Its very last step ruins the weights, after the last look at the loss."""

        steps = 0

        def after_step(self, batch: Batch) -> None:
            self.steps += 1
            if self.steps == 20:
                with torch.no_grad():
                    self.network.head.weight.fill_(torch.nan)

    (only,) = reports(Breaks)
    assert only.record is not None
    assert only.record["outcome"] == "diverged"
    assert only.record["cause"] == "logits for images of task 1 are not numbers"


def test_a_method_that_cannot_be_counted_is_an_error(reports: Reports) -> None:
    class Uncounted(Classifier):
        """Fails where its bytes are counted."""

        def owners(self) -> dict[str, object]:
            raise AttributeError("no owners")

    record = reports(Uncounted)[-1].record
    assert record is not None
    assert (record["outcome"], record["cause"]) == ("error", "AttributeError: no owners")
    assert "in owners" in record["traceback"]


def test_no_memory_left_is_the_machines_doing(reports: Reports) -> None:
    class Greedy(Classifier):
        """Asks for more memory than any machine has."""

        def losses(self, batch: Batch) -> dict[str, Tensor]:
            return {"new": torch.empty(10**15).sum()}

    with pytest.raises(RuntimeError, match="can't allocate memory"):
        reports(Greedy)


def test_other_data_than_planned_are_refused(reports: Reports) -> None:
    class Plain(Classifier):
        """Fine-tuning."""

    with pytest.raises(OtherData, match="are not those of the plan"):
        reports(Plain, data="another fingerprint")
