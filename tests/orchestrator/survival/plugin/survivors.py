"""Methods that tell what they learn, and faults at named moments, for tests of survival.

It comes as a package does: every process that knows its methods loads it, the driver and each
worker. ``SURVIVAL_FOLDER`` is where processes tell the test something, and where a fault leaves a
scar, so that it strikes once. ``SURVIVAL_FAULTS`` lists faults as JSON, each with a name, a moment
(``at``) and what narrows it down:

- ``in-task``: in the steps of task ``task``, counted from 0;
- ``before-rename``, ``after-rename``: of a file written whole, whose path ends like ``file``
  (``*`` and ``?`` stand for anything), the ``nth`` time in this process;
- ``in-write``: the same, with half of the file on the disk.

What happens then, ``does``, is that the process kills itself (``kill``, by default), that it kills
the node that it is on (``kill-node``: the process that started it), or that the disk of a file
``ballast`` in the folder of results runs full (``fill-disk``).
"""

import errno
import fnmatch
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import torch

from methods.core.registry import register
from methods.replay import Replay

FOLDER = Path(os.environ["SURVIVAL_FOLDER"])
FAULTS = json.loads(os.environ.get("SURVIVAL_FAULTS", "[]"))
#: Seconds that a step of training takes.
STEP = float(os.environ.get("SURVIVAL_STEP", "0.02"))


def note(*words):
    """Append one short line as a whole."""
    with open(FOLDER / "notes.txt", "a") as file:
        file.write(" ".join(map(str, words)) + "\n")


def scar(fault):
    """Return the file that a fault leaves behind."""
    return FOLDER / f"scar-{fault['name']}"


def strike(fault):
    """Let a fault happen, unless it has."""
    try:
        scar(fault).touch(exist_ok=False)
    except FileExistsError:
        return
    match fault.get("does", "kill"):
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "kill-node":
            os.kill(os.getppid(), signal.SIGKILL)
            time.sleep(60)
        case "fill-disk":
            fill(Path(os.environ["SURVIVAL_RESULTS"]) / "ballast")


def fill(ballast):
    """Write until the disk is full."""
    with open(ballast, "wb", buffering=0) as file:
        for size in (4096, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise


def matching(at, path):
    """Return the faults of a moment that are to strike at a file."""
    return [
        fault
        for fault in FAULTS
        if fault["at"] == at and fnmatch.fnmatch(os.fspath(path), f"*{fault['file']}")
    ]


def suffer():
    """Make the system calls of this process fail as planned."""
    replace, fsync, times = os.replace, os.fsync, Counter()

    def strike_at_last(fault):
        times[fault["name"]] += 1
        if times[fault["name"]] == fault.get("nth", 1):
            strike(fault)

    def struck_replace(source, target, **options):
        for fault in matching("before-rename", target):
            strike_at_last(fault)
        replace(source, target, **options)
        for fault in matching("after-rename", target):
            strike_at_last(fault)

    def struck_fsync(file):
        folder, _, name = os.readlink(f"/proc/self/fd/{file}").rpartition("/")
        target = f"{folder}/{name[1:].rsplit('.', 2)[0]}"  # from .NAME.….part
        for fault in matching("in-write", target):
            if not scar(fault).exists():
                os.ftruncate(file, os.fstat(file).st_size // 2)
            strike(fault)
        fsync(file)

    os.replace, os.fsync = struck_replace, struck_fsync


if FAULTS:
    suffer()


class Telling(Replay):
    """Tell which task is learnt, in which trial."""

    @classmethod
    def named_point(cls, config):
        """Be a method of its own."""
        return cls

    @property
    def trial(self):
        """A name for a trial."""
        config = self.config
        return f"{config.budget.iterations}/{config.optimizer.weight_decay}/{self.rng.seed}"

    def before_task(self, task):
        """Tell it as it begins."""
        note("learns", self.trial, task.index)
        super().before_task(task)

    def after_step(self, batch):
        """Take a while, so that there is a middle in which something can happen."""
        super().after_step(batch)
        time.sleep(STEP)


@register("test-survivor")
class Survivor(Telling):
    """Suffer the faults of a task in its third step."""

    def before_task(self, task):
        """Begin to count steps."""
        super().before_task(task)
        self.steps = 0

    def after_step(self, batch):
        """Suffer."""
        super().after_step(batch)
        self.steps += 1
        for fault in FAULTS:
            if (fault["at"], fault.get("task"), 3) == ("in-task", self.tasks_learned, self.steps):
                strike(fault)


@register("test-together")
class Together(Telling):
    """Wait in the first task until three others are there too, and then for a fifth."""

    def before_task(self, task):
        """Tell that it runs."""
        super().before_task(task)
        if task.index:
            return
        note("from", self.trial)
        deadline = time.monotonic() + 150
        while (FOLDER / "notes.txt").read_text().count("from ") < 4:
            if time.monotonic() > deadline:
                raise TimeoutError("there are fewer than four")
            time.sleep(0.05)
        time.sleep(2)

    def after_task(self, task, log):
        """Tell that it is about to end."""
        super().after_task(task, log)
        if task.index == self.stream.tasks - 1:
            note("to", self.trial)


@register("test-hungry")
class Hungry(Telling):
    """Need the share of a machine that ``replay_batch`` CPUs are, from the second task on."""

    def before_task(self, task):
        """Run out of memory where the share is smaller."""
        import ray

        super().before_task(task)
        share = ray.get_runtime_context().get_assigned_resources()
        note("share", self.config.replay_batch, task.index, share["CPU"])
        if task.index == 1 and share["CPU"] < self.config.replay_batch:
            raise torch.OutOfMemoryError("out of memory, as planned")
