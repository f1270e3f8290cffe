"""``cluster.yaml`` for real, without AWS: ray up, submit, job submit and down over three machines.

The machines are namespaces of this one (``_hosts.py``): a laptop, a head and a worker, the latter
two with an sshd on the loopback of a bridge that nothing else is on. The cluster's configuration is
``cluster.yaml`` with the provider ``local`` and these two machines in place of AWS; its commands
run as they are. What the image, the package manager and the object storage are there, stand-ins
are here: installed packages are those of this environment, PostgreSQL is this machine's, S3 is
moto's server. In the middle of the sweep the worker is lost, as a spot machine is.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _hosts
import yaml
from _common import progress
from _hosts import GATEWAY, ROOT, Host, inside, missing, wait_for

_HEAD, _WORKER = "10.77.0.1", "10.77.0.2"
_S3 = f"http://{GATEWAY}:9000"
_BUCKET, _RESULTS = "engram", "s3://engram/results"
_CLOUD = {
    "AWS_ENDPOINT_URL": _S3,
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "word",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
_SPACE: dict[str, Any] = {
    "name": "spot",
    "dataset": "split-digits",
    "network": {"name": "mlp", "widths": [200, 200]},
    "budget": {"iterations": 200, "batch_size": 32},
    "method": ["naive", {"replay": {"buffer_size": 100}}],
    "seed": "0..5",
}
_TRIALS = 12
_LONG = _SPACE | {"name": "long", "method": "naive", "seed": "100..199"}
_FOLDER = Path("/mnt/cluster")
_CONFIG, _FILE, _LONG_FILE = (_FOLDER / name for name in ("cluster.yaml", "spot.yaml", "long.yaml"))

#: What MLflow holds, asked on the head.
_RUNS = """
import mlflow
runs = mlflow.search_runs(experiment_names=['spot'])
trials = runs[runs['tags.engram.trial'].notna()]
print('RUNS', len(trials), trials['tags.engram.trial'].nunique(), set(trials['status']))
"""


class Steps:
    """What was done, how long it took, and what was seen; the table at the end."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, list[str]]] = []
        self.failed = False

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[Callable[[str, object], None]]:
        """Time a step; what it gives notes a check that has to be true."""
        seen: list[str] = []

        def check(what: str, true: object) -> None:
            seen.append(what if true else f"NOT {what}")
            self.failed |= not true

        start = time.monotonic()
        try:
            yield check
        except (subprocess.SubprocessError, TimeoutError) as error:
            check(f"done: {error}", False)
            raise
        finally:
            self.rows.append((name, time.monotonic() - start, seen))
            progress(f"{name}: {self.rows[-1][1]:.0f} s: {'; '.join(seen)}")

    def print(self) -> None:
        """Print the table."""
        width = max(len(name) for name, *_ in self.rows)
        print(f"\n{'step':<{width}}  seconds  checked")
        for name, seconds, seen in self.rows:
            print(f"{name:<{width}}  {seconds:7.1f}  {'; '.join(seen)}")


def derived() -> dict[str, Any]:
    """Return ``cluster.yaml`` for the two machines here."""
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    for key in ("available_node_types", "head_node_type", "max_workers"):  # not for local machines
        del config[key]
    config["provider"] = {"type": "local", "head_ip": _HEAD, "worker_ips": [_WORKER]}
    config["auth"] = {"ssh_user": "root", "ssh_private_key": "/mnt/key"}
    config["setup_commands"] = [
        c.replace("s3://CHANGE-ME", f"s3://{_BUCKET}").replace("prepare mnist", "prepare digits")
        for c in config["setup_commands"]
    ]
    exports = "".join(f"export {k}={v}\n" for k, v in _CLOUD.items())
    config["setup_commands"].insert(1, f"cat >> ~/.engram-env <<'END'\n{exports}END\n")
    return dict(config)


def run(host: Host, *words: str, seconds: float = 300, check: bool = True) -> str:
    """Run a command on a machine and return what it said; kept for whoever has to look."""
    with (_FOLDER / "log").open("a") as log:
        print("$", *words, file=log, flush=True)
        answer = subprocess.run(
            host.command(*words),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=seconds,
            check=False,
        )
        print(answer.stdout, file=log, flush=True)
    if check and answer.returncode:
        progress(answer.stdout[-3000:])
        answer.check_returncode()
    return answer.stdout


