from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UserError
from orchestrator.plan import make_plan
from orchestrator.reference.__main__ import main
from orchestrator.reference.export import export, measure, packaged_sweeps
from orchestrator.results import ResultsStore
from orchestrator.space.measured import Measured, Span
from orchestrator.trial import identifying_columns

#: Average accuracy by method and seed; the third seed of replay is missing.
ACCURACY = {"naive": [0.2, 0.3, 0.4], "replay": [0.7, 0.7], "joint": [0.9, 0.9, 0.9]}


@pytest.fixture
def quickstart(tmp_path: Path, record_of: Callable[..., dict[str, Any]]) -> ResultsStore:
    """Records of the quickstart, as if its trials had been run."""
    plan = make_plan("quickstart", tmp_path / "data")
    store = ResultsStore(tmp_path / "results")
    store.write_sweep("quickstart", identifying_columns(plan.trials, plan.environment))
    for trial in plan.trials:
        of_method, seed = ACCURACY[trial.config.method], trial.config.seed
        if seed < len(of_method):
            numbers = {"average_accuracy": of_method[seed], "forgetting": 0.1, "bytes_kept": 1000}
            store.write(record_of(trial, plan.environment, seconds=10.0 + seed, **numbers))
    return store


def test_what_was_measured_is_the_leaderboard(quickstart: ResultsStore) -> None:
    found = measure(quickstart, "quickstart")
    assert (found.planned, found.finished, found.missing) == (54, 42, 12)
    assert found.reference == "naive"
    assert found.computed_with["device"] == "cpu"
    assert {row.scenario for row in found.rows} == {
        "class-incremental",
        "domain-incremental",
        "task-incremental",
    }
    joint, *replays, naive = (r for r in found.rows if r.scenario == "class-incremental")
    assert (joint.method, joint.rank, joint.n, joint.planned) == ("joint", 1, 3, 3)
    assert joint.accuracy == Span(0.9, 0.9, 0.9)
    # Differences 0.7, 0.6, 0.5: mean 0.6, 0.6 -+ 4.302653 * 0.1 / sqrt(3).
    assert joint.difference == pytest.approx((0.6, 0.351586, 0.848414))
    assert joint.pairs == 3
    assert (joint.seconds, joint.bytes_kept, joint.forgetting) == (11.0, 1000.0, 0.1)
    assert {(row.method, row.n, row.missing) for row in replays} == {("replay", 2, 1)}
    assert (naive.method, naive.difference, naive.pairs) == ("naive", Span(None, None, None), 0)


def test_the_same_records_give_the_same_file(quickstart: ResultsStore, tmp_path: Path) -> None:
    (first,) = export(quickstart.storage.shown, [], tmp_path / "a")
    (second,) = export(quickstart.storage.shown, ["quickstart"], tmp_path / "b")
    assert first.name == "quickstart.json"
    assert first.read_bytes() == second.read_bytes()
    assert Measured.from_json(first.read_text()) == measure(quickstart, "quickstart")
    # Another trial changes the digest, as it changes what is in the means.
    gone = next((quickstart.storage.local or tmp_path).glob("trials/*.arrow"))
    gone.unlink()
    assert measure(quickstart, "quickstart").trials != Measured.from_json(first.read_text()).trials


def test_a_reference_can_be_chosen(quickstart: ResultsStore) -> None:
    found = measure(quickstart, "quickstart", "joint")
    (naive,) = (r for r in found.rows if r.method == "naive" and r.scenario == "task-incremental")
    assert (naive.difference.mean, naive.pairs) == (pytest.approx(-0.6), 3)
    with pytest.raises(UserError, match=r"--reference replay: .* is more than one"):
        measure(quickstart, "quickstart", "replay")


def test_a_sweep_of_which_nothing_was_run_has_rows_without_numbers(
    quickstart: ResultsStore, tmp_path: Path
) -> None:
    for path in (quickstart.storage.local or tmp_path).glob("trials/*.arrow"):
        path.unlink()
    found = measure(quickstart, "quickstart")
    assert (found.reference, found.finished, found.missing) == ("", 0, 54)


def test_only_packaged_sweeps_that_were_run_are_kept(
    quickstart: ResultsStore, tmp_path: Path
) -> None:
    assert {"quickstart", "glr-rotated", "glr-rotated-small"} <= packaged_sweeps().keys()
    results = quickstart.storage.shown
    with pytest.raises(UserError, match="no packaged search space is called so; did you mean 'qui"):
        export(results, ["quikstart"], tmp_path)
    with pytest.raises(UserError, match="holds no sweep 'split-mnist'"):
        export(results, ["split-mnist"], tmp_path)


def test_the_command_writes_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> int | str | None:
        monkeypatch.setattr(sys, "argv", ["reference", *words])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code

    assert run("--docs", str(tmp_path)) == 0
    written = capsys.readouterr().out.split()
    assert written == [str(tmp_path / name) for name in ("methods.md", "experiments.md")]
    assert all(Path(path).read_text().startswith("# ") for path in written)
    assert run("export", "quikstart", "--results", str(tmp_path)) == 2
    err = capsys.readouterr().err
    assert err.startswith("engram: quikstart: no packaged search space is called so")
