"""How long a search space takes: out of the trials that were measured here, or elsewhere."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from orchestrator.results import ResultsStore
from orchestrator.space.measured import Measured

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


class Alike(NamedTuple):
    """Trials that differ in nothing but seeds: how many there are, and seconds of some of them."""

    trials: int
    seconds: tuple[float, ...]


@dataclass(frozen=True)
class Time:
    """What the trials of a search space take.

    Attributes
    ----------
    seconds : float
        All of them, one after the other.
    longest : float
        The longest kind of them.
    trials : int
        How many they are.
    on_gpu : bool
        Whether they were measured on a GPU.
    here : bool
        Whether they were measured in the folder of results that was asked for.
    """

    seconds: float
    longest: float
    trials: int
    on_gpu: bool
    here: bool

    def of(self, trials: int) -> Time:
        """Return what so many trials of this kind take."""
        if trials == self.trials:
            return self
        return replace(self, seconds=self.seconds * trials / self.trials, trials=trials)

    def on(self, cores: int, each: int = 1) -> float:
        """Return the seconds that a machine takes whose cores work on several trials at once.

        Trials measured on a GPU are taken one after the other.
        """
        at_once = 1 if self.on_gpu else max(1, cores // each)
        return max(self.seconds / at_once, self.longest)


def estimate(groups: Iterable[Alike], on_gpu: bool, here: bool) -> Time | None:
    """Extrapolate from the trials that were measured to all of them; None if none was.

    A trial that was not measured takes as long as the mean of those that differ in the seed alone,
    or, if there is no such one, as the mean of all.
    """
    groups = list(groups)
    measured = [seconds for group in groups for seconds in group.seconds]
    if not measured:
        return None
    mean = sum(measured) / len(measured)
    means = [sum(g.seconds) / len(g.seconds) if g.seconds else mean for g in groups]
    total = sum(group.trials * each for group, each in zip(groups, means, strict=True))
    return Time(total, max(means), sum(group.trials for group in groups), on_gpu, here)


def time_elsewhere(measured: Measured | None) -> Time | None:
    """Return the time of a sweep by what is kept of it; None if nothing is."""
    if measured is None:
        return None
    groups = [
        Alike(row.planned, () if row.seconds is None else (row.seconds,) * row.finished)
        for row in measured.rows
    ]
    return estimate(groups, "GPU" in measured.computed_with, here=False)


def times_here(store: ResultsStore) -> Mapping[str, Time]:
    """Return the times of the sweeps that were run into a folder of results, by name.

    Raises
    ------
    UserError
        If the folder holds what no sweep wrote.
    """
    if store.is_absent():
        return {}
    plans = {name: store.read_sweep(name) for name in store.sweep_names()}
    seconds = store.seconds({row["id"] for plan in plans.values() for row in plan})
    found = {}
    for name, plan in plans.items():
        known = [seconds[row["id"]] for row in plan if row["id"] in seconds]
        time = estimate(_alike(plan, seconds), any(on_gpu for _, on_gpu in known), here=True)
        if time is not None:
            found[name] = time
    return found


def _alike(
    plan: Iterable[Mapping[str, Any]], seconds: Mapping[str, tuple[float, bool]]
) -> Iterable[Alike]:
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for row in plan:
        key = ("dataset", "scenario", "method", "settings", "setup", "variant")
        groups[tuple(str(row.get(name)) for name in key)].append(row["id"])
    for ids in groups.values():
        yield Alike(len(ids), tuple(seconds[trial][0] for trial in ids if trial in seconds))


def about(seconds: float) -> str:
    """Return a time as people say it: ``1 min``, ``12 min``, ``3.5 h``, ``2 days``."""
    if seconds < 0.9 * _HOUR:
        return f"{max(1, round(seconds / _MINUTE))} min"
    if seconds < _DAY:
        return f"{seconds / _HOUR:.1f} h".replace(".0 h", " h")
    return f"{seconds / _DAY:.1f} days"