def answers(host: Host, *words: str) -> bool:
    """Whether a command ends well on a machine."""
    return (
        subprocess.run(host.command(*words), stdin=subprocess.DEVNULL, check=False).returncode == 0
    )


def ray(*words: str) -> list[str]:
    """Return a command of the launcher, as typed on the laptop.

    The second version of Ray's autoscaler, its default, does not know the provider ``local``.
    """
    version = "RAY_UP_enable_autoscaler_v2=0"
    return ["env", version, sys.executable, "-m", "ray.scripts.scripts", *words]


def records() -> list[dict[str, Any]]:
    """Read what the results store on S3 holds."""
    from orchestrator.results import ResultsStore

    return list(ResultsStore(_RESULTS).records())


def stored() -> int:
    """Count the records without reading them."""
    import boto3

    answer = boto3.client("s3").list_objects_v2(Bucket=_BUCKET, Prefix="results/trials/")
    return sum(item["Key"].endswith(".arrow") for item in answer.get("Contents", []))


def under_way(worker: Host) -> bool:
    """Whether the sweep has results of the worker, and runs something on it."""
    return stored() >= 3 and bool(
        worker.name in {record["host"] for record in records()}
        and worker.processes("ray::ContinualTrainable")
    )


def columns(found: list[dict[str, Any]]) -> dict[str, str]:
    """Return the deterministic columns of each record, as text."""
    from orchestrator.results import DETERMINISTIC

    return {r["id"]: repr([(name, r[name]) for name in DETERMINISTIC]) for r in found}


def at_home(laptop: Host) -> list[dict[str, Any]]:
    """Run the same search space on the laptop alone."""
    from orchestrator.results import ResultsStore

    engram = (sys.executable, str(ROOT / "orchestrator" / "cli.py"))
    folders = ("--results", str(_FOLDER / "home"), "--data", str(_FOLDER / "data"))
    run(laptop, *engram, "run", str(_FILE), *folders, "--no-mlflow")
    return list(ResultsStore(_FOLDER / "home").records())


def sweep(steps: Steps, laptop: Host, head: Host, worker: Host) -> None:
    """Go through a cluster's life."""
    config = str(_CONFIG)
    with steps.step("ray up") as check:
        run(laptop, *ray("get-auth-token", "--generate"))
        run(laptop, *ray("up", "-y", config))
        alive = "import ray; ray.init(logging_level=40); print('NODES', len(ray.nodes()))"
        ask = ray("exec", config, f'python -c "{alive}"')
        wait_for("Ray on the worker", lambda: worker.processes("raylet/raylet"), 120)
        wait_for("a worker in the cluster", lambda: "NODES 2" in run(laptop, *ask), 120)
        check("head and worker joined, with a token", True)
        public = run(head, "ss", "-Hltn")
        ports = {p: re.findall(rf"\S+:{p}\b", public) for p in (5000, 8265)}
        check(
            "MLflow and dashboard on 127.0.0.1",
            all(a == [f"127.0.0.1:{p}"] for p, a in ports.items()),
        )
    with steps.step("ray up --no-restart, again") as check:
        before = [head.processes(word) for word in ("raylet", "mlflow", "postgres")]
        bashrc = (head.folder / "home" / ".bashrc").read_text()
        run(laptop, *ray("up", "-y", "--no-restart", config))
        after = [head.processes(word) for word in ("raylet", "mlflow", "postgres")]
        check("same processes", all(before) and before == after)
        check("same shell", bashrc == (head.folder / "home" / ".bashrc").read_text())
    with steps.step("ray submit … run, worker lost") as check:
        run(laptop, *ray("rsync-up", config, str(_FILE), "~/spot.yaml"))
        submit = ray("submit", config, "orchestrator/cli.py", "run", "spot.yaml")
        with (_FOLDER / "submit").open("w") as log:
            going = subprocess.Popen(laptop.command(*submit), stdout=log, stderr=log)
            wait_for("a sweep under way on both", lambda: under_way(worker), 180)
            worker.lose()
            lost_at = stored()
            status = going.wait(timeout=300)
        said = (_FOLDER / "submit").read_text()
        if status:
            progress(said[-3000:])
        check("exit status 0", status == 0)
        check(f"worker lost after {lost_at} of {_TRIALS}", 3 <= lost_at < _TRIALS)
        found = records()
        outcomes = {record["outcome"] for record in found}
        check(
            f"{len(found)} of {_TRIALS} finished", (len(found), outcomes) == (_TRIALS, {"finished"})
        )
        hosts = {record["host"] for record in found}
        check(f"hosts {', '.join(sorted(hosts))}", hosts == {"head", "worker"})
    with steps.step("the same at home") as check:
        check("deterministic columns byte-equal", columns(found) == columns(at_home(laptop)))
    with steps.step("ray job submit, and stop") as check:
        jobs(check, laptop, config)
    with steps.step("ray submit -- with options") as check:
        words = ("orchestrator/cli.py", "--", "leaderboard", "spot", "--format", "md")
        said = run(laptop, *ray("submit", config, *words))
        check("leaderboard from the bucket", said.count("| replay ") == 1)
    with steps.step("MLflow on PostgreSQL") as check:
        (_FOLDER / "runs.py").write_text(_RUNS)
        said = run(laptop, *ray("submit", config, str(_FOLDER / "runs.py")))
        seen = re.findall(r"RUNS (.*)", said)
        check(f"{_TRIALS} runs, none doubled", seen == [f"{_TRIALS} {_TRIALS} {{'FINISHED'}}"])
        tables = run(
            head, "sh", "-c", ". ~/.bashrc; psql -At mlflow -c 'select count(*) from runs'"
        )
        check("in the database", int(tables) >= _TRIALS)
    with steps.step("ray down") as check:
        run(laptop, *ray("down", "-y", config))
        left = [
            p for word in ("raylet", "gcs_server", "dashboard.py") for p in head.processes(word)
        ]
        check("no Ray left on the head", not left)


