"""Watching and keeping change nothing: not the record, not the identity, not the speed."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

from methods.core import registry
from methods.core.classifier import Classifier
from methods.core.method import Method
from methods.core.registry import method_class, method_names
from methods.core.task import Batch, Scenario
from methods.networks import Backbone, Mlp
from orchestrator.checkpoints import Keep
from orchestrator.data.stream_config import StreamConfig
from orchestrator.identity import Environment
from orchestrator.plan import Plan
from orchestrator.results import DETERMINISTIC, Record, ResultsStore
from orchestrator.storage import Storage
from orchestrator.trial import Trial, TrialConfig
from orchestrator.trial_code import trial_code
from orchestrator.trial_run import TrialRun
from orchestrator.watch import Watch

OPTIONS = {
    "network": {"name": "mlp", "widths": [16, 16]},
    "budget": {"iterations": 25, "batch_size": 16},
}


class Run:
    """One trial, run in this process."""

    def __init__(
        self,
        home: Path,
        cls: type[Method],
        options: dict[str, Any],
        scenario: Scenario = Scenario.CLASS_INCREMENTAL,
        **how: Any,
    ) -> None:
        stream = StreamConfig(
            dataset="split-digits", tasks=5, scenario=scenario, train_per_task=120
        ).with_seed(0)
        known = cls.Config.model_fields  # type: ignore[attr-defined]
        config = TrialConfig(
            *(stream, cls.name),
            cls.Config.model_validate({k: v for k, v in options.items() if k in known}),
            seed=0,
        )
        trial = Trial("0" * 16, config, stream.fingerprint(home), trial_code(cls))
        about = {"space": "test", "commit": ""}
        results = Storage(home / f"results-{len(list(home.glob('results-*')))}")  # of its own
        self.run = TrialRun(trial, Environment.here(), home, about, results=results, **how)
        self.reports = [self.run.step()]
        while self.reports[-1].record is None:
            self.reports.append(self.run.step())

    @property
    def record(self) -> Record:
        record = self.reports[-1].record
        assert record is not None
        return record

    def curve(self, name: str) -> list[int]:
        """Iterations of the points of a curve."""
        parts = (report.curves.series.get(name, ()) for report in self.reports)
        return [at for part in parts for at, _ in part]

    def deterministic(self, folder: Path) -> tuple[bytes, bytes]:
        """The deterministic columns of the record as the store has them, and the final state."""
        store = ResultsStore(folder)
        store.write(self.record)
        table = store.read().select(DETERMINISTIC).combine_chunks()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        state = io.BytesIO()
        torch.save(self.run.method.state_dict(), state)
        return sink.getvalue().to_pybytes(), state.getvalue()


def alone_and_watched(home: Path, *what: Any) -> tuple[Run, Run]:
    keep = Keep(model=True, checkpoints="all")
    return Run(home, *what), Run(home, *what, watch=Watch(every=10, images=20), keep=keep)


@pytest.mark.parametrize("name", method_names())
def test_a_watched_trial_has_the_same_record(name: str, tmp_path: Path) -> None:
    cls = method_class(name)
    alone, watched = alone_and_watched(tmp_path, cls, OPTIONS, min(cls.scenarios))
    assert watched.record["outcome"] == "finished", watched.record["cause"]
    assert watched.deterministic(tmp_path / "b") == alone.deterministic(tmp_path / "a")
    assert not any(report.curves.problem for report in watched.reports)
    points = watched.curve("average_accuracy")
    assert len(points) == len(set(points)) >= 5 * 3, "two in each task, and its end"
    assert alone.curve("average_accuracy") == []


class Noisy(Mlp):
    """A network with dropout and batch norm, which draw and remember."""

    def build(self, shape: tuple[int, int, int]) -> Backbone:
        blocks: list[nn.Module] = [
            nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU()),
            nn.Sequential(nn.Dropout(0.3), nn.Linear(16, 16), nn.ReLU()),
        ]
        return Backbone(blocks, shape)


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Method]], type[Method]]:
    """Registers a method for one test."""

    def registered(cls: type[Method]) -> type[Method]:
        monkeypatch.setattr(cls, "name", "test-method")
        monkeypatch.setitem(registry._registered, "test-method", cls)
        return cls

    return registered


def test_dropout_and_batch_norm_are_not_disturbed(own: Any, tmp_path: Path) -> None:
    class Plain(Classifier):
        """Fine-tuning."""

    alone, watched = alone_and_watched(tmp_path, own(Plain), OPTIONS | {"network": Noisy()})
    assert watched.deterministic(tmp_path / "b") == alone.deterministic(tmp_path / "a")


def test_a_method_that_draws_to_predict_learns_the_same(own: Any, tmp_path: Path) -> None:
    class Draws(Classifier):
        """Uses the global generator to predict, and dropout to learn."""

        def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
            torch.rand(1)
            return super().predict(x, task_id)

    alone, watched = alone_and_watched(tmp_path, own(Draws), OPTIONS | {"network": Noisy()})
    assert watched.deterministic(tmp_path / "b") == alone.deterministic(tmp_path / "a")


def test_a_method_that_learns_from_predicting_is_found_out(own: Any, tmp_path: Path) -> None:
    class Learns(Classifier):
        """Breaks the contract: its answer changes the next one."""

        def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
            logits = super().predict(x, task_id)
            with torch.no_grad():
                self.network.head.bias.add_(logits.clamp(-9, 9).mean(0))
            return logits

    alone, watched = alone_and_watched(tmp_path, own(Learns), OPTIONS)
    assert watched.deterministic(tmp_path / "b") != alone.deterministic(tmp_path / "a")


def test_a_method_that_cannot_predict_meanwhile_is_no_error(own: Any, tmp_path: Path) -> None:
    class Waits(Classifier):
        """Knows its prototypes only after the task."""

        ready = 0

        def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
            if self.tasks_seen > self.ready:
                raise LookupError("no prototypes yet")
            return super().predict(x, task_id)

        def remember(self, task: Any, log: Any) -> None:
            super().remember(task, log)
            self.ready = self.tasks_seen

    alone, watched = alone_and_watched(tmp_path, own(Waits), OPTIONS)
    assert watched.record["outcome"] == "finished"
    assert watched.deterministic(tmp_path / "b") == alone.deterministic(tmp_path / "a")
    assert watched.reports[0].curves.problem == "iteration 10: LookupError: no prototypes yet"


def test_logits_that_are_no_numbers_for_a_moment_are_no_divergence(
    own: Any, tmp_path: Path
) -> None:
    class Flickers(Classifier):
        """Has no numbers between its tenth and its fifteenth step."""

        steps = 0

        def after_step(self, batch: Batch) -> None:
            self.steps += 1
            with torch.no_grad():
                if self.steps == 10:
                    self.kept = self.network.head.bias.clone()
                    self.network.head.bias.fill_(torch.nan)

        def losses(self, batch: Batch) -> dict[str, Tensor]:
            if self.steps == 10:
                with torch.no_grad():
                    self.network.head.bias.copy_(self.kept)
                del self.kept
            return super().losses(batch)

    alone, watched = alone_and_watched(tmp_path, own(Flickers), OPTIONS)
    assert watched.record["outcome"] == "finished", watched.record["cause"]
    assert watched.deterministic(tmp_path / "b") == alone.deterministic(tmp_path / "a")
    values = [value for _, value in watched.reports[0].curves.series["average_accuracy"]]
    assert [value == value for value in values] == [False, True, True]


def test_the_time_of_watching_and_keeping_is_told_apart(own: Any, tmp_path: Path) -> None:
    class Slow(Classifier):
        """Takes its time to predict."""

        def predict(self, x: Tensor, task_id: int | None = None) -> Tensor:
            torch.arange(3_000_000).sin().sum()
            return super().predict(x, task_id)

    record = alone_and_watched(tmp_path, own(Slow), OPTIONS)[1].record
    spent = record["seconds_by_phase"]
    assert spent["watch"] > spent["fit"] > 0
    assert spent["keep"] > 0
    assert record["samples_per_second"] == pytest.approx(5 * 25 * 16 / spent["fit"])
    assert record["seconds"] < spent["watch"] + spent["fit"] + spent["evaluate"] + 1


def test_rows_of_the_pooled_measures_go_with_the_accuracy_matrix(tmp_path: Path) -> None:
    run = Run(tmp_path, method_class("naive"), OPTIONS, Scenario.DOMAIN_INCREMENTAL)
    for name in ("union_accuracy", "macro_f1"):
        rows = run.record[f"{name}_rows"]
        assert len(rows) == 6
        assert rows[0] != rows[0], "before any task"
        assert [report.measures[name] for report in run.reports] == rows[1:]
        assert run.record[name] == rows[-1]
    sizes = torch.tensor([len(run.run.stream.test(task)) for task in range(5)])
    weighted = (torch.tensor(run.record["accuracy"][-1]).double() * sizes).sum() / sizes.sum()
    assert run.record["union_accuracy"] == pytest.approx(float(weighted), abs=1e-6)
    confusion = run.reports[-1].confusion
    assert confusion is not None
    assert sum(map(sum, confusion)) == int(sizes.sum())
    assert all(report.confusion is None for report in run.reports[:-1])


def test_watching_and_keeping_are_no_part_of_the_identity(
    plan: Callable[[str], Plan],
) -> None:
    text = "dataset: split-digits\nmethod: naive\n"
    bare = plan(text)
    other = plan(text + "watch: {every: 10, images: 5}\nkeep: {model: true, checkpoints: all}\n")
    assert other.space.watch == Watch(every=10, images=5)
    assert other.space.keep == Keep(model=True, checkpoints="all")
    assert [trial.id for trial in other.trials] == [trial.id for trial in bare.trials]
    assert other.trials[0].config.canonical == bare.trials[0].config.canonical


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("watch: {evry: 10}", "watch.evry: unknown key; did you mean 'every'?"),
        ("watch: {every: 0}", "watch.every: should be greater than 0, not 0"),
        ("watch: {images: all}", "watch.images: should be a whole number, not 'all'"),
        ("watch: 100", "watch: should be a mapping, not 100"),
        ("keep: {checkpoints: lst}", "keep.checkpoints: cannot be 'lst'; did you mean 'last'?"),
        ("keep: {model: yes please}", "keep.model: should be true or false, not 'yes please'"),
        ("wach: {every: 1}", "wach: unknown key; did you mean 'watch'?"),
    ],
)
def test_mistakes_are_named(line: str, message: str, plan: Callable[[str], Plan]) -> None:
    with pytest.raises(Exception, match=r"space\.yaml:3: ") as caught:
        plan(f"dataset: split-digits\nmethod: naive\n{line}\n")
    assert message in str(caught.value)
