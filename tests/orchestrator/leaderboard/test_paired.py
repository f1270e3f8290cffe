from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from orchestrator.leaderboard import paired_differences
from orchestrator.leaderboard.statistics import paired_interval

Make = Callable[..., dict[str, Any]]


def test_the_interval_is_that_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 10, 40):
        a, b = rng.normal(size=n), rng.normal(size=n)
        for confidence in (0.8, 0.95):
            test = stats.ttest_rel(a, b)
            expected = test.confidence_interval(confidence)
            found = paired_interval(a, b, confidence)
            assert found.n == n
            assert found.mean == pytest.approx(np.mean(a - b))
            assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
            outside = not found.low <= 0 <= found.high
            assert outside == (test.pvalue < 1 - confidence)


def test_a_shift_that_all_seeds_share_is_certain() -> None:
    found = paired_interval([0.5, 0.75, 0.25], [0.25, 0.5, 0.0])
    assert found == (0.25, 0.25, 0.25, 3)


def test_one_pair_and_no_pair_have_no_interval() -> None:
    assert paired_interval([0.5], [0.25])[0] == 0.25
    assert np.isnan(paired_interval([0.5], [0.25])[1:3]).all()
    assert paired_interval([], []).n == 0


def test_what_does_not_pair_up_is_refused() -> None:
    with pytest.raises(ValueError, match="pair up"):
        paired_interval([1.0, 2.0], [1.0])


def accuracy(make: Make, method: str, values: dict[int, float], **other: Any) -> list[Any]:
    return [make(method, seed, [a, a], **other) for seed, a in values.items()]


def test_rows_are_paired_by_seed(make_record: Make) -> None:
    naive = accuracy(make_record, "naive", {0: 0.2, 1: 0.3, 2: 0.1})
    replay = accuracy(make_record, "replay", {0: 0.7, 1: 0.8, 3: 0.9})  # seed 3 has no partner
    found = paired_differences(pd.DataFrame(naive + replay), "naive")
    assert found["method"].tolist() == ["replay"]
    row = found.iloc[0]
    assert (row["reference"], row["n"], row["differs"]) == ("naive", 2, "")
    assert row["difference"] == pytest.approx(0.5)
    assert (row["low"], row["high"]) == pytest.approx((0.5, 0.5))


def test_stream_seeds_pair_too_and_count_once_for_each_seed(make_record: Make) -> None:
    def both(method: str, values: dict[tuple[int, int], float]) -> list[Any]:
        return [make_record(method, seed, [a, a], stream_seed=s) for (seed, s), a in values.items()]

    naive = both("naive", {(0, 0): 0.1, (0, 1): 0.2, (1, 0): 0.1, (1, 1): 0.2})
    replay = both("replay", {(0, 0): 0.3, (0, 1): 0.6, (1, 0): 0.4, (1, 1): 0.9})
    row = paired_differences(pd.DataFrame(naive + replay), "naive").iloc[0]
    expected = paired_interval([0.45, 0.65], [0.15, 0.15])
    assert row["n"] == 2
    assert tuple(row[["difference", "low", "high"]]) == pytest.approx(expected[:3])


def test_blocks_do_not_mix_and_trials_that_failed_do_not_count(make_record: Make) -> None:
    records = [
        *accuracy(make_record, "naive", {0: 0.2, 1: 0.4}),
        *accuracy(make_record, "naive", {0: 0.6}, scenario="task-incremental"),
        *accuracy(make_record, "replay", {0: 0.7}),
        make_record("replay", 1, outcome="diverged"),
        *accuracy(make_record, "replay", {0: 0.7, 1: 0.7}, scenario="task-incremental"),
        *accuracy(make_record, "replay", {0: 0.7}, dataset="alone"),
    ]
    found = paired_differences(pd.DataFrame(records), "naive").set_index(["dataset", "scenario"])
    assert found["n"].to_dict() == {
        ("alone", "class-incremental"): 0,
        ("split-digits", "class-incremental"): 1,
        ("split-digits", "task-incremental"): 1,
    }
    assert math.isnan(found.loc[("alone", "class-incremental"), "difference"])
    assert found.loc[("split-digits", "class-incremental"), "difference"] == pytest.approx(0.5)
    assert found.loc[("split-digits", "task-incremental"), "difference"] == pytest.approx(0.1)


