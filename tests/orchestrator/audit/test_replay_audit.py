"""An audit finds out what is wrong with replay, and what is right; its own errors end it alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from methods.core.method import Replayed
from methods.core.registry import method_class
from methods.core.rng import Rng
from methods.core.task import Batch
from methods.networks import Mlp
from orchestrator.audit.comparison import MEASURES
from orchestrator.audit.config import Audit
from orchestrator.audit.replay_audit import ReplayAudit
from orchestrator.data.streams import TaskStream
from orchestrator.machine import OutOfMemory
from orchestrator.results import Record
from orchestrator.trial_run import Report

NETWORK = {"name": "mlp", "widths": [48, 32]}
AUDIT = Audit(draws=500, judge_iterations=400)


@pytest.fixture
def audited(digits: TaskStream, replaying: Any) -> Callable[..., ReplayAudit]:
    """Audits a method that replays real images, spoilt, after each of two tasks."""

    def audit(spoil: Any = None, tasks: int = 2, **how: Any) -> ReplayAudit:
        cls = replaying(spoil)
        options = {"network": NETWORK, "budget": {"iterations": 1}}
        method = cls(cls.Config.model_validate(options), digits.info, Rng(0))
        for name, value in how.items():
            setattr(method, name, value)
        found = ReplayAudit(AUDIT)
        for task in range(tasks):
            method.learn(digits.task(task))
            found.after_task(method, digits)
        return found

    return audit


def test_stored_images_are_right_everywhere_and_copies(audited: Any) -> None:
    found = audited()
    assert found.flags == ["", ""]
    for row in found.rows:
        assert tuple(row) == MEASURES
        assert row["agreement"] > 0.95
        assert row["coverage"] > 0.98
        assert row["copying"] == 1.0
        assert row["drift"] < 0.1
        assert row["frechet"] < 4 * row["frechet_real"]
        assert row["judge_accuracy"] > 0.9


def test_images_that_are_new_are_no_copies(digits: TaskStream, audited: Any) -> None:
    def of_tests(n: int) -> Replayed:
        test = digits.test(0)
        return Replayed(test.gather(torch.randint(len(test), (n,))), 0)

    (row,) = audited(tasks=1, replayed=of_tests).rows
    assert row["copying"] < 0.05
    assert row["agreement"] > 0.9


def test_wrong_labels_are_found(audited: Any) -> None:
    def half_wrong(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x, torch.where(torch.arange(len(y)) % 2 == 0, y, 1 - y % 2 + y // 2 * 2)

    found = audited(half_wrong)
    for row, flag in zip(found.rows, found.flags, strict=True):
        assert row["agreement"] == pytest.approx(0.5, abs=0.05)
        assert row["coverage"] > 0.95
        assert row["drift"] > 0.2
        assert flag.endswith(" % of replayed labels are right")


@pytest.mark.parametrize(("shift", "right"), [(0, 1.0), (1, 0.0)])
def test_where_every_head_labels_its_own_is_asked(
    digits: TaskStream, audited: Any, shift: int, right: float
) -> None:
    def of_tests(n: int) -> Replayed:
        test = digits.test(0)
        batch = test.gather(torch.randint(len(test), (n,)))
        assert batch.y is not None
        said, elsewhere = (batch.y + shift) % 2, batch.y + 2  # whose head is surer of itself
        logits = functional.one_hot(said, 10) + 5 * functional.one_hot(elsewhere, 10)
        return Replayed(Batch(batch.x, logits=logits.float()), 0)

    (row,) = audited(tasks=1, replayed=of_tests).rows
    assert row["agreement"] == pytest.approx(right, abs=0.05)


def test_a_collapsed_generator_is_found(audited: Any) -> None:
    def one_image(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return x[:1].expand(len(x), -1, -1, -1), y[:1].expand(len(y))

    found = audited(one_image)
    assert found.rows[1]["coverage"] == 0
    assert found.rows[1]["frechet"] > 5 * found.rows[1]["frechet_real"]
    assert found.flags[1].startswith("hardly any draws of classes ")
    assert len(found.flags[1].split(",")) == 3, "three of four are named"


def test_a_missing_class_is_named(audited: Any) -> None:
    def without_zero(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        rows = (y != 0).nonzero().squeeze(1)
        return x[rows], y[rows]

    assert audited(without_zero).flags == ["hardly any draws of class 0"] * 2


def test_noise_is_found(audited: Any) -> None:
    def noise(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        draws = torch.Generator().manual_seed(0)
        return torch.randint(256, x.shape, generator=draws, dtype=torch.uint8), y

    found = audited(noise)
    assert found.rows[1]["agreement"] < 0.5
    assert found.rows[1]["frechet"] > 5 * found.rows[1]["frechet_real"]
    assert "of replayed labels are right" in found.flags[1]


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_what_is_not_finite_is_left_out_and_told(share: float, audited: Any) -> None:
    def broken(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        z = x.float() / 255
        z[: int(share * len(z)), 0, 0, 0] = torch.inf
        return z, y

    found = audited(broken)
    assert (
        found.flags == [f"{share:.0%}".replace("%", " %") + " of replayed items are not finite"] * 2
    )
    assert (found.rows[0]["agreement"] > 0.9) == (share < 1)
    assert all(map(math.isnan, found.rows[0].values())) == (share == 1)


def test_a_poor_judge_says_so(digits: TaskStream, replaying: Any) -> None:
    cls = replaying(lambda x, y: (x, y * 0))
    options = {"network": NETWORK, "budget": {"iterations": 1}}
    method = cls(cls.Config.model_validate(options), digits.info, Rng(0))
    method.learn(digits.task(0))
    found = ReplayAudit(Audit(judge_iterations=1))
    found.after_task(method, digits)
    assert "the audit is not to be trusted: its judge is right about" in found.flags[0]
    assert "replayed labels" not in found.flags[0]
    assert "hardly any draws of class 1" in found.flags[0], "the labels themselves tell that"


def test_what_it_finds_does_not_depend_on_the_global_generator(audited: Any) -> None:
    rows = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        rows.append(audited().rows)
        assert torch.equal(torch.get_rng_state(), state)
    assert rows[0] == rows[1]


# Behind frozen blocks -----------------------------------------------------------------------------


class Latents:
    """Replays what a network makes of real images, at some depth."""

    def __init__(
        self, digits: TaskStream, depth: int, width: int | None = None, seed: int = 0
    ) -> None:
        self.digits, self.depth, self.width = digits, depth, width
        with Rng(seed).scoped("network"):
            self.backbone = Mlp(widths=(48, 32)).build(digits.info.shape)

    def encode(self, x: Tensor, depth: int) -> Tensor:
        assert depth == self.depth
        return self.backbone.run(x, 0, depth)[:, : self.width].detach()

    def replayed(self, n: int) -> Replayed:
        train = self.digits.task(0).train
        batch = train.gather(torch.randint(len(train), (n,)))
        return Replayed(batch._replace(x=self.encode(batch.x, self.depth)), self.depth)


@pytest.mark.parametrize(("depth", "width"), [(1, None), (2, None), (1, 20)])
def test_latents_are_compared_with_latents(
    depth: int, width: int | None, digits: TaskStream, audited: Any
) -> None:
    latents = Latents(digits, depth, width)
    found = audited(tasks=1, replayed=latents.replayed, encode=latents.encode)
    (row,) = found.rows
    assert found.flags == [""]
    assert row["copying"] == 1.0
    assert row["agreement"] > 0.9
    assert row["judge_accuracy"] > 0.85


@pytest.mark.parametrize("told", [True, False])
def test_where_the_network_learns_on_draws_are_judged_afresh(
    told: bool, digits: TaskStream, replaying: Any
) -> None:
    """A judge of what the network was makes little of what it is."""

    class Drifting(replaying()):  # type: ignore[misc]
        replay_drifts = told

    options = {"network": NETWORK, "budget": {"iterations": 1}}
    method = Drifting(Drifting.Config.model_validate(options), digits.info, Rng(0))
    found = ReplayAudit(AUDIT)
    for task in range(2):
        latents = Latents(digits, 1, seed=task)
        method.encode, method.replayed = latents.encode, latents.replayed
        method.learn(digits.task(task))
        found.after_task(method, digits)
    assert found.rows[0]["judge_accuracy"] > 0.85
    assert (found.rows[1]["judge_accuracy"] > 0.85) == told


# Ends ---------------------------------------------------------------------------------------------


def test_nothing_is_audited_where_nothing_is_generated(trial: Any, steps: Any) -> None:
    for name in ("naive", "replay"):
        *_, last = steps(trial(method_class(name), stream={"train_per_task": 60}, results=name))
        assert last.record["audit"] == last.record["audit_flags"] == []
        assert last.record["seconds_by_phase"]["audit"] < 1


def test_switched_off_nothing_is_audited(trial: Any, steps: Any, replaying: Any) -> None:
    *_, last = steps(trial(replaying(), audit=Audit(enabled=False)))
    assert last.record["outcome"] == "finished"
    assert last.record["audit"] == []


def test_an_error_in_the_audit_ends_the_audit_and_not_the_trial(
    trial: Any, steps: Any, replaying: Any
) -> None:
    calls = []

    def breaks(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(len(x))
        if len(calls) == 2:
            raise ZeroDivisionError("as\nplanned")
        return x, y

    reports: list[Report] = list(steps(trial(replaying(breaks), audit=AUDIT)))
    record: Record | None = reports[-1].record
    assert record is not None
    assert record["outcome"] == "finished"
    assert len(calls) == 2, "not asked again"
    told = "not audited since task 2: ZeroDivisionError: as planned"
    assert record["audit_flags"] == ["", *[told] * 4]
    assert record["audit"][0]["agreement"] > 0.9
    assert all(math.isnan(row["agreement"]) for row in record["audit"][1:])
    assert [report.audit_flag for report in reports] == record["audit_flags"]


def test_no_memory_left_is_a_failure_of_the_machine(trial: Any, replaying: Any) -> None:
    def breaks(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        raise torch.OutOfMemoryError("none left")

    with pytest.raises(OutOfMemory, match="none left"):
        trial(replaying(breaks)).step()


def test_a_generator_that_begins_late_is_audited_from_then_on(
    digits: TaskStream, audited: Any
) -> None:
    def replayed(n: int) -> Replayed | None:
        first = digits.task(0).train
        rows = torch.arange(n) % len(first)
        return Replayed(Batch(*first.gather(rows)[:2]), 0) if method.tasks_learned == 2 else None

    class Late:
        tasks_learned = 0

    method = Late()

    def counted(n: int) -> Replayed | None:
        method.tasks_learned += 1
        return replayed(n)

    found = audited(replayed=counted)
    columns = found.columns
    assert math.isnan(columns["audit"][0]["agreement"])
    assert columns["audit"][1]["agreement"] > 0.9
    assert columns["audit_flags"] == ["", "hardly any draws of classes 2, 3"]
