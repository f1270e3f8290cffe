from __future__ import annotations

import json
import math
from typing import Any

import pandas as pd  # type: ignore[import-untyped]
import pytest

from orchestrator.leaderboard.statistics import mean_interval
from orchestrator.leaderboard.table import COLUMNS, build_leaderboard
from orchestrator.metrics import METRICS

SETUP = {"tasks": 5, "budget": {"epochs": 5, "batch_size": 64}, "code": "a" * 40}
PLANNED = ["id", "dataset", "scenario", "method", "settings", "setup", "variant", "seed"]


def trial(
    method: str = "naive", seed: int = 0, accuracy: float = 0.5, **other: Any
) -> dict[str, Any]:
    """One record; ``setup`` may be given as changes to SETUP."""
    setup = json.dumps(SETUP | other.pop("setup", {}))
    row = {
        "dataset": "split-digits",
        "scenario": "class-incremental",
        "tasks": 5,
        "method": method,
        "settings": "",
        "setup": setup,
        "variant": "corrected",
        "seed": seed,
        "stream_seed": 0,
        "outcome": "finished",
        **dict.fromkeys(METRICS, accuracy),
        "average_incremental_accuracy": accuracy + 0.1,
        "learning_accuracy": 0.9,
        "backward_transfer": accuracy - 0.9,
        "forgetting": 0.9 - accuracy,
        "forward_transfer": math.nan,
        "bytes_kept": 1000.0 + seed,
        "seconds": 2.0 + seed,
        "samples_per_second": 100.0,
    } | other
    identity = [row[key] for key in ("dataset", "scenario", "settings", "variant", "stream_seed")]
    return {"id": f"{method}-{seed}-{setup}-{identity}"} | row


def board(*trials: dict[str, Any], planned: list[dict[str, Any]] | None = None) -> pd.DataFrame:
    plan = None if planned is None else pd.DataFrame(planned)[PLANNED]
    return build_leaderboard(pd.DataFrame(list(trials)), plan)


def test_columns_and_types() -> None:
    table = board(trial())
    assert tuple(table.columns) == COLUMNS
    assert list(table.columns[:9]) == [
        *("dataset", "scenario", "method", "settings", "rank", "n"),
        *("average_accuracy", "average_accuracy_low", "average_accuracy_high"),
    ]
    assert list(table.columns[-16:]) == [
        *("bytes_kept", "seconds", "samples_per_second"),
        *("audit_agreement", "audit_coverage", "audit_frechet", "audit_frechet_real"),
        *("audit_copying", "audit_drift", "audit_judge_accuracy", "audit_flagged", "audit_flag"),
        *("missing", "diverged", "errors", "variant"),
    ]
    for column in ("rank", "n", "missing", "diverged", "errors", "audit_flagged"):
        assert table[column].dtype == "Int64"
    assert table["forward_transfer_low"].dtype == table["bytes_kept"].dtype == "float64"


def test_seeds_are_pooled_with_their_interval() -> None:
    row = board(*(trial(seed=s, accuracy=a) for s, a in enumerate([0.6, 0.7, 0.8]))).iloc[0]
    margin = 4.302653 * 0.1 / math.sqrt(3)
    assert row["n"] == 3
    assert row["average_accuracy"] == pytest.approx(0.7)
    assert row["average_accuracy_low"] == pytest.approx(0.7 - margin, abs=1e-6)
    assert row["average_accuracy_high"] == pytest.approx(0.7 + margin, abs=1e-6)
    low = mean_interval([0.3, 0.2, 0.1]).low
    assert row["forgetting_low"] == pytest.approx(low)
    assert (row["bytes_kept"], row["seconds"]) == (1001.0, 3.0)
    assert math.isnan(row["forward_transfer"])


def test_stream_seeds_are_seeds_too() -> None:
    assert board(trial(stream_seed=0), trial(stream_seed=1))["n"].tolist() == [2]


def test_seeds_crossed_with_stream_seeds_count_once_each() -> None:
    accuracies = {(0, 0): 0.5, (0, 1): 0.7, (1, 0): 0.6, (1, 1): 0.8}
    trials = [trial(seed=s, stream_seed=t, accuracy=a) for (s, t), a in accuracies.items()]
    crossed, averaged = board(*trials), board(trial(accuracy=0.6), trial(seed=1, accuracy=0.7))
    assert crossed["n"].tolist() == [2]
    for column in ("average_accuracy", "average_accuracy_low", "average_accuracy_high"):
        assert crossed[column].tolist() == pytest.approx(averaged[column].tolist())
    assert crossed["forward_transfer"].isna().all()


