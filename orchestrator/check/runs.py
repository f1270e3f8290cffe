"""Checks made in every scenario with every case: all of them, whatever fails."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from methods.core.contract import ContractBroken, Subject
from methods.core.method import Method
from methods.core.registry import method_class
from methods.core.task import Scenario
from orchestrator.check.cases import CASES, Case, longer_subject, make_subject
from orchestrator.check.checks import BATCH_SIZE, STEPS, Check, Extent, where_defined

#: A method that is slower than this, in seconds, is timed but once.
_SLOW = 2.0


@dataclass(frozen=True)
class Run:
    """A method in a scenario, with the options of a case."""

    method: type[Method]
    data_dir: Path
    scenario: Scenario
    case: Case

    def subject(self) -> Subject:
        """Return it with a stream, small enough to be learnt many times."""
        return make_subject(self.method, self.data_dir, self.case.options, self.scenario)

    def longer_subject(self) -> Subject:
        """Return it with its default options, to be trained for a while."""
        return longer_subject(self.method, self.data_dir, self.scenario, STEPS, BATCH_SIZE)


@dataclass(frozen=True)
class Failure:
    """What was wrong in one run; ``place`` is file and line of the method's code, or empty."""

    message: str
    place: str
    run: Run


@dataclass(frozen=True)
class Finding:
    """What came of a check: the failures among so many runs, and remarks on the others."""

    check: Check
    runs: int
    failures: tuple[Failure, ...]
    remarks: tuple[str, ...]


def runs_of(
    check: Check,
    method: type[Method],
    data_dir: Path,
    scenarios: Iterable[Scenario],
    cases: Iterable[Case],
) -> list[Run]:
    """Return the runs of a check: as many as its extent asks for."""
    runs = [Run(method, data_dir, s, case) for s in scenarios for case in cases]
    if check.extent is Extent.CASES:
        return runs
    runs = [run for run in runs if run.case is CASES[0]]
    return runs if check.extent is Extent.SCENARIOS else runs[:1]


def run_check(
    check: Check, runs: Iterable[Run], done: Callable[[], object] = lambda: None
) -> Finding:
    """Make a check in every run; whatever a method raises is a failure.

    Parameters
    ----------
    check : Check
    runs : iterable of Run
    done : callable, optional
        Called after each run.
    """
    failures: list[Failure] = []
    remarks: list[str] = []
    made = 0
    for run in runs:
        try:
            remark = check.look(run)
            remarks += [remark] if remark else []
        except ContractBroken as broken:
            failures.append(Failure(str(broken), "", run))
        except Exception as error:  # the method's own: this is what is asked for
            failures.append(Failure(_named(error), place_of(error, run.method), run))
        made += 1
        done()
    return Finding(check, made, tuple(failures), tuple(remarks))


def place_of(error: BaseException, method: type[Method]) -> str:
    """Return ``file:line, in function`` where an error left a method's code, or Python's code."""
    frames = traceback.extract_tb(error.__traceback__)
    files = {where_defined(kind)[0] for kind in method.__mro__ if kind is not Method}
    own = [frame for frame in frames if frame.filename == where_defined(method)[0]]
    inherited = [frame for frame in frames if frame.filename in files - {""}]
    frame = (own or inherited or frames)[-1]
    return f"{nearby(frame.filename)}:{frame.lineno}, in {frame.name}"


def nearby(path: str | Path) -> str:
    """Return a path as short as can be: from the working folder, where it lies in there."""
    path, here = Path(path), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def seconds_per_task(run: Run) -> tuple[float, float]:
    """Return the processor time of a task, and that of ``naive`` under the same budget.

    The best of some attempts, over the first tasks of a stream.
    """
    return _seconds(run.method, run), _seconds(method_class("naive"), run)


def _seconds(method: type[Method], run: Run) -> float:
    subject = Run(method, run.data_dir, run.scenario, CASES[0]).longer_subject()
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        subject.learnt()
        best = min(best, (time.process_time() - began) / len(subject.tests))
        if best > _SLOW:
            break
    return best


def _named(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