def test_other_streams_never_pair(make_record: Make) -> None:
    records = [
        make_record("naive", 0, [0.2, 0.2]),
        make_record("replay", 0, [0.7, 0.7, 0.7]),
        make_record("replay", 0, [0.7, 0.7], setup={"data": "other"}),
    ]
    found = paired_differences(pd.DataFrame(records), "naive")
    assert found["n"].tolist() == [0, 0]


def test_a_reference_with_one_setup_is_compared_with_all_and_differences_are_told(
    make_record: Make,
) -> None:
    records = [
        make_record("naive", 0, [0.2, 0.2], setup={"network": "mlp"}),
        make_record("replay", 0, [0.7, 0.7], setup={"network": "mlp"}),
        make_record("dvae", 0, [0.6, 0.6], setup={"network": "vae"}),
    ]
    found = paired_differences(pd.DataFrame(records), "naive").set_index("method")
    assert found.loc["replay", "differs"] == ""
    assert found.loc["dvae", "differs"] == "network"
    assert found["n"].tolist() == [1, 1]


def test_a_reference_with_several_setups_meets_its_own(make_record: Make) -> None:
    def on(network: str, method: str, value: float) -> Any:
        return make_record(method, 0, [value, value], setup={"network": network})

    records = [on("mlp", "naive", 0.2), on("cnn", "naive", 0.3)]
    records += [on("mlp", "replay", 0.5), on("cnn", "replay", 0.8), on("vae", "replay", 0.9)]
    found = paired_differences(pd.DataFrame(records), "naive").set_index("settings")
    assert found["difference"].dropna().to_dict() == pytest.approx(
        {"network=cnn": 0.5, "network=mlp": 0.3}
    )
    assert found.loc["network=vae", "n"] == 0
    one = {"method": "naive", "settings": "network=cnn"}
    against_one = paired_differences(pd.DataFrame(records), one).set_index("settings")
    assert against_one.loc["network=vae", "differs"] == "network"
    assert against_one.loc["network=vae", "reference"] == "naive[network=cnn]"


def test_a_name_means_the_default_settings(make_record: Make) -> None:
    records = [
        make_record("naive", 0, [0.2, 0.2]),
        make_record("naive", 0, [0.6, 0.6], settings="freeze_depth=1"),
        make_record("naive", 0, [0.9, 0.9], variant="as-released"),
    ]
    found = paired_differences(pd.DataFrame(records), "naive")
    assert found["settings"].tolist() == ["freeze_depth=1", ""]
    assert found["difference"].tolist() == pytest.approx([0.4, 0.7])
    chosen = {"method": "naive", "settings": "freeze_depth=1"}
    assert paired_differences(pd.DataFrame(records), chosen)["difference"].tolist() == (
        pytest.approx([-0.4, 0.3])
    )


def test_any_number_of_a_record_can_be_compared(make_record: Make) -> None:
    records = [make_record("naive"), make_record("replay", bytes_kept=1500)]
    found = paired_differences(pd.DataFrame(records), "naive", metric="bytes_kept")
    assert found["difference"].tolist() == [500]


@pytest.mark.parametrize(
    ("reference", "metric", "message"),
    [
        ("nave", "average_accuracy", "no row of the leaderboard is the reference 'nave'"),
        ("replay", "average_accuracy", "give its settings: 'buffer_size=10' or 'buffer_size=20'"),
        ({"methods": "replay"}, "average_accuracy", "methods is not one of dataset"),
        ("naive", "acuracy", "unknown metric 'acuracy'"),
    ],
)
def test_mistakes(make_record: Make, reference: Any, metric: str, message: str) -> None:
    records = [make_record("naive")]
    records += [make_record("replay", settings=f"buffer_size={n}") for n in (10, 20)]
    with pytest.raises(ValueError, match=message):
        paired_differences(pd.DataFrame(records), reference, metric=metric)