def test_what_did_not_finish_is_counted_and_not_averaged() -> None:
    row = board(
        trial(seed=0, accuracy=0.6),
        trial(seed=1, accuracy=math.nan, outcome="diverged"),
        trial(seed=2, accuracy=0.0, outcome="error"),
        trial(seed=3, accuracy=0.0, outcome="error"),
    ).iloc[0]
    assert (row["n"], row["diverged"], row["errors"], row["missing"]) == (1, 1, 2, 0)
    assert row["average_accuracy"] == 0.6
    assert math.isnan(row["average_accuracy_low"])


def test_planned_trials_without_a_record_are_missing() -> None:
    seeds = [trial(seed=s) for s in range(5)]
    table = board(*seeds[:2], planned=[*seeds, seeds[4], trial("glr"), trial("glr", seed=1)])
    assert table["method"].tolist() == ["naive", "glr"]
    assert table["n"].tolist() == [2, 0]
    assert table["missing"].tolist() == [3, 2]
    assert pd.isna(table["rank"][1])
    assert math.isnan(table["average_accuracy"][1])
    assert math.isnan(table["seconds"][1])


def test_diverged_and_failed_trials_are_not_missing() -> None:
    seeds = [trial(seed=0, outcome="diverged"), trial(seed=1, outcome="error")]
    table = board(*seeds, planned=seeds)
    assert table[["n", "missing", "diverged", "errors"]].iloc[0].tolist() == [0, 0, 1, 1]


def test_a_plan_alone_gives_a_table() -> None:
    table = build_leaderboard(pd.DataFrame(), pd.DataFrame([trial()])[PLANNED])
    assert table[["n", "missing"]].iloc[0].tolist() == [0, 1]


def test_nothing_gives_an_empty_table() -> None:
    table = build_leaderboard(pd.DataFrame())
    assert tuple(table.columns) == COLUMNS
    assert table.empty


def test_ranks_within_dataset_and_scenario() -> None:
    table = board(
        trial("a", accuracy=0.5),
        trial("b", accuracy=0.9),
        trial("c", accuracy=0.7),
        trial("a", accuracy=0.2, scenario="task-incremental"),
        trial("a", accuracy=0.1, scenario="domain-incremental"),
        trial("z", accuracy=0.3, dataset="another"),
    )
    assert table[["dataset", "scenario", "method", "rank"]].values.tolist() == [
        ["another", "class-incremental", "z", 1],
        ["split-digits", "class-incremental", "b", 1],
        ["split-digits", "class-incremental", "c", 2],
        ["split-digits", "class-incremental", "a", 3],
        ["split-digits", "domain-incremental", "a", 1],
        ["split-digits", "task-incremental", "a", 1],
    ]


def test_equal_means_share_a_rank() -> None:
    table = board(trial("b", accuracy=0.9), trial("a", accuracy=0.9), trial("c", accuracy=0.1))
    assert table[["method", "rank"]].values.tolist() == [["a", 1], ["b", 1], ["c", 3]]


def test_as_released_never_ranks_beside_the_others() -> None:
    table = board(
        trial("dgr", accuracy=0.99, variant="as-released"),
        trial("dgr", accuracy=0.5),
        trial("dvae", accuracy=0.995, variant="as-released"),
        trial("broken", outcome="diverged"),
    )
    assert table["method"].tolist() == ["dgr", "dvae", "dgr", "broken"]
    assert table["variant"].tolist()[:3] == ["corrected", "as-released", "as-released"]
    assert table["rank"].isna().tolist() == [False, True, True, True]
    assert table["settings"].tolist() == [""] * 4


