"""Latent replay and generative latent replay on real MNIST: the figures of docs/latent-replay.md.

Runs the packaged search spaces ``glr-*`` with ``--budget small``, as ``engram run`` does, checks
what they must show over paired seeds, and prints their tables. What is in the results folder
already is not run again, and most trials serve several of the spaces.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from _common import Verdict, arguments, progress, status_of
from rich.console import Console

from orchestrator import api
from orchestrator.leaderboard.paired import paired_differences
from orchestrator.results import ResultsStore
from orchestrator.search_space import read_space

#: Each search space with the row that the others are compared with.
SPACES: dict[str, Mapping[str, str]] = {
    "glr-rotated": {"method": "latent-replay", "buffer_size": "6000"},
    "glr-permuted": {"method": "latent-replay", "buffer_size": "6000"},
    "glr-buffer-size": {"method": "latent-replay", "buffer_size": "6000"},
    "glr-freeze-depth": {"method": "naive", "freeze_depth": "0"},
    "glr-generators": {"method": "latent-replay"},
    "glr-sampling": {"method": "glr", "buffer_size": "6000"},
}
#: The replayed loss is the same everywhere here.
_EVERYWHERE = "replay_loss=mean"


def settings_of(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings of a row of the leaderboard as a mapping."""
    parts = (part.partition("=") for part in str(row["settings"]).split(", ") if part)
    return {key: value for key, _, value in parts}


def find(table: pd.DataFrame, wanted: Mapping[str, str]) -> dict[str, Any]:
    """Return the one row of that method with those settings; an empty value means the default."""
    absent = {"freeze_depth": "0"}
    fitting = [
        row
        for row in table.to_dict("records")
        if row["method"] == wanted["method"]
        and row["variant"] == wanted.get("variant", "corrected")
        and all(
            settings_of(row).get(key, absent.get(key, "")) == value
            for key, value in wanted.items()
            if key not in {"method", "variant"}
        )
    ]
    plain = sorted(fitting, key=lambda row: len(settings_of(row)))
    if not plain:
        raise SystemExit(f"no row of the leaderboard is {dict(wanted)}")
    return {str(key): value for key, value in plain[0].items()}


