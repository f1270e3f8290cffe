"""Finds a sweep in MLflow: its experiment, its one parent run, the runs of its trials."""

from __future__ import annotations

import getpass
import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.tracking.client import artifact_location, search

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Tags by which Engram finds its runs again.
TRIAL_TAG, SWEEP_TAG, PARENT_TAG = "engram.trial", "engram.sweep", "mlflow.parentRunId"
#: What a run says of its trial.
OUTCOME_TAG, CAUSE_TAG = "engram.outcome", "engram.cause"
#: MLflow's status of a run by the outcome of its trial. Any other means that it was not completed.
STATUS = {"finished": "FINISHED", "diverged": "FAILED", "error": "FAILED"}


@dataclass(frozen=True)
class FoundRun:
    """What is of interest of a trial's run.

    Attributes
    ----------
    id : str
    status : str
        MLflow's.
    outcome, cause : str
        Those of the trial, as far as the run says.
    """

    id: str
    status: str
    outcome: str
    cause: str

    @classmethod
    def of(cls, run: Any) -> FoundRun:
        """Take them from a run of MLflow's."""
        tags = run.data.tags
        said = tags.get(OUTCOME_TAG, ""), tags.get(CAUSE_TAG, "")
        return cls(run.info.run_id, run.info.status, *said)

    @property
    def whole(self) -> bool:
        """Whether the run was completed."""
        return self.status in STATUS.values()


def find_experiment(client: MlflowClient, name: str, uri: str) -> str:
    """Return the id of an experiment, made or restored if need be."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        kind = {"mlflow.experimentKind": "custom_model_development"}
        made = client.create_experiment(name, artifact_location=artifact_location(uri), tags=kind)
        return str(made)
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def find_parent(
    client: MlflowClient, experiment: str, sweep: str, key: str, commit: str
) -> tuple[str, str]:
    """Return id and status of the parent run of a sweep, made if it is not there.

    Parameters
    ----------
    experiment : str
        Id of the experiment.
    sweep : str
        Name of the sweep.
    key : str
        What tells it from other sweeps of that name.
    commit : str
        Git commit of the working tree, or empty.
    """
    found = list(search(client, experiment, _with_tag(SWEEP_TAG, key)))
    if not found:
        tags = {SWEEP_TAG: key, **origin(commit)}
        found = [client.create_run(experiment, run_name=f"sweep {sweep}", tags=tags)]
    *twins, kept = found
    for twin in twins:  # made by two processes at the same moment
        of_twin = _with_tag(PARENT_TAG, twin.info.run_id)
        for child in list(search(client, experiment, of_twin)):
            client.set_tag(child.info.run_id, PARENT_TAG, kept.info.run_id)
        client.delete_run(twin.info.run_id)
    return kept.info.run_id, kept.info.status


def find_children(client: MlflowClient, experiment: str, parent: str) -> dict[str, list[FoundRun]]:
    """Return the runs below a parent, by the ids of their trials, the newest first."""
    found: defaultdict[str, list[FoundRun]] = defaultdict(list)
    for run in search(client, experiment, _with_tag(PARENT_TAG, parent)):
        if TRIAL_TAG in run.data.tags:
            found[run.data.tags[TRIAL_TAG]].append(FoundRun.of(run))
    return dict(found)


def origin(commit: str) -> dict[str, str]:
    """Return the tags that say where a run comes from."""
    tags = {"mlflow.source.name": "engram run", "mlflow.source.type": "LOCAL"}
    try:
        tags["mlflow.user"] = getpass.getuser()
    except (KeyError, OSError):  # a container without a user database
        tags["mlflow.user"] = str(os.getuid())
    return tags | ({"mlflow.source.git.commit": commit} if commit else {})


def _with_tag(tag: str, value: str) -> str:
    return f"tags.`{tag}` = '{value}'"
