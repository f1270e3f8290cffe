"""A published system is a point of memory × depth: it has one name however it is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from orchestrator.api import run
from orchestrator.errors import UserError
from orchestrator.plan import Plan
from orchestrator.trial import TrialConfig

MakePlan = Callable[[str], Plan]

SMALL = """\
dataset: split-digits
network: {name: mlp, widths: [20, 10]}
budget: {iterations: 5}
"""


@pytest.mark.parametrize(
    ("written", "named", "label"),
    [
        ("rehearsal", "replay", "replay[buffer_size=500]"),
        ("latent-replay", "replay", "replay[buffer_size=500]"),
        (
            "rehearsal: {freeze_depth: 1}",
            "latent-replay: {freeze_depth: 1}",
            "latent-replay[buffer_size=500,freeze_depth=1]",
        ),
        (
            "replay: {freeze_depth: 2, depth: 1, buffer_size: 9}",
            "latent-replay: {freeze_depth: 2, depth: 1, buffer_size: 9}",
            "latent-replay[buffer_size=9,depth=1,freeze_depth=2]",
        ),
        (
            "rehearsal: {freeze_depth: 1, memory: gmm}",
            "glr: {freeze_depth: 1, memory: {name: gmm, components: 3}}",
            "glr[buffer_size=500,freeze_depth=1]",
        ),
        (
            "latent-replay: {freeze_depth: 1, memory: {name: kmeans, centroids: 4}}",
            "glr: {freeze_depth: 1, memory: {name: kmeans, centroids: 4}}",
            "glr[buffer_size=500,freeze_depth=1,memory=kmeans,memory.centroids=4]",
        ),
        (
            "glr: {freeze_depth: 1, depth: 0}",
            "rehearsal: {freeze_depth: 1, depth: 0, memory: gmm}",
            "rehearsal[buffer_size=500,depth=0,freeze_depth=1,memory=gmm]",
        ),
    ],
)
def test_one_point_has_one_name_and_one_identity(
    written: str, named: str, label: str, plan: MakePlan
) -> None:
    one, other = (
        plan(SMALL + f"method: [{{{method}}}]" if ":" in method else SMALL + f"method: {method}")
        for method in (written, named)
    )
    assert [trial.id for trial in one.trials] == [trial.id for trial in other.trials]
    assert [trial.config.label for trial in one.trials] == [label]
    again = TrialConfig.from_canonical(one.trials[0].config.canonical)
    assert again == one.trials[0].config


def test_what_is_written_twice_is_one_trial(plan: MakePlan) -> None:
    made = plan(
        SMALL
        + "freeze_depth: [0, 1]\n"
        + "method: [replay, latent-replay, {rehearsal: {memory: [buffer, gmm]}}]"
    )
    labels = sorted(trial.config.label for trial in made.trials)
    assert labels == [
        "glr[buffer_size=500,freeze_depth=1]",
        "latent-replay[buffer_size=500,freeze_depth=1]",
        "rehearsal[buffer_size=500,memory=gmm]",
        "replay[buffer_size=500,freeze_depth=1]",
        "replay[buffer_size=500]",
    ]
    assert made.collapsed == (
        "latent-replay is replay by these options at 1 of 2 points",
        "rehearsal is replay by these options at 1 of 4 points",
        "rehearsal is latent-replay by these options at 1 of 4 points",
        "rehearsal is glr by these options at 1 of 4 points",
        "3 points repeat another one",
    )


@pytest.mark.parametrize("options", ["refresh: step", "share: unlimited"])
def test_the_budget_collapses_where_nothing_is_stored(options: str, plan: MakePlan) -> None:
    made = plan(
        SMALL
        + "buffer_size: [10, 20]\n"
        + f"method: [{{glr: {{freeze_depth: 1, memory: {{name: gmm, {options}}}}}}}]"
    )
    assert len(made.trials) == 1
    assert made.trials[0].config.canonical["options"]["buffer_size"] is None


def test_as_released_is_another_trial_and_is_not_ranked(tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        SMALL + "method: [{glr: {freeze_depth: 1, variant: [corrected, as-released]}}]\n"
    )
    sweep = run(space, results=tmp_path / "results", data=tmp_path / "data", mlflow=False)
    rows = {row["variant"]: row for row in sweep.leaderboard.to_dict("records")}
    assert rows.keys() == {"corrected", "as-released"}
    assert rows["corrected"]["rank"] == 1
    assert pd.isna(rows["as-released"]["rank"])


def test_a_method_without_a_released_variant_says_so(plan: MakePlan) -> None:
    with pytest.raises(UserError, match="has no variant as-released"):
        plan(SMALL + "method: [{replay: {variant: as-released}}]")
