"""What every method has to keep to, as checks on a small task stream."""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from methods.core.accounting import reachable_bytes
from methods.core.log import SilentLog
from methods.core.method import Method
from methods.core.rng import Rng
from methods.core.task import Batch, Examples, Scenario, StreamInfo, Task, TaskClosed


class ContractBroken(AssertionError):
    """A method does what the contract forbids; the message says what."""


@dataclass(frozen=True)
class Subject:
    """A method with a small stream to try it on.

    Parameters
    ----------
    method : type of Method
    config : Config
        The method's own.
    stream : StreamInfo
    tasks : callable
        Returns the first tasks of the stream, or all, open, each time it is called.
    tests : sequence of Batch
        Labelled test images of each of them.
    device : torch.device or str
    """

    method: type[Method]
    config: Any
    stream: StreamInfo
    tasks: Callable[[], Sequence[Task]]
    tests: Sequence[Batch]
    device: torch.device | str = "cpu"

    def new(self, seed: int = 0) -> Method:
        """Return a method that has learnt nothing."""
        return self.method(self.config, self.stream, Rng(seed), self.device)

    def learnt(self, seed: int = 0) -> Method:
        """Return a method that has learnt all of the tasks."""
        method = self.new(seed)
        for task in self.tasks():
            method.learn(task)
        return method

    def task_id(self, task: int) -> int | None:
        """Return what ``predict`` is told about test images of a task."""
        return task if self.stream.scenario is Scenario.TASK_INCREMENTAL else None

    def logits(self, method: Method, tasks: int | None = None) -> list[Tensor]:
        """Return what a method says of the test images of the first ``tasks`` tasks, or of all."""
        logits = []
        for task, test in enumerate(self.tests[:tasks]):
            shown = test._replace(x=test.x.clone())
            logits.append(method.predict(shown.x, self.task_id(task)))
        return logits


def check(subject: Subject) -> None:
    """Run every check.

    Raises
    ------
    ContractBroken
        By the first check that fails.
    """
    for one in CHECKS:
        one(subject)


def check_data_are_closed(subject: Subject) -> None:
    """Fail unless a task's data are out of reach once ``learn`` has returned."""
    for name in ("learn", "bytes_kept"):
        final = getattr(subject.method, name) is getattr(Method, name)
        _require(final, f"{name}() is overridden: it is the same for every method")
    method, watched = subject.new(), []
    for original in subject.tasks():
        watched.append(_Watched(original.train))
        task = Task(original.index, original.classes, watched[-1], original.validation)
        try:
            method.learn(task)
            watched[-1].over = True
            subject.logits(method, task.index + 1)
            method.sample(1)
            method.state_dict()
        except TaskClosed as error:
            raise ContractBroken("data of an earlier task are read again") from error
        _require(not any(w.late for w in watched), "data of an earlier task are read again")
        for examples in (task.train, task.validation):
            with suppress(TaskClosed):
                if examples is not None:
                    examples.gather(torch.zeros(1, dtype=torch.int64, device=subject.device))
                    raise ContractBroken(f"the data of task {task.index} can be read after learn()")


def check_logits(subject: Subject) -> None:
    """Fail unless logits are finite for the eligible classes and -inf for the others."""
    method, stream = subject.new(), subject.stream
    by_task = stream.eligible_by_task()
    for task in subject.tasks():
        method.learn(task)
        for i, logits in enumerate(subject.logits(method, task.index + 1)):
            known = subject.task_id(i)
            eligible = stream.eligible(task.index + 1) if known is None else by_task[known]
            shape = (len(subject.tests[i].x), stream.classes)
            _require(logits.shape == shape, f"logits are {tuple(logits.shape)}, not {shape}")
            fits = (logits.isneginf().cpu() == ~eligible).all() and logits[:, eligible].isfinite()
            where = f"those of task {i} after task {task.index}"
            message = f"logits are not -inf exactly for classes that are not eligible: {where}"
            _require(bool(torch.as_tensor(fits).all()), message)