class Table:
    """The leaderboard of one sweep, with paired differences between its rows."""

    def __init__(self, space: str, results: Path) -> None:
        self.space, store = space, ResultsStore(results)
        planned = {row["id"] for row in store.read_sweep(f"{space}-small")}
        self.records = store.read(planned).to_pandas()
        self.rows = api.read_leaderboard(results, f"{space}-small")

    def difference(
        self, wanted: Mapping[str, str], reference: Mapping[str, str]
    ) -> tuple[float, float]:
        """Return mean and lower bound of a row's accuracy less that of another."""
        one, other = find(self.rows, wanted), find(self.rows, reference)
        row = self._differences(other)[(one["method"], one["settings"], one["variant"])]
        return float(row["difference"]), float(row["low"])

    def _differences(self, reference: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
        columns = {key: str(reference[key]) for key in ("method", "settings", "variant")}
        table = paired_differences(self.records, columns)
        rows = table.to_dict("records")
        return {(row["method"], row["settings"], row["variant"]): row for row in rows}

    def markdown(self) -> str:
        """Return the table as docs show it."""
        reference = find(self.rows, SPACES[self.space])
        differences = self._differences(reference)
        lines = [
            f"| method | settings | accuracy | difference to {reference['method']}, paired "
            "| forgetting | kept | n |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in self.rows.sort_values("average_accuracy", ascending=False).to_dict("records"):
            key = row["method"], row["settings"], row["variant"]
            pair, settings = differences.get(key), row["settings"].split(", ")
            is_reference = key == tuple(
                reference[part] for part in ("method", "settings", "variant")
            )
            lines.append(
                f"| `{row['method']}` "
                f"| {', '.join(part for part in settings if part and part != _EVERYWHERE) or '–'} "
                f"| {interval(row, 'average_accuracy', 'average_accuracy_')} "
                f"| {'' if is_reference else interval(pair, 'difference', '', signed=True)} "
                f"| {short(row['forgetting'])} | {row['bytes_kept'] / 1e6:.1f} MB | {row['n']} |"
            )
        return "\n".join(lines)


def interval(row: Mapping[str, Any] | None, mean: str, bounds: str, *, signed: bool = False) -> str:
    """Return ``.912 [.900, .924]``; a dash where nothing has finished."""
    if row is None or math.isnan(row[mean]):
        return "–"
    sign = "+" if signed else ""
    values = (row[mean], row[f"{bounds}low"], row[f"{bounds}high"])
    one, low, high = (short(value, sign) for value in values)
    return f"{one} [{low}, {high}]"


def short(value: float, sign: str = "") -> str:
    """Return a fraction without its leading zero."""
    text = f"{value:{sign}.3f}".replace("-", "−")
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def check_rotated(table: Table, verdict: Verdict) -> None:
    """Check what replay behind a frozen prefix is worth on rotated MNIST."""
    naive, frozen = (
        {"method": "naive", "freeze_depth": "0"},
        {"method": "naive", "freeze_depth": "2"},
    )
    replay, latent = {"method": "replay"}, {"method": "latent-replay", "buffer_size": "6000"}
    glr = {"method": "glr", "memory": "", "memory.components": ""}
    gaussian = {"method": "glr", "memory": "gaussian", "memory.covariance": ""}
    released = {"method": "glr", "variant": "as-released"}
    best = {"method": "glr", "memory": "gaussian", "memory.covariance": "low-rank"}
    reached = (
        ("naive", naive, 0.47, 0.57),
        ("naive, frozen alike", frozen, 0.46, 0.56),
        ("glr, one Gaussian a class", gaussian, 0.72, 1.0),
        ("glr, three components", glr, 0.76, 1.0),
        ("latent-replay, 6,000", latent, 0.89, 1.0),
        ("replay, 6,000", replay, 0.90, 1.0),
    )
    for name, wanted, low, high in reached:
        accuracy = find(table.rows, wanted)["average_accuracy"]
        verdict.check(name, accuracy, at_least=low, at_most=high)
    more = (
        ("glr over naive", glr, naive),
        ("glr over naive, frozen alike", glr, frozen),
        ("latent-replay over glr", latent, glr),
        ("glr over glr as released", glr, released),
        ("low-rank glr over diagonal glr", best, glr),
        (
            "latent-replay, 30,000 over 600",
            latent | {"buffer_size": "30000"},
            latent | {"buffer_size": "600"},
        ),
    )
    for name, one, other in more:
        mean, low = table.difference(one, other)
        verdict.check(f"{name}: {mean:+.3f}, lower bound", low, at_least=0.0)
    mean, _ = table.difference(replay, latent)
    verdict.check("replay over latent-replay, mean", mean, at_least=0.0)


def options() -> argparse.Namespace:
    """Read the command line; ``--only`` takes some of the spaces."""
    given = arguments(__doc__, only="", tables="")
    unknown = set(filter(None, given.only.split(","))) - set(SPACES)
    if unknown:
        raise SystemExit(f"--only: no such search space: {', '.join(sorted(unknown))}")
    return given


def main() -> int:
    given = options()
    verdict = Verdict("glr: accuracy on rotated MNIST, paired seeds")
    wanted = [name for name in SPACES if not given.only or name in given.only.split(",")]
    pages = []
    for name in wanted:
        progress(f"{name} --budget small:")
        api.run(
            name,
            budget="small",
            results=given.results,
            data=given.data,
            mlflow=False,
            console=Console(stderr=True),
        )
        table = Table(name, given.results)
        space, _ = read_space(name, "small")
        published = space.header.published
        figures = (
            published
            if isinstance(published, str)
            else ", ".join(f"{key} {value}" for key, value in published.items())
        )
        pages.append(f"### {name}\n\n{table.markdown()}\n\nPublished: {figures}.\n")
        if name == "glr-rotated":
            check_rotated(table, verdict)
    if given.tables:
        Path(given.tables).write_text("\n".join(pages), encoding="utf-8")
    else:
        progress("\n".join(pages))
    return verdict.close()


if __name__ == "__main__":
    sys.exit(status_of(main))