def jobs(check: Callable[[str, object], None], laptop: Host, config: str) -> None:
    """Hand the sweep over as a job, and then a long one, which is stopped."""
    quiet = subprocess.DEVNULL
    forwarding = laptop.command(*ray("dashboard", config))
    tunnel = subprocess.Popen(forwarding, stdout=quiet, stderr=quiet)
    address = "http://127.0.0.1:8265"

    def job(what: str, *words: str) -> str:
        settings = ("RAY_AUTH_MODE=token", f"RAY_API_SERVER_ADDRESS={address}")
        return run(laptop, "env", *settings, *ray("job", what, *words))

    ask = ("curl", "-so/dev/null", f"{address}/api/version")
    wait_for("the forwarded dashboard", lambda: answers(laptop, *ask), 90)
    before = stored()
    said = job("submit", "--", "engram", "run", "spot.yaml")
    check("nothing runs twice", "succeeded" in said and stored() == before)
    run(laptop, *ray("rsync-up", config, str(_LONG_FILE), "~/long.yaml"))
    job("submit", "--no-wait", "--submission-id", "long-1", "--", "engram", "run", "long.yaml")
    wait_for("a record of the long sweep", lambda: stored() > before, 120)
    job("stop", "long-1")
    check("stopped as by Ctrl-C", "engram: interrupted" in job("logs", "long-1"))
    tunnel.terminate()


def main() -> int:
    why = missing()
    if why:
        print(f"skipped: {why}")
        return 0
    inside()
    _hosts.prepare()
    os.environ.update(_CLOUD)
    import boto3
    from moto.server import ThreadedMotoServer

    _FOLDER.mkdir()
    _CONFIG.write_text(yaml.safe_dump(derived(), sort_keys=False))
    _FILE.write_text(yaml.safe_dump(_SPACE))
    _LONG_FILE.write_text(yaml.safe_dump(_LONG))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would tell of each request
    server = ThreadedMotoServer(ip_address=GATEWAY, port=9000, verbose=False)
    server.start()
    boto3.client("s3").create_bucket(Bucket=_BUCKET)
    laptop = Host("laptop", "10.77.0.3", sshd=False)
    head, worker = Host("head", _HEAD), Host("worker", _WORKER)
    steps = Steps()
    with contextlib.suppress(subprocess.SubprocessError, TimeoutError):  # the table says which
        sweep(steps, laptop, head, worker)
    if steps.failed:
        logs = ("home/mlflow.log", "tmp/ray/session_2*/logs/monitor.*")
        for path in (_FOLDER / "log", *(p for log in logs for p in head.folder.glob(log))):
            progress(f"{path}:\n{path.read_text()[-2000:]}")
    steps.print()
    return int(steps.failed)


if __name__ == "__main__":
    sys.exit(main())
