"""How much better one row of the leaderboard is than another, seed by seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from orchestrator.leaderboard.statistics import CONFIDENCE, Interval, paired_interval
from orchestrator.leaderboard.table import AS_RELEASED, COSTS, Record, independent, pool
from orchestrator.metrics import METRICS
from orchestrator.setups import leaves

#: Seed and stream seed of a trial.
Seeds = tuple[int, int]

_NAMES = ("dataset", "scenario", "method", "settings", "variant")
#: What two trials of a pair never share: each method has code of its own.
_OWN = "code"


@dataclass(frozen=True, eq=False)
class Contender:
    """A row of the leaderboard with what is needed to pair it with another.

    Parameters
    ----------
    row : mapping
        Columns of the leaderboard.
    trials : sequence of mapping
        Its records, as of :class:`~orchestrator.leaderboard.table.Pooled`.
    """

    row: Record
    trials: Sequence[Record]

    @cached_property
    def setup(self) -> dict[str, str]:
        """Leaves of the setup, but for the code."""
        if not self.trials:
            return {}
        flat = leaves(self.trials[0]["setup"])
        return {key: value for key, value in flat.items() if key != _OWN}

    @cached_property
    def stream(self) -> dict[str, str]:
        """What the trials learned from: the stream's options and its data.

        All of the setup where the records have no configuration.
        """
        if not self.trials or not self.trials[0].get("config"):
            return self.setup
        options = json.loads(self.trials[0]["config"]).get("stream", {})
        of_the_stream = {"data", *options}
        return {k: v for k, v in self.setup.items() if k.partition(".")[0] in of_the_stream}

    def by_seeds(self) -> dict[Seeds, Record]:
        """Return the finished trials."""
        done = (trial for trial in self.trials if trial["outcome"] == "finished")
        return {(trial["seed"], trial["stream_seed"]): trial for trial in done}

    def differs_in(self, other: Contender) -> list[str]:
        """Return the keys in which the setups differ, the code left out."""
        mine, others = self.setup, other.setup
        return sorted(key for key in {*mine, *others} if mine.get(key) != others.get(key))


def paired_differences(
    records: pd.DataFrame,
    reference: str | Mapping[str, str],
    *,
    metric: str = "average_accuracy",
    confidence: float = CONFIDENCE,
) -> pd.DataFrame:
    """Return how much each row of the leaderboard differs from a reference, paired by seed.

    Pairs agree in dataset, scenario, task stream, seed and stream seed. Where the reference was
    run with several setups (networks, budgets, machines), a row is compared with the one of its own
    setup, the code left out, and with none if there is no such one; where there is only one,
    every row on the same stream is compared with it, and ``differs`` tells in what their setups
    differ. Trials of one seed on several stream seeds are averaged, as on the leaderboard.

    Parameters
    ----------
    records : pandas.DataFrame
        As for :func:`~orchestrator.leaderboard.build_leaderboard`. With a column ``config``,
        streams are told from the rest of the setup; without it, setups have to agree.
    reference : str or mapping
        The method to compare with, at its default settings (or the only ones there are), and not
        as released. Or columns of the leaderboard and their values, such as ``{"method":
        "replay", "settings": "buffer_size=100"}``.
    metric : str
        The number to compare: one of :data:`orchestrator.metrics.METRICS`, or of
        :data:`~orchestrator.leaderboard.table.COSTS`.
    confidence : float
        Between 0 and 1, both excluded.

    Returns
    -------
    pandas.DataFrame
        One row for each of the leaderboard but the reference, in its order: ``dataset, scenario,
        method, settings, variant, reference, n`` (pairs, or seeds), ``difference`` (the row's
        mean less the reference's), ``low`` and ``high`` (Student-t on the differences), and
        ``differs``. ``n`` is 0 and the numbers are NaN where nothing pairs.

    Raises
    ------
    ValueError
        If no row is the reference, rows with different settings in one dataset and scenario are,
        or the metric is unknown. Otherwise as
        :func:`~orchestrator.leaderboard.build_leaderboard`.
    """
    if metric not in (*METRICS, *COSTS):
        raise ValueError(f"unknown metric {metric!r}; there are: {', '.join((*METRICS, *COSTS))}")
    pooled = pool(records)
    rows = pooled.table.to_dict("records")
    everyone = [Contender(row, t) for row, t in zip(rows, pooled.trials, strict=True)]
    references = _references(everyone, reference)
    if not references:
        raise ValueError(f"no row of the leaderboard is the reference {reference!r}")
    found = []
    for one in everyone:
        if any(one is other for other in references):
            continue
        block = [r for r in references if _block(r) == _block(one)]
        other = opponent(one, block)
        interval = difference(one, other, metric, confidence)
        found.append(
            {name: one.row[name] for name in _NAMES}
            | {"reference": _named(other), "n": interval.n, "difference": interval.mean}
            | {"low": interval.low, "high": interval.high}
            | {"differs": ", ".join(one.differs_in(other)) if other else ""}
        )
    columns = [*_NAMES, "reference", "n", "difference", "low", "high", "differs"]
    return pd.DataFrame(found, columns=columns)


def opponent(one: Contender, references: Iterable[Contender]) -> Contender | None:
    """Choose which of the references in its dataset and scenario a row is compared with.

    That of the same setup; where there is one only, that one if it learned the same stream. None
    where no choice, or more than one, would be right.
    """
    possible = [r for r in references if r.trials and r.stream == one.stream]
    same = [r for r in possible if r.setup == one.setup]
    return same[0] if len(same) == 1 else possible[0] if len(possible) == 1 else None


def difference(
    one: Contender,
    other: Contender | None,
    metric: str = "average_accuracy",
    confidence: float = CONFIDENCE,
) -> Interval:
    """Return the mean of ``one`` less ``other`` over the seeds that both have, with its interval.

    Both are taken to be on the same stream (:func:`opponent` sees to it).
    """
    if other is None:
        return paired_interval([], [], confidence)
    mine, others = one.by_seeds(), other.by_seeds()
    pairs = independent([mine[seeds] for seeds in sorted(mine.keys() & others.keys())])

    def values(trials: Mapping[Seeds, Record]) -> list[float]:
        groups = [[trials[t["seed"], t["stream_seed"]][metric] for t in pair] for pair in pairs]
        return [float(np.mean(np.asarray(group, dtype=np.float64))) for group in groups]

    return paired_interval(values(mine), values(others), confidence)


def _references(everyone: list[Contender], reference: str | Mapping[str, str]) -> list[Contender]:
    if not isinstance(reference, str):
        wanted = {"variant": None} | dict(reference)
        if unknown := sorted(wanted.keys() - set(_NAMES)):
            raise ValueError(f"reference: {', '.join(unknown)} is not one of {', '.join(_NAMES)}")
        found = [one for one in everyone if all(_is(one, k, v) for k, v in wanted.items())]
    else:
        found = [one for one in everyone if _is(one, "method", reference)]
        found = [one for one in found if _is(one, "variant", None)]
        defaults = {_block(one) for one in found if not _given(one)}
        found = [one for one in found if not _given(one) or _block(one) not in defaults]
    for block in {_block(one) for one in found}:
        settings = sorted({_given(one) for one in found if _block(one) == block})
        if len(settings) > 1:
            raise ValueError(
                f"reference {reference!r} is more than one on {', '.join(block)}; give its "
                f"settings: {' or '.join(map(repr, settings))}"
            )
    return found


def _is(one: Contender, name: str, value: str | None) -> bool:
    if name == "variant" and value is None:
        return bool(one.row["variant"] != AS_RELEASED)
    return one.row[name] == value or (name == "settings" and _given(one) == value)


def _given(one: Contender) -> str:
    """Return the settings as the method has them, without what tells setups apart."""
    return str((one.trials[0] if one.trials else one.row)["settings"])


def _block(one: Contender) -> tuple[str, str]:
    return one.row["dataset"], one.row["scenario"]


def _named(one: Contender | None) -> str:
    if one is None:
        return ""
    settings = one.row["settings"]
    return f"{one.row['method']}[{settings.replace(', ', ',')}]" if settings else one.row["method"]