def check_predictions(subject: Subject) -> None:
    """Fail if a prediction depends on labels, on earlier calls or on other images."""
    method = subject.learnt()
    before, logits = _saved(method), subject.logits(method)
    for task, test in enumerate(subject.tests):
        batch, known = Batch(test.x.clone(), _labels(test)), subject.task_id(task)
        again = method.predict(batch.x, known)
        _require_same(test.x, batch.x, "predict() changes the images it is given")
        _require_same(logits[task], again, "predictions change from one call to the next")
        assert batch.y is not None
        batch.y.add_(1).remainder_(subject.stream.classes)
        peeked = method.predict(batch.x, known)
        _require_same(logits[task], peeked, "predictions change with the labels of the images")
    if subject.stream.scenario is Scenario.TASK_INCREMENTAL:
        mixes = [(test.x, subject.task_id(i), logits[i]) for i, test in enumerate(subject.tests)]
    else:
        mixes = [(torch.cat([test.x for test in subject.tests]), None, torch.cat(logits))]
    for x, known, expected in mixes:
        for rows in (torch.arange(len(x)).flip(0), torch.arange(len(x))[::3], torch.tensor([0])):
            alone = torch.allclose(method.predict(x[rows], known), expected[rows], 1e-3, 1e-4)
            _require(alone, "the prediction for an image depends on the others in its batch")
    _require_same(before, _saved(method), "predict() changes the method")


def check_global_rng(subject: Subject) -> None:
    """Fail if a public call moves a global random generator."""

    def call(name: str, function: Callable[[], Any]) -> Any:
        # Away from where any seed would put them.
        torch.rand(1), np.random.rand(), random.random()  # noqa: S311
        before = _global_rng(subject.device)
        result = function()
        for owner, state in _global_rng(subject.device).items():
            _require(state == before[owner], f"{name}() moves the global generator of {owner}")
        return result

    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    try:
        method: Method = call("__init__", subject.new)
        for task in subject.tasks():
            call("learn", partial(method.learn, task))
            call("predict", partial(subject.logits, method, task.index + 1))
            call("sample", partial(method.sample, 4))
        state, other = call("state_dict", method.state_dict), subject.new()
        call("load_state_dict", partial(other.load_state_dict, state))
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def check_seeds(subject: Subject) -> None:
    """Fail unless a seed repeats byte for byte, and another one does not."""
    one, same, other = (subject.learnt(seed) for seed in (0, 0, 1))
    results = subject.logits(one), _saved(one)
    _require_same(results, (subject.logits(same), _saved(same)), "one seed gives two results")
    differs = _difference(results[0], subject.logits(other)) is not None
    _require(differs, "two seeds give the same result")


def check_resuming(subject: Subject) -> None:
    """Fail unless saved, loaded and continued at each task boundary equals uninterrupted."""
    whole, resumed = subject.new(), subject.new()
    for task, again in zip(subject.tasks(), subject.tasks(), strict=True):
        taken, written = whole.state_dict(), _written(resumed)
        before, loaded, resumed = _saved(whole), _read(written), subject.new()
        resumed.load_state_dict(loaded)
        for method, now in ((whole, task), (resumed, again)):
            method.learn(now)
        _require_same(before, taken, "training changes a state_dict() that was taken before")
        _require_same(_read(written), loaded, "training changes the state that was loaded")
        seen = task.index + 1
        one, other = ((_saved(m), subject.logits(m, seen)) for m in (whole, resumed))
        _require_same(one, other, f"loaded and continued, task {task.index} ends otherwise")
    last = subject.new()
    last.load_state_dict(_read(_written(whole)))
    _require_same(subject.logits(whole), subject.logits(last), "loaded, it predicts otherwise")


def check_bytes(subject: Subject) -> None:
    """Fail unless ``bytes_kept`` declares all storage that the method reaches, and no other."""
    given = reachable_bytes((subject.config, subject.stream))
    static, method = _static_bytes(subject.method), subject.new()
    for task in subject.tasks():
        method.learn(task)
        subject.logits(method, task.index + 1)
        kept, reachable = sum(method.bytes_kept().values()), reachable_bytes(method) - given
        message = f"bytes_kept() declares {kept} bytes after task {task.index}"
        _require(kept == reachable, f"{message}, but the method reaches {reachable}")
    grown = _static_bytes(subject.method) - static
    _require(grown == 0, f"{grown} bytes are kept on classes or modules, outside the method")


def check_remember(subject: Subject) -> None:
    """Fail unless ``remember`` leaves the predictions as ``fit`` left them."""
    method = subject.new()
    for task in subject.tasks():
        method.learn(task, _AroundRemember(partial(subject.logits, method, task.index + 1)))


