"""A trial is the same with an audit and without; its rows survive interruptions."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from methods.core.registry import method_class
from methods.networks import Backbone, Mlp
from orchestrator.audit.comparison import MEASURES
from orchestrator.audit.config import Audit
from orchestrator.errors import UserError
from orchestrator.plan import Plan
from orchestrator.results import DETERMINISTIC, Record, ResultsStore
from orchestrator.space.config import Resources
from orchestrator.storage import Storage
from orchestrator.trainable import job
from orchestrator.trial_run import Report, TrialRun

AUDIT = Audit(draws=200, judge_iterations=50)
SMALL = {"train_per_task": 100}
GLR = {"freeze_depth": 1, "memory": {"name": "gaussian"}}


class Dropping(Mlp):
    """An MLP with dropout, which draws from the global generator."""

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        blocks = super().build(shape).blocks
        first = torch.nn.Sequential(blocks[0], torch.nn.Dropout(0.3))
        return Backbone([first, *blocks[1:]], shape)


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "latents": ("glr", GLR),
    "stored draws": ("glr", {"freeze_depth": 1, "memory": {"name": "gmm", "refresh": "once"}}),
    "images": ("rehearsal", {"depth": 0, "memory": {"name": "gaussian"}}),
    "dropout": ("glr", GLR | {"network": Dropping(widths=(24, 16))}),
}


def bytes_of(run: TrialRun, reports: list[Report]) -> tuple[str, bytes]:
    """The deterministic columns and the final state."""
    record = reports[-1].record
    assert record is not None
    assert record["outcome"] == "finished", record["traceback"]
    state = io.BytesIO()
    torch.save(run.method.state_dict(), state)
    return json.dumps({name: record[name] for name in DETERMINISTIC}), state.getvalue()


@pytest.mark.parametrize("case", CASES)
def test_a_trial_is_the_same_with_an_audit_and_without(case: str, trial: Any, steps: Any) -> None:
    name, options = CASES[case]
    found = []
    for audit in (AUDIT, Audit(enabled=False)):
        run = trial(
            *(method_class(name),),
            options=options,
            stream=SMALL,
            audit=audit,
            results=str(audit.enabled),
        )
        reports = list(steps(run))
        found.append(bytes_of(run, reports))
        assert len(reports[-1].record["audit"]) == (5 if audit.enabled else 0)
    assert found[0] == found[1]


def test_the_time_of_the_audit_is_told_apart(trial: Any, steps: Any, replaying: Any) -> None:
    *_, last = steps(trial(replaying(), stream=SMALL, audit=Audit(judge_iterations=300)))
    spent = last.record["seconds_by_phase"]
    assert spent["audit"] > 0.1
    assert last.record["seconds"] < sum(spent.values()) - spent["audit"] + 1


def test_records_hold_a_row_for_each_task(
    trial: Any, steps: Any, replaying: Any, tmp_path: Path
) -> None:
    reports = [
        Report.from_json(report.to_json())
        for report in steps(trial(replaying(lambda x, y: (x, y * 0)), audit=AUDIT))
    ]
    record: Record | None = reports[-1].record
    assert record is not None
    assert [tuple(row) for row in record["audit"]] == [MEASURES] * 5
    assert [report.audit for report in reports] == record["audit"]
    assert [report.audit_flag for report in reports] == record["audit_flags"]
    assert all(record["audit_flags"])
    store = ResultsStore(tmp_path / "store")
    store.write(record)
    (found,) = store.records()
    assert found["audit"] == record["audit"]
    assert found["audit_flags"] == record["audit_flags"]


@pytest.mark.parametrize("name", ["replaying", "glr"])
def test_an_interrupted_audit_ends_as_if_it_had_not_been(
    name: str, trial: Any, steps: Any, replaying: Any
) -> None:
    cls, options = (replaying(), {}) if name == "replaying" else (method_class("glr"), GLR)
    what = {"options": options, "stream": SMALL, "audit": AUDIT}
    whole = list(steps(trial(cls, **what, results="whole")))
    for after in (1, 3):
        lost = trial(cls, **what, results=f"after {after}")
        for _ in range(after):
            lost.step()
        rest = list(steps(trial(cls, **what, results=f"after {after}")))
        assert rest[-1].record["audit"] == whole[-1].record["audit"]
        assert rest[-1].record["audit_flags"] == whole[-1].record["audit_flags"]
        told = [(report.audit, report.audit_flag) for report in (*rest[0].earlier, *rest)]
        assert told == [(report.audit, report.audit_flag) for report in whole]


def test_what_a_diverged_trial_replayed_is_in_its_record(
    trial: Any, replaying: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = replaying()

    def diverges(self: Any, batch: Any, logits: Any) -> Any:
        return {"new": logits.sum() * (torch.nan if self.tasks_learned == 1 else 0)}

    monkeypatch.setattr(cls, "loss_terms", diverges)
    run = trial(cls, audit=AUDIT)
    run.step()
    record = run.step().record
    assert record["outcome"] == "diverged"
    assert len(record["audit"]) == len(record["audit_flags"]) == 1


# Search spaces ------------------------------------------------------------------------------------


def test_a_search_space_says_how_and_it_is_no_part_of_the_identity(
    plan: Callable[[str], Plan], tmp_path: Path
) -> None:
    text = "dataset: split-digits\nmethod: glr\nfreeze_depth: 1\n"
    bare, other = plan(text), plan(text + "audit: {draws: 200, judge_iterations: 50}\n")
    assert bare.space.audit == Audit()
    assert other.space.audit == AUDIT
    assert plan(text + "audit: {enabled: false}\n").space.audit == Audit(enabled=False)
    assert [trial.id for trial in other.trials] == [trial.id for trial in bare.trials]
    space = other.space
    given = json.loads(
        job(
            *(other.trials[0], other.environment, Resources(), tmp_path, Storage(tmp_path)),
            *({}, space.watch, space.keep, space.audit),
        )
    )
    assert Audit(**given["audit"]) == AUDIT


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("audit: {draw: 10}", "audit.draw: unknown key; did you mean 'draws'?"),
        ("audit: {draws: 10}", "audit.draws: should be greater than or equal to 100, not 10"),
        ("audit: {judge_iterations: 0}", "audit.judge_iterations: should be greater than 0, not 0"),
        ("audit: off", "audit: should be a mapping, not false"),
    ],
)
def test_mistakes_are_told(line: str, message: str, plan: Callable[[str], Plan]) -> None:
    with pytest.raises(UserError) as caught:
        plan(f"dataset: split-digits\nmethod: naive\n{line}\n")
    assert message in str(caught.value)
