"""Live progress of a sweep: done, running, failed, time left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.text import Text

from orchestrator.trial import Trial

#: Seconds between two lines where the output is no terminal.
_LINE_EVERY = 10.0


class Progress:
    """Counts trials and tells about them, on one live line or on a line every few seconds.

    Parameters
    ----------
    trials : sequence of Trial
        What is to be run.
    console : Console
    """

    def __init__(self, trials: Sequence[Trial], console: Console) -> None:
        self.console = console
        self._names = {trial.id: trial.config.name for trial in trials}
        self._tasks = {trial.id: trial.config.stream.tasks for trial in trials}
        self._learned = dict.fromkeys(self._tasks, 0)
        self._running: set[str] = set()
        self._ended: Counter[str] = Counter()
        self._began = self._said = time.monotonic()

    @property
    def running(self) -> int:
        """Trials that are under way."""
        return len(self._running)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the progress while the block runs."""
        self._began = self._said = time.monotonic()
        if not self.console.is_terminal:
            yield
            return
        with Live(get_renderable=lambda: Text(self.line()), console=self.console, transient=True):
            yield

    def started(self, trial: str) -> None:
        """Note that a trial runs; when it runs again, from its first task."""
        self._running.add(trial)
        self._learned[trial] = 0
        self._tell()

    def task_done(self, trial: str, tasks_learned: int) -> None:
        """Note that a trial has learnt so many tasks."""
        self._learned[trial] = tasks_learned
        self._tell()

    def ended(self, trial: str, outcome: str, cause: str) -> None:
        """Note how a trial ended, and say so if it went wrong."""
        self._running.discard(trial)
        self._ended[outcome] += 1
        self._learned[trial] = self._tasks[trial]
        if outcome != "finished":
            self.note(f"{outcome}: {self._names[trial]} ({trial}): {cause}")
        self._tell()

    def set_aside(self, trial: str, cause: str, again: str) -> None:
        """Note that a trial was interrupted and will go on."""
        self._running.discard(trial)
        self.note(f"interrupted: {self._names[trial]} ({trial}): {cause}; {again}")

    def note(self, line: str) -> None:
        """Say something that a user should know."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def line(self) -> str:
        """Return ``12 of 54 trials done, 2 running, 0 failed, about 0:40 left``."""
        done, total = self._ended["finished"], len(self._tasks)
        failed = self._ended.total() - done
        left = self.seconds_left()
        ahead = "" if left is None else f", about {minutes(left)} left"
        return f"{done} of {total} trials done, {self.running} running, {failed} failed{ahead}"

    def seconds_left(self) -> float | None:
        """Estimate the time left from the share of tasks learnt; None before the first."""
        learned, total = sum(self._learned.values()), sum(self._tasks.values())
        if not learned:
            return None
        return (time.monotonic() - self._began) * (total - learned) / learned

    def _tell(self) -> None:
        now = time.monotonic()
        if not self.console.is_terminal and now - self._said >= _LINE_EVERY:
            self._said = now
            self.console.print(self.line(), markup=False, highlight=False)


def minutes(seconds: float) -> str:
    """Write a duration as ``0:40`` or ``1:05:00``."""
    hours, rest = divmod(round(seconds), 3600)
    text = f"{rest // 60}:{rest % 60:02d}"
    return f"{hours}:{text.zfill(5)}" if hours else text