def check_samples(subject: Subject) -> None:
    """Fail unless samples are images of the classes and the task asked for."""
    method, stream = subject.learnt(), subject.stream
    seen = stream.classes_of[: method.tasks_learned]
    requests: list[tuple[dict[str, Any], tuple[int, ...]]] = [({}, sum(seen, ()))]
    for task, classes in enumerate(seen):
        requests += [({"task": task}, classes), ({"classes": classes[:1]}, classes[:1])]
    for asked, classes in requests:
        try:
            batch = method.sample(16, **asked)
        except LookupError:  # nothing of this kind is remembered
            continue
        if batch is not None:
            fits = batch.x.shape == (16, *stream.shape) and batch.x.dtype == torch.uint8
            _require(fits, f"sample() gives {batch.x.dtype} {tuple(batch.x.shape)}, not images")
            obeys = batch.y is None or set(batch.y.tolist()) <= set(classes)
            _require(obeys, f"sample() gives other classes than those asked for: {asked}")


CHECKS: tuple[Callable[[Subject], None], ...] = (
    check_data_are_closed,
    check_logits,
    check_predictions,
    check_global_rng,
    check_seeds,
    check_resuming,
    check_bytes,
    check_remember,
    check_samples,
)


class _Watched:
    """Examples that notice when they are read after their time."""

    def __init__(self, examples: Examples) -> None:
        self.examples, self.over, self.late = examples, False, False

    def __len__(self) -> int:
        return len(self.examples)

    def gather(self, index: Tensor) -> Batch:
        self.late |= self.over
        return self.examples.gather(index)


class _AroundRemember(SilentLog):
    """Compares the predictions before and after the phase that ``learn`` calls ``remember``."""

    def __init__(self, look: Callable[[], list[Tensor]]) -> None:
        self.look = look

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        before = self.look() if name == "remember" else None
        yield
        if before is not None:
            _require_same(before, self.look(), "remember() changes the predictions")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ContractBroken(message)


def _require_same(a: object, b: object, message: str) -> None:
    path = _difference(a, b)
    _require(path is None, f"{message} (first difference at {path or 'the top'})")


def _difference(a: Any, b: Any, path: str = "") -> str | None:
    """Return where two nests of tensors and plain values first differ, byte for byte."""
    if type(a) is not type(b):
        return path
    if isinstance(a, Tensor):
        alike = a.dtype == b.dtype and a.shape == b.shape
        same = alike and torch.equal(*(t.reshape(-1).view(torch.uint8) for t in (a, b)))
        return None if same else path
    if isinstance(a, (dict, list, tuple)):
        keys, others = (list(x) if isinstance(x, dict) else list(range(len(x))) for x in (a, b))
        if keys != others:
            return path
        parts = (_difference(a[k], b[k], f"{path}.{k}".lstrip(".")) for k in keys)
        return next((part for part in parts if part is not None), None)
    return None if a == b else path


def _written(method: Method) -> bytes:
    file = io.BytesIO()
    torch.save(method.state_dict(), file)
    return file.getvalue()


def _read(written: bytes) -> Any:
    try:
        return torch.load(io.BytesIO(written), weights_only=True)
    except UnpicklingError as error:
        message = "state_dict() holds other things than tensors and plain values"
        raise ContractBroken(f"{message}: {error}") from error


def _saved(method: Method) -> Any:
    return _read(_written(method))


def _labels(test: Batch) -> Tensor:
    assert test.y is not None
    return test.y.clone()


def _global_rng(device: torch.device | str) -> dict[str, list[Any]]:
    legacy: Any = np.random.get_state(legacy=True)
    states: dict[str, list[Any]] = {
        "PyTorch": torch.get_rng_state().tolist(),
        "numpy": [part.tolist() if isinstance(part, np.ndarray) else part for part in legacy],
        "Python": list(random.getstate()),
    }
    if torch.device(device).type == "cuda":
        states["CUDA"] = torch.cuda.get_rng_state(device).tolist()
    return states


def _static_bytes(method: type[Method]) -> int:
    """Count what classes and modules hold, which no instance shows."""
    kinds = [kind for kind in method.__mro__ if issubclass(kind, Method)]
    spaces = [vars(module) for kind in kinds if (module := sys.modules.get(kind.__module__))]
    named = [thing for space in spaces for thing in space.values()]
    kinds += [thing for thing in named if isinstance(thing, type)]
    things = named + [part for kind in kinds for part in vars(kind).values()]
    seen: set[int] = set()
    return sum(reachable_bytes(thing, seen) for thing in things)
