"""Talking to MLflow: where it is, and how to write to it in few requests that may be repeated."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from orchestrator.credentials import without_credentials

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Metrics, name and value, at a step: tasks learned, or iterations for curves.
StepMetrics = tuple[int, Mapping[str, float]]
#: What MLflow takes in one batch.
_MOST_METRICS, _MOST_PARAMETERS = 900, 100
#: Characters of an error that are told.
_LONGEST_REASON = 300


def tracking_uri() -> str:
    """Return ``MLFLOW_TRACKING_URI``, or a database in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"


def connect(uri: str) -> MlflowClient:
    """Return a client of a tracking server or database, which is made if it is not there."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # It would print an address, with the password if it holds one, for each run that ends.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # A request that is repeated unseen could make a run twice; who asks knows what to do.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    from mlflow import MlflowClient

    for chatty in ("alembic", "mlflow"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def artifact_location(uri: str) -> str | None:
    """Keep artifacts beside a local database; a server knows its own place."""
    if not uri.startswith("sqlite:///"):
        return None
    return (Path(uri.removeprefix("sqlite:///")).resolve().parent / "mlartifacts").as_uri()


def search(client: MlflowClient, experiment: str, condition: str) -> Iterator[Any]:
    """Yield all runs of an experiment that meet a condition, the newest first."""
    token = None
    while True:
        page = client.search_runs([experiment], condition, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def write_batches(
    client: MlflowClient,
    run: str,
    at: int,
    metrics: Sequence[StepMetrics] = (),
    parameters: Mapping[str, str] = MappingProxyType({}),
    tags: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Send everything in as few batches as MLflow's limits allow: one, but for long streams.

    Parameters
    ----------
    at : int
        Time of the metrics, in ms since 1970. MLflow keeps a metric once that comes again with the
        same time, so that a request of which nobody knows whether it arrived can be repeated.
    """
    from mlflow.entities import Metric, Param, RunTag

    entries = [Metric(k, v, at, step) for step, row in metrics for k, v in row.items()]
    params = [Param(key, value) for key, value in parameters.items()]
    run_tags = [RunTag(key, value) for key, value in tags.items()]
    while entries or params or run_tags:
        client.log_batch(run, entries[:_MOST_METRICS], params[:_MOST_PARAMETERS], run_tags)
        entries, params, run_tags = entries[_MOST_METRICS:], params[_MOST_PARAMETERS:], []


def write_files(
    client: MlflowClient, run: str, files: Mapping[str, str | bytes], folder: str | None = None
) -> None:
    """Write artifacts, file name and content, to a folder of a run."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in files.items():
            raw = content.encode() if isinstance(content, str) else content
            Path(scratch, name).write_bytes(raw)
        if files:
            client.log_artifacts(run, scratch, folder)


def shown_uri(uri: str) -> str:
    """Return where MLflow is, as a message may show it."""
    return without_credentials(uri)


def is_refusal(error: BaseException) -> bool:
    """Whether MLflow was there and did not take what it was given."""
    from mlflow.exceptions import MlflowException

    busy = 429
    if not isinstance(error, MlflowException):
        return False
    status: int = error.get_http_status_code()  # type: ignore[no-untyped-call]
    return 400 <= status < 500 and status != busy


def reason(error: BaseException) -> str:
    """Say in a few words what went wrong: what the system said, if the network failed."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        if isinstance(cause, (ConnectionError, TimeoutError)) and str(cause):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    lines = str(error).splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return without_credentials(text)[:_LONGEST_REASON]
