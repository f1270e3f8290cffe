from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.plan import Plan, make_plan
from orchestrator.results import ResultsStore
from orchestrator.space.measured import Measured, Row, Span, read_measured
from orchestrator.space.times import Alike, Time, about, estimate, time_elsewhere, times_here
from orchestrator.space.view import print_space, print_spaces
from orchestrator.trial import identifying_columns

SPACE = """\
name: timed
dataset: split-digits
network: {name: mlp, widths: [20]}
budget: {iterations: 5}
method: [naive, replay]
seed: 0..2
"""

NONE = Span(None, None, None)


def row(planned: int, missing: int, seconds: float | None, **other: Any) -> Row:
    n = planned - missing
    known = dict.fromkeys(("dataset", "scenario", "method", "settings", "variant"), "")
    counts = {"rank": 1, "n": n, "planned": planned, "missing": missing, "diverged": 0, "errors": 0}
    rest = {"forgetting": None, "bytes_kept": None, "difference": NONE, "pairs": 0}
    return Row(**(known | counts | rest | {"accuracy": NONE, "seconds": seconds} | other))


def kept(*rows: Row, **computed_with: str) -> Measured:
    return Measured("timed", "naive", computed_with, "", rows)


def test_trials_that_were_not_measured_take_as_long_as_their_like() -> None:
    # Two kinds: 3 trials of which two took 10 and 20 s, 2 trials of 40 s; a third kind of 4 trials
    # of which none was measured takes the mean of all three: 70 / 3 s.
    groups = [Alike(3, (10.0, 20.0)), Alike(2, (40.0,)), Alike(4, ())]
    time = estimate(groups, on_gpu=False, here=True)
    assert time is not None
    assert time.seconds == pytest.approx(3 * 15 + 2 * 40 + 4 * 70 / 3)
    assert (time.longest, time.trials) == (40, 9)
    assert estimate([Alike(4, ())], on_gpu=False, here=True) is None


def test_cores_share_the_trials_but_not_one_of_them() -> None:
    time = Time(seconds=120, longest=50, trials=9, on_gpu=False, here=True)
    assert [time.on(cores) for cores in (1, 2, 4)] == [120, 60, 50]
    assert time.on(4, each=2) == 60
    assert time.on(2, each=4) == 120
    assert Time(120, 50, 9, on_gpu=True, here=True).on(4) == 120


def test_kept_times_are_scaled_to_the_trials_of_today() -> None:
    time = time_elsewhere(kept(row(3, 1, 10.0), row(2, 0, 40.0)))
    assert time == Time(110, 40, 5, on_gpu=False, here=False)
    assert time.of(5) == time
    assert time.of(10) == Time(220, 40, 10, on_gpu=False, here=False)
    assert time_elsewhere(kept(row(1, 0, 7.0), GPU="A100")) == Time(
        *(7, 7, 1), on_gpu=True, here=False
    )
    assert time_elsewhere(kept(row(3, 3, None))) is None
    assert time_elsewhere(None) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2, "1 min"), (89, "1 min"), (91, "2 min"), (3200, "53 min"), (3300, "0.9 h")]
    + [(3600, "1 h"), (12_700, "3.5 h"), (90_000, "1.0 days"), (200_000, "2.3 days")],
)
def test_times_as_people_say_them(seconds: float, text: str) -> None:
    assert about(seconds) == text


@pytest.fixture
def swept(
    write: Callable[..., Path], tmp_path: Path, record_of: Callable[..., dict[str, Any]]
) -> tuple[Plan, ResultsStore]:
    """A sweep of which one trial of each method is missing, and one of replay diverged."""
    plan = make_plan(write(SPACE), tmp_path / "data")
    store = ResultsStore(tmp_path / "results")
    store.write_sweep("timed", identifying_columns(plan.trials, plan.environment))
    for trial in plan.trials:
        method, seed = trial.config.method, trial.config.seed
        if seed < 2:
            diverged = method == "replay" and seed == 1
            changed = {"outcome": "diverged" if diverged else "finished"}
            seconds = {"naive": 60.0, "replay": 300.0}[method] + 20 * seed
            store.write(record_of(trial, plan.environment, seconds=seconds, **changed))
    return plan, store


def test_times_are_read_from_records(swept: tuple[Plan, ResultsStore]) -> None:
    _, store = swept
    # naive: 60 and 80 s, so 3 × 70; replay: 300 s alone, since what diverged ended early.
    assert times_here(store) == {"timed": Time(3 * 70 + 3 * 300, 300, 6, on_gpu=False, here=True)}


def test_no_folder_of_results_has_no_times(tmp_path: Path) -> None:
    assert times_here(ResultsStore(tmp_path / "nothing")) == {}


def listed(print_them: Callable[[Console], None]) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        print_them(console)
    return captured.get()


def test_lists_tell_times_and_where_they_were_measured(
    swept: tuple[Plan, ResultsStore],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan, store = swept
    path = str(plan.space.file.name)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("orchestrator.space.view.packaged_spaces", lambda: {path: path})
    results = store.storage.shown
    out = listed(lambda console: print_spaces(results, console))
    assert re.search(r"(?m) +6 +9 min *$", out)  # (210 + 900) / 2 s
    assert "the 2 cores of this machine" in out
    assert f"measured here, by the trials in {results}" in out.replace("\n", " ")
    assert "elsewhere" not in out
    out = listed(lambda console: print_space(path, tmp_path, results, console))
    assert re.search(r"(?m)^engram run .* +6 +9 min *$", out)

    # Without records, what is kept beside the search spaces is taken, and marked.
    monkeypatch.setattr(
        "orchestrator.space.view.read_measured", lambda _: kept(row(3, 0, 60.0), row(3, 0, 100.0))
    )
    out = listed(lambda console: print_spaces(str(tmp_path / "nothing"), console))
    assert re.search(r"(?m) +6 +4 min \* *$", out)
    assert "* Measured elsewhere" in out


def test_a_list_survives_damaged_results_and_search_spaces(
    tmp_path: Path, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results" / "sweeps").mkdir(parents=True)
    (tmp_path / "results" / "sweeps" / "timed.json").write_text("[")
    good, bad = write(SPACE), write("dataset: split-digits\nmethod: nave\n", "bad.yaml")
    spaces = {str(path): path for path in (bad, good)}
    monkeypatch.setattr("orchestrator.space.view.packaged_spaces", lambda: spaces)
    out = listed(lambda console: print_spaces(str(tmp_path / "results"), console))
    assert "cannot be read: " in out
    assert "did you mean 'naive'?" in " ".join(out.split())
    assert re.search(r"(?m) +6 +not measured *$", out)
    assert "Times that were measured here are not known: " in out
    assert "timed.json" in out


def test_what_is_kept_is_read_as_it_was_written() -> None:
    first = row(3, 1, 10.5, method="glr", settings="memory=gmm", accuracy=Span(0.5, 0.25, 0.75))
    measured = kept(first, row(1, 1, None, rank=None), PyTorch="2.13.0+cpu", device="cpu")
    text = measured.to_json()
    assert Measured.from_json(text) == measured
    assert text.count("\n") == 10  # a line for each row
    assert (measured.planned, measured.finished, measured.missing) == (4, 2, 2)
    assert read_measured("no-such-sweep") is None
