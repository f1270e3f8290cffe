"""What looks like a credential is not written down, wherever it turns up."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from methods.core import registry
from methods.core.task import Task
from methods.core.training import Diverged
from methods.naive import Naive
from orchestrator.data.stream_config import StreamConfig
from orchestrator.errors import UserError
from orchestrator.failures import read_failure
from orchestrator.identity import Environment
from orchestrator.storage import Storage
from orchestrator.sweep import environment_report, git_commit
from orchestrator.tracking.client import reason, shown_uri
from orchestrator.trial import Trial, TrialConfig
from orchestrator.trial_code import trial_code
from orchestrator.trial_run import TrialRun

SECRETS = ("hunter2", "tok3ntok3n", "wJalrXUtnFEMI")
TEXT = (
    f"https://ann:{SECRETS[0]}@db.example.org/x?token={SECRETS[1]} refused, "
    f"AWS_SECRET_ACCESS_KEY={SECRETS[2]}"
)


def clean(text: str) -> bool:
    return not any(secret in text for secret in SECRETS)


class Raises(Naive):
    """Fail with what a client says whose server refuses."""

    def before_task(self, task: Task) -> None:
        raise ConnectionRefusedError(TEXT)


class Diverges(Naive):
    """Diverge with the same words."""

    def before_task(self, task: Task) -> None:
        raise Diverged(TEXT)


class Nested(Naive):
    """Fail while failing."""

    def before_task(self, task: Task) -> None:
        try:
            raise KeyError(TEXT)
        except KeyError as error:
            raise RuntimeError("again") from error


@pytest.mark.parametrize("cls", [Raises, Diverges, Nested])
def test_what_a_trial_raises_is_recorded_without(
    cls: type[Naive], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cls, "name", "test-method")
    monkeypatch.setitem(registry._registered, "test-method", cls)
    stream = StreamConfig(dataset="split-digits", tasks=2)
    options = cls.Config.model_validate({"budget": {"iterations": 1, "batch_size": 8}})
    config = TrialConfig(stream, "test-method", options, 0)
    trial = Trial("0" * 16, config, stream.fingerprint(tmp_path), trial_code(cls))
    about = {"space": "test", "commit": ""}
    report = TrialRun(
        trial, Environment.here(), tmp_path, about, results=Storage(tmp_path / "results")
    ).step()
    assert report.record is not None
    told = report.record["cause"], report.record["traceback"]
    assert "before_task" in told[1] or cls is Diverges
    assert "db.example.org" in f"{told}"
    assert clean(report.to_json())


def test_why_a_worker_was_lost_is_told_without() -> None:
    traceback = f"Traceback\n  File x\nbotocore.exceptions.ClientError: {TEXT}\n"
    cause = read_failure(traceback).cause
    assert "db.example.org" in cause
    assert clean(cause)


def test_what_a_tracking_server_says_is_told_without() -> None:
    assert shown_uri(f"http://ann:{SECRETS[0]}@mlflow.example.org") == "http://mlflow.example.org"
    told = reason(RuntimeError(f"API request to {TEXT} failed"))
    assert "db.example.org" in told
    assert clean(told)


def test_a_place_of_results_is_shown_without() -> None:
    storage = Storage(f"s3://AKIAQX4TESTTESTTEST7:{SECRETS[2]}@bucket/results")
    for text in (storage.shown, repr(storage), storage.path("trials/x.arrow")):
        assert "bucket/results" in text
        assert clean(text)
        assert "AKIA" not in text
    with pytest.raises(UserError) as error:
        Storage(f"s3://AKIAQX4TESTTESTTEST7:{SECRETS[2]}/more@bucket/results")
    assert clean(str(error.value))
    with pytest.raises(UserError) as error:
        Storage(f"http://ann:{SECRETS[0]}@example.org/results")
    assert clean(str(error.value))


def test_the_environment_s_report_has_no_variables_and_no_addresses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (
        ["git", "init", "--quiet"],
        ["git", "remote", "add", "origin", f"https://ann:{SECRETS[0]}@github.com/me/it.git"],
        [*("git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet")]
        + ["--allow-empty", "--message", SECRETS[1]],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MY_SECRET", SECRETS[1])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://ann:{SECRETS[0]}@mlflow.example.org")
    commit, report = git_commit(), environment_report()
    assert len(commit.rstrip("+")) == 40
    assert commit in report
    assert clean(report)
    assert "MY_SECRET" not in report
    assert all("@" not in package for package in json.loads(report)["packages"])
