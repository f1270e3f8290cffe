"""What has been measured of the packaged search spaces, as it is kept beside them.

``search_spaces/measured/NAME.json`` holds the leaderboard of a sweep (``python -m
orchestrator.reference export`` writes it), so that documentation and lists know accuracies and
times without the records.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from typing import Any, NamedTuple


class Span(NamedTuple):
    """A mean and the bounds of its 95 % interval; None where there is none."""

    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Row:
    """A row of the leaderboard.

    Attributes
    ----------
    dataset, scenario, method, settings, variant : str
    rank : int or None
    n : int
        Values behind the means: seeds.
    planned, missing, diverged, errors : int
        Trials there should be, and those that are not in the means.
    accuracy : Span
        Average accuracy after the last task.
    forgetting : float or None
    bytes_kept : float or None
    seconds : float or None
        Mean of a trial.
    difference : Span
        To the row of the reference, paired by seed.
    pairs : int
        Seeds that both have.
    """

    dataset: str
    scenario: str
    method: str
    settings: str
    variant: str
    rank: int | None
    n: int
    planned: int
    missing: int
    diverged: int
    errors: int
    accuracy: Span
    forgetting: float | None
    bytes_kept: float | None
    seconds: float | None
    difference: Span
    pairs: int

    @property
    def finished(self) -> int:
        """Trials that are in the means."""
        return self.planned - self.missing - self.diverged - self.errors


@dataclass(frozen=True)
class Measured:
    """What was measured of a sweep.

    Attributes
    ----------
    sweep : str
        Name of the search space, with a hyphen and the budget where there is one.
    reference : str
        The method that rows are compared with; empty where none is.
    computed_with : dict of str to str
        Versions and devices, by what they are of.
    trials : str
        Digest of the identities of the trials that are in the means.
    rows : tuple of Row
        In the order of the leaderboard.
    """

    sweep: str
    reference: str
    computed_with: dict[str, str]
    trials: str
    rows: tuple[Row, ...]

    @property
    def planned(self) -> int:
        """Trials that the search space had."""
        return sum(row.planned for row in self.rows)

    @property
    def finished(self) -> int:
        """Trials that are in the means."""
        return sum(row.finished for row in self.rows)

    @property
    def missing(self) -> int:
        """Trials that have not been run."""
        return sum(row.missing for row in self.rows)

    def to_json(self) -> str:
        """Return the content of the file: a line for each row, so that changes are to be seen."""
        head = {key: value for key, value in asdict(self).items() if key != "rows"}
        lines = [f" {json.dumps(key)}: {json.dumps(value)}," for key, value in head.items()]
        rows = ",\n".join(f"  {json.dumps(asdict(row), ensure_ascii=False)}" for row in self.rows)
        return "\n".join(["{", *lines, ' "rows": [', rows, " ]", "}", ""])

    @classmethod
    def from_json(cls, text: str) -> Measured:
        """Read what :meth:`to_json` wrote."""
        value = json.loads(text)
        rows = tuple(_row(row) for row in value.pop("rows"))
        return cls(**value, rows=rows)


def _row(value: dict[str, Any]) -> Row:
    spans = {field.name: Span(*value[field.name]) for field in fields(Row) if field.type == "Span"}
    return Row(**(value | spans))


def read_measured(sweep: str) -> Measured | None:
    """Return what was measured of a packaged search space; None if nothing was."""
    file = files("search_spaces") / "measured" / f"{sweep}.json"
    return Measured.from_json(file.read_text(encoding="utf-8")) if file.is_file() else None
