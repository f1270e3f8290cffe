"""What the benchmarks share: the verdict, command-line options, search spaces made on the fly."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Verdict:
    """Figures asked for beside those measured, printed as a table at the end.

    Examples
    --------
    >>> verdict = Verdict("iteration")
    >>> verdict.check("inside the Ray actor", 1.08, at_most=1.15, unit="×")
    >>> sys.exit(verdict.close())
    """

    benchmark: str
    rows: list[tuple[str, str, str, bool]] = field(default_factory=list)

    def check(
        self,
        figure: str,
        measured: float,
        *,
        at_least: float = -math.inf,
        at_most: float = math.inf,
        unit: str = "",
    ) -> None:
        """Note a measured value and the bounds that it has to keep."""
        bounds = []
        if math.isfinite(at_least):
            bounds.append(f"≥ {at_least:g}")
        if math.isfinite(at_most):
            bounds.append(f"≤ {at_most:g}")
        asked = f"{', '.join(bounds)} {unit}".strip()
        value = f"{measured:.4g} {unit}".strip()
        self.rows.append((figure, asked, value, at_least <= measured <= at_most))

    def close(self) -> int:
        """Print the table and return the exit status: 0 if everything was reached, else 1."""
        rows = [("asked", "measured", "", self.benchmark)]
        rows += [(a, m, "pass" if good else "MISSED", name) for name, a, m, good in self.rows]
        left, middle, right = (max(len(row[i]) for row in rows) for i in range(3))
        print()
        for a, m, passed, name in rows:
            print(f"{a:<{left}}  {m:<{middle}}  {passed:<{right}}  {name}".rstrip())
        return 0 if all(good for *_, good in self.rows) else 1


def arguments(description: str | None, **defaults: int | str) -> argparse.Namespace:
    """Read the command line: ``--data``, ``--results`` and an option for each default."""
    parser = argparse.ArgumentParser(description=(description or "").split("\n\n")[0])
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(os.environ.get("ENGRAM_DATA") or "data"),
        help="folder of data (default: ENGRAM_DATA, or data)",
    )
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results")
    for name, default in defaults.items():
        text = f"default: {default}" if default else None
        parser.add_argument(f"--{name}", type=type(default), default=default, help=text)
    return parser.parse_args()


def write_space(folder: Path, name: str, **axes: Any) -> Path:
    """Write a search space and return its file."""
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({"name": name, **axes}), encoding="utf-8")
    return path


def records_of(space: str, results: Path, data: Path, budget: str | None = None) -> pd.DataFrame:
    """Run what is missing of a search space and return the records of all its trials."""
    from rich.console import Console

    from orchestrator import api
    from orchestrator.results import ResultsStore

    progress(f"{space}:")
    console = Console(stderr=True)
    sweep = api.run(space, budget=budget, results=results, data=data, mlflow=False, console=console)
    return ResultsStore(results).read({trial.id for trial in sweep.plan.trials}).to_pandas()


def progress(line: str) -> None:
    """Say how far a benchmark is."""
    print(line, file=sys.stderr, flush=True)


def status_of(main: Callable[[], int]) -> int:
    """Run a benchmark; a mistake of the user, such as missing data, is told in one line."""
    from orchestrator.errors import UserError

    try:
        return main()
    except UserError as error:
        progress(str(error))
        return 2
