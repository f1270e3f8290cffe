"""The files that describe clusters, against what reads them: Ray's launcher, AWS, bash."""

from __future__ import annotations

import contextlib
import copy
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.autoscaler.tags import (
    TAG_RAY_LAUNCH_CONFIG,
    TAG_RAY_NODE_KIND,
    TAG_RAY_NODE_NAME,
    TAG_RAY_USER_NODE_TYPE,
)
from typer.main import get_command

from orchestrator.cli import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "cluster"
START = "ray start"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "word"}


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """``cluster.yaml``, read in the folder that it is used in."""
    monkeypatch.chdir(ROOT)
    return dict(yaml.safe_load((ROOT / "cluster.yaml").read_text()))


def workers(config: dict[str, Any]) -> dict[str, Any]:
    kinds = config["available_node_types"].items()
    return {name: kind for name, kind in kinds if name != config["head_node_type"]}


def pod_groups(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def engram_commands() -> Iterator[str]:
    for path in (ROOT / "cluster.yaml", *DOCS.iterdir()):
        code = (line.split("#")[0] for line in path.read_text().splitlines())
        for command in re.findall(
            r"(?:^|[\s:])(engram (?:run|data|sync) [^&|;'\n]*)", "\n".join(code)
        ):
            yield command.strip()


def test_ray_takes_it(config: dict[str, Any]) -> None:
    validate_config(prepare_config(config))


@pytest.mark.parametrize(
    "change",
    [
        {"max_worker": 3},
        {"max_workers": "many"},
        {"setup_commands": "pip install ray"},
        {"auth": {"ssh_key": "id"}},
    ],
)
def test_ray_refuses_a_mistake(config: dict[str, Any], change: dict[str, Any]) -> None:
    with pytest.raises((jsonschema.ValidationError, TypeError)):
        validate_config(prepare_config(config | change))


def test_aws_starts_what_it_describes(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"HOME": str(tmp_path), **CREDENTIALS}.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        ec2, iam = (boto3.client(name, config["provider"]["region"]) for name in ("ec2", "iam"))
        for kind in config["available_node_types"].values():
            profile = kind["node_config"]["IamInstanceProfile"]["Name"]
            with contextlib.suppress(iam.exceptions.EntityAlreadyExistsException):
                iam.create_instance_profile(InstanceProfileName=profile)
        ready = AWSNodeProvider.bootstrap_config(prepare_config(config))
        provider = AWSNodeProvider(ready["provider"], ready["cluster_name"])
        started = {}
        for name, kind in ready["available_node_types"].items():
            labels = {TAG_RAY_NODE_NAME: name, TAG_RAY_USER_NODE_TYPE: name}
            labels |= {TAG_RAY_NODE_KIND: "worker", TAG_RAY_LAUNCH_CONFIG: name}
            (instance,) = provider.create_node(dict(kind["node_config"]), labels, 1).values()
            (found,) = ec2.describe_instances(InstanceIds=[instance.id])["Reservations"]
            started[name] = found["Instances"][0]
        (group,) = started["head"]["SecurityGroups"]
        (rules,) = ec2.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"]
    assert {name: i.get("InstanceLifecycle") for name, i in started.items()} == {
        "head": None,
        "gpu": "spot",
        "cpu": "spot",
    }
    profiles = {name: i["IamInstanceProfile"]["Arn"] for name, i in started.items()}
    assert {name: arn.rpartition("/")[2] for name, arn in profiles.items()} == {
        "head": "engram-head",
        "gpu": "engram-worker",
        "cpu": "engram-worker",
    }
    everybody = [r for r in rules["IpPermissions"] if r["IpRanges"]]
    assert [(r["FromPort"], r["ToPort"]) for r in everybody] == [(22, 22)]


def test_what_it_copies_is_there_and_is_all_that_is_installed(config: dict[str, Any]) -> None:
    mounts = {k: v for k, v in config["file_mounts"].items() if k.startswith("~/engram/")}
    assert all((ROOT / path).exists() for path in mounts.values())
    assert all(remote == f"~/engram/{path}" for remote, path in mounts.items())
    pyproject = (ROOT / "pyproject.toml").read_text()
    packages = re.search(r"packages = \[(.*)\]", pyproject)
    assert packages is not None
    needed = {*re.findall(r'"(\w+)"', packages[1]), "pyproject.toml", "constraints.txt"}
    needed |= {"README.md", "LICENSE"}  # named by pyproject.toml
    assert set(mounts.values()) == needed


def test_the_head_runs_no_trials_and_is_not_on_spot(config: dict[str, Any]) -> None:
    head = config["available_node_types"][config["head_node_type"]]
    assert head["resources"] == {"CPU": 0, "GPU": 0}
    assert head["max_workers"] == 0
    assert "InstanceMarketOptions" not in head["node_config"]


def test_workers_are_on_spot_and_come_and_go(config: dict[str, Any]) -> None:
    kinds = workers(config)
    assert any(kind["resources"].get("GPU") for kind in kinds.values())
    assert any(not kind["resources"].get("GPU") for kind in kinds.values())
    for kind in kinds.values():
        assert kind["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
        assert kind["min_workers"] == 0 < kind["max_workers"] <= config["max_workers"]
    assert config["idle_timeout_minutes"] > 0


def test_nodes_are_ready_before_ray_starts(config: dict[str, Any]) -> None:
    ready = prepare_config(copy.deepcopy(config))
    for kind in ("head", "worker"):
        commands = ready[f"{kind}_setup_commands"]
        steps = [
            "cat > ~/.engram-env",
            "pip install -q -c constraints.txt -e",
            "engram data prepare",
        ]
        places = [next(i for i, c in enumerate(commands) if step in c) for step in steps]
        assert places == sorted(places)
        assert not any(START in command for command in commands)
        starts = [START in command for command in ready[f"{kind}_start_ray_commands"]]
        assert starts == [False] * (len(starts) - 1) + [True]
    tracking = [i for i, c in enumerate(ready["head_start_ray_commands"]) if "mlflow server" in c]
    assert tracking == [0]


def test_every_shell_has_what_engram_reads(config: dict[str, Any], tmp_path: Path) -> None:
    script = f"{config['setup_commands'][0]}\n. ~/.engram-env\nenv"
    for _ in range(2):  # the second time nothing changes
        answer = subprocess.run(
            ["bash", "-ec", script],
            env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
    assert (tmp_path / ".bashrc").read_text().count("engram-env") == 1
    has = dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
    assert has["ENGRAM_RESULTS"] == "s3://CHANGE-ME/results"
    assert has["ENGRAM_DATA"] == str(tmp_path / "engram-data")
    assert has["RAY_ADDRESS"] == "auto"
    assert has["RAY_AUTH_MODE"] == "token"
    assert has["MLFLOW_TRACKING_URI"].startswith("http://127.0.0.1:")
    assert has["PATH"].startswith(str(tmp_path))


def test_nothing_listens_to_everybody(config: dict[str, Any]) -> None:
    text = (ROOT / "cluster.yaml").read_text()
    assert "0.0.0.0" not in text
    start = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in start
    assert re.search(r"mlflow server --host 127\.0\.0\.1", start)
    assert not re.search(r"(?i)password|secret", text.replace("there is no password", ""))


def test_commands_are_bash(config: dict[str, Any]) -> None:
    keys = [key for key in config if key.endswith("commands")]
    commands = [command for key in keys for command in config[key]]
    assert len(commands) > 10
    for command in commands:
        subprocess.run(["bash", "-n"], input=f"({command})", text=True, check=True)


def test_what_has_to_be_changed_is_marked() -> None:
    for path in (ROOT / "cluster.yaml", DOCS / "kuberay.yaml"):
        for line in path.read_text().splitlines():
            if "CHANGE" in line.split("#")[0] or "us-west-2" in line:
                assert "# CHANGE" in line, f"{path.name}: {line}"


@pytest.mark.parametrize("command", sorted(set(engram_commands())))
def test_engram_takes_its_commands(command: str) -> None:
    group = get_command(app)
    context = group.make_context("engram", shlex.split(command.replace('"$@"', "glr-rotated"))[1:])
    while hasattr(group, "resolve_command"):
        words = [*context._protected_args, *context.args]
        name, group, rest = group.resolve_command(context, words)
        context = group.make_context(name, list(rest), parent=context)


def test_commands_of_all_files_are_looked_at() -> None:
    assert {c.split()[1] for c in engram_commands()} == {"run", "data"}


def test_slurm_script_is_bash() -> None:
    subprocess.run(["bash", "-n", str(DOCS / "slurm.sh")], check=True)


def test_kuberay_has_one_image_and_the_pinned_ray() -> None:
    job = yaml.safe_load((DOCS / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    pods = [group["template"]["spec"]["containers"] for group in pod_groups(job)]
    assert all(len(containers) == 1 for containers in pods)
    assert len({container["image"] for (container,) in pods}) == 1
    environments = [{e["name"]: e["value"] for e in container["env"]} for (container,) in pods]
    assert all(e == environments[0] and "ENGRAM_RESULTS" in e for e in environments)
    assert (
        f"ray=={job['spec']['rayClusterSpec']['rayVersion']}"
        in (ROOT / "constraints.txt").read_text().splitlines()
    )
    head, *others = pod_groups(job)
    assert head["rayStartParams"] == {"num-cpus": "0"}
    assert [group["minReplicas"] for group in others] == [0, 0]
    limits = [c["resources"]["limits"].get("nvidia.com/gpu") for (c,) in pods]
    assert limits == [None, 1, None]


def test_the_image_copies_what_the_launcher_copies(config: dict[str, Any]) -> None:
    lines = (DOCS / "Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
    assert copied == {v for k, v in config["file_mounts"].items() if k.startswith("~/engram/")}


def test_machines_of_your_own(config: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "cluster.md").read_text()
    (block,) = re.findall(r"```yml\n(.*?)```", page, re.DOTALL)
    for key in ("available_node_types", "head_node_type", "max_workers"):
        assert f"`{key}`" in page
        del config[key]
    ready = prepare_config(config | yaml.safe_load(block))
    validate_config(ready)
    assert ready["max_workers"] == 2