def test_another_setup_is_another_row_and_says_why() -> None:
    table = board(
        trial("er", accuracy=0.6, settings="buffer_size=50"),
        trial("er", seed=1, accuracy=0.7, settings="buffer_size=50"),
        trial("er", accuracy=0.9, settings="buffer_size=50", setup={"budget": {"iterations": 200}}),
        trial("naive", accuracy=0.1),
    )
    assert table["settings"].tolist() == [
        "buffer_size=50, budget.iterations=200",
        "buffer_size=50, budget.batch_size=64, budget.epochs=5",
        "",
    ]
    assert table["n"].tolist() == [1, 2, 1]


def test_hashes_are_cut_short() -> None:
    table = board(trial(accuracy=0.6), trial(accuracy=0.7, setup={"code": "b" * 40}))
    assert table["settings"].tolist() == ["code=bbbbbbbb", "code=aaaaaaaa"]


def test_a_planned_group_of_newer_code_is_its_own_row() -> None:
    table = board(trial(), planned=[trial(setup={"code": "b" * 40})])
    assert table[["settings", "n", "missing"]].values.tolist() == [
        ["code=aaaaaaaa", 1, 0],
        ["code=bbbbbbbb", 0, 1],
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"code": "a" * 39 + "b"},  # alike once cut short
        {"budget": {"epochs": "5", "batch_size": 64}},  # alike as text
        {"note": "a long story " * 10},
    ],
)
def test_what_cannot_be_told_in_short_becomes_a_hash(change: dict[str, Any]) -> None:
    settings = board(trial(), trial(setup=change))["settings"]
    assert settings.is_unique
    assert settings.str.fullmatch("setup=[0-9a-f]{8}").all()


def test_streams_of_different_length_say_so_in_every_row() -> None:
    table = board(
        trial("a", accuracy=0.9),
        trial("b", accuracy=0.8, setup={"tasks": 2}),
        trial("b", accuracy=0.7, setup={"tasks": 2, "batch": 8}),
        trial("a", dataset="another"),
    )
    assert table["settings"].tolist() == ["", "tasks=5", "tasks=2", "batch=8, tasks=2"]


def test_the_spelling_of_a_setup_does_not_matter() -> None:
    first, second = trial(seed=0), trial(seed=1)
    second["setup"] = json.dumps(dict(reversed(SETUP.items())), indent=2)
    assert board(first, second)["n"].tolist() == [2]


def test_the_order_of_the_records_changes_nothing() -> None:
    trials = [
        trial(method, seed=seed, accuracy=0.1 * seed + 0.07 * len(method), settings=settings)
        for method in ("a", "bb", "ccc")
        for seed in range(5)
        for settings in ("", "m=1")
    ]
    trials.append(trial("a", setup={"budget": {}}))
    pd.testing.assert_frame_equal(board(*trials), board(*reversed(trials)), check_exact=True)


def test_one_id_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="more than one record of trial naive-0"):
        board(trial(), trial())


def test_one_seed_under_two_ids_is_refused() -> None:
    with pytest.raises(ValueError, match=r"trials naive-0.*, other are all naive .*seed 0") as e:
        board(trial(), trial() | {"id": "other"}, trial(seed=1))
    assert "must be part of their setup" in str(e.value)


@pytest.mark.parametrize("accuracy", [math.nan, math.inf])
def test_finished_without_accuracy_is_refused(accuracy: float) -> None:
    with pytest.raises(ValueError, match="without a finite accuracy: naive-3"):
        board(trial(), trial(seed=3, accuracy=accuracy))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcome": "infrastructure"}, "unknown outcome 'infrastructure'"),
        ({"settings": None}, "empty value in column settings"),
        ({"setup": "{"}, "setup is not JSON"),
        ({"setup": "[1]"}, "setup is not a JSON object"),
    ],
)
def test_bad_records_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        board(trial(seed=1), trial() | change)


def test_lacking_columns_are_named() -> None:
    with pytest.raises(ValueError, match="records: no column variant, seconds"):
        build_leaderboard(pd.DataFrame([trial()]).drop(columns=["variant", "seconds"]))
    with pytest.raises(ValueError, match="planned: no column seed"):
        build_leaderboard(pd.DataFrame([trial()]), pd.DataFrame([trial()])[PLANNED[:-1]])


def test_the_input_stays_as_it_was() -> None:
    records = pd.DataFrame([trial(), trial("b", setup={"budget": 1})])
    before = records.copy(deep=True)
    build_leaderboard(records, records[PLANNED])
    pd.testing.assert_frame_equal(records, before)
