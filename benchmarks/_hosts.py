"""Machines made of Linux namespaces: each has its own network, processes, folders, home and sshd.

Nothing in them reaches what is outside: they are on a bridge of their own in a network namespace of
their own, their ``/tmp``, ``/run`` and home are theirs, and all their processes end with
:func:`inside`.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
#: Where the orchestrating process stands on the bridge.
GATEWAY = "10.77.0.254"
_HOME = Path(pwd.getpwuid(os.getuid()).pw_dir)
_PRIVATE = (Path("/tmp"), Path("/run"), _HOME)
_BASE = Path("/mnt")
_TOOLS = ("unshare", "nsenter", "ip", "mount", "sshd", "ssh", "ssh-keygen", "rsync", "curl")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_POSTGRES = sorted(glob.glob("/usr/lib/postgresql/*/bin"))

#: Stands for sudo of a machine whose user is root already.
_SUDO = """#!/bin/sh
if [ "$1" = -u ]; then user=$2; shift 2; exec runuser -u "$user" -- "$@"; fi
exec env "$@"
"""
#: Stands for apt-get, without a network: starts the PostgreSQL that is there, as Debian's would.
_APT_GET = """#!/bin/sh -e
case "$*" in *"install -y postgresql") ;; *) exit 0;; esac
mkdir -p /run/postgresql /run/pg
chown postgres /run/postgresql /run/pg
cd /run/pg
runuser -u postgres -- initdb -D /run/pg/data --auth=peer > /dev/null
runuser -u postgres -- pg_ctl -D /run/pg/data -l /run/pg/log -w start \\
    -o "-c listen_addresses='' -c unix_socket_directories=/run/postgresql" > /dev/null
touch /run/pg/postgresql
"""
_DPKG = """#!/bin/sh
test -e "/run/pg/$2"
"""
#: Makes a virtual environment that has what is installed here, as an image of a machine would.
_PYTHON3 = """#!/bin/sh -e
test "$1 $2" = "-m venv" || exec {python} "$@"
{python} "$@" --without-pip
echo '{packages}' | tr : '\\n' > "$(echo "$3"/lib/python3*/site-packages)/image.pth"
for name in pip ray mlflow; do
    module=$name; test $name != ray || module=ray.scripts.scripts
    printf '#!/bin/sh\\nexec %s/bin/python -m %s "$@"\\n' "$3" $module > "$3/bin/$name"
    chmod +x "$3/bin/$name"
done
"""
_BASHRC = f"""
export PATH=/mnt/stubs:{":".join(_POSTGRES)}:{_PATH}
export PIP_NO_INDEX=1 PIP_NO_BUILD_ISOLATION=0 PIP_DISABLE_PIP_VERSION_CHECK=1
export PIP_ROOT_USER_ACTION=ignore
"""


def missing() -> str | None:
    """Say what this machine lacks for machines of its own; None if nothing."""
    if not sys.platform.startswith("linux"):
        return "needs Linux's namespaces"
    if os.getuid() != 0:
        return "needs root, to make namespaces and start sshd in them"
    os.environ["PATH"] += f":{_PATH}"
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            return f"needs {tool}"
    if any(_BASE in Path(path).parents for path in (ROOT, sys.prefix, sys.base_prefix)):
        return f"needs {_BASE} for itself"
    if not _POSTGRES:
        return "needs PostgreSQL in /usr/lib/postgresql"
    for module in ("aiohttp_cors", "psycopg2", "boto3", "moto", "hatchling", "editables"):
        if importlib.util.find_spec(module) is None:
            return f"needs {module}: pip install -e '.[cluster,test]' editables"
    tried = "ip link add br0 type bridge && ip link add v0 type veth && mount -t tmpfs t /mnt"
    answer = subprocess.run(
        [*_unshare("--net"), "sh", "-c", tried], capture_output=True, text=True, check=False
    )
    return f"cannot make namespaces: {answer.stderr.strip()}" if answer.returncode else None


def inside() -> bool:
    """Run this program again in a namespace that ends with it; True in the inner process."""
    if os.environ.get("_ENGRAM_INSIDE"):
        return True
    command = [*_unshare("--net"), sys.executable, *sys.argv]
    process = subprocess.Popen(command, env=os.environ | {"_ENGRAM_INSIDE": "1"})
    try:
        sys.exit(process.wait())
    except KeyboardInterrupt:
        process.kill()  # and with it, all that is in it
        sys.exit(130)


def prepare() -> None:
    """Make the bridge, the key and what all machines see under ``/mnt``."""
    _sh(
        f"mount -t tmpfs engram {_BASE}; ip link set lo up; ip link add br0 type bridge;"
        f"ip addr add {GATEWAY}/24 dev br0; ip link set br0 up;"
        f"mkdir {_BASE}/stubs; ssh-keygen -q -t ed25519 -N '' -f {_BASE}/key"
    )
    packages = [p for p in sys.path if p.endswith("-packages") and Path(p).is_dir()]
    stubs = {
        "sudo": _SUDO,
        "apt-get": _APT_GET,
        "dpkg": _DPKG,
        "python3": _PYTHON3.format(python=sys.executable, packages=":".join(packages)),
    }
    for name, text in stubs.items():
        (_BASE / "stubs" / name).write_text(text)
        (_BASE / "stubs" / name).chmod(0o755)


class Host:
    """A machine on the bridge.

    Parameters
    ----------
    name : str
        Its host name.
    address : str
        On 10.77.0.0/24.
    sshd : bool
        Whether it can be entered by ssh, as root with the key ``/mnt/key``.
    """

    def __init__(self, name: str, address: str, sshd: bool = True) -> None:
        self.name, self.address = name, address
        self.folder = _BASE / name
        for part in ("tmp", "run/sshd", "home/.ssh"):
            (self.folder / part).mkdir(parents=True)
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{address} {name}\n")
        (self.folder / "home" / ".bashrc").write_text(_BASHRC if sshd else "")
        shutil.copy(_BASE / "key.pub", self.folder / "home" / ".ssh" / "authorized_keys")
        shutil.copy(_BASE / "key", self.folder / "sshd_key")
        config = {
            "HostKey": self.folder / "sshd_key",
            "ListenAddress": address,
            "PidFile": "/run/sshd.pid",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
        }
        (self.folder / "sshd_config").write_text("".join(f"{k} {v}\n" for k, v in config.items()))
        daemon = f"{shutil.which('sshd')} -D -e -f {self.folder}/sshd_config"
        lines = [
            "set -e",
            f"hostname {name}",
            *self._private_folders(),
            f"mount --bind {self.folder}/hosts /etc/hosts",
            f"until ip addr show dev eth0 2> /dev/null | grep -q {address}; do sleep 0.05; done",
            f"exec {daemon if sshd else 'sleep infinity'}",
        ]
        self._log = (self.folder / "log").open("w")
        self._outer = subprocess.Popen(
            [*_unshare("--net", "--uts"), "sh", "-c", "\n".join(lines)],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        self.pid = _child_of(self._outer.pid)
        _sh(
            f"ip link add {name} type veth peer name eth0 netns {self.pid};"
            f"ip link set {name} master br0 up; nsenter -t {self.pid} -n sh -c '"
            f"ip link set lo up; ip addr add {address}/24 dev eth0; ip link set eth0 up;"
            f"ip route add default via {GATEWAY}'"
        )

    def _private_folders(self) -> list[str]:
        """Lay folders of its own over those that are private; what we run from stays visible."""
        lines = []
        for private in _PRIVATE:
            own = self.folder / {"/tmp": "tmp", "/run": "run"}.get(str(private), "home")
            for path in sorted({str(ROOT), sys.prefix, sys.base_prefix, *sys.path}):
                if Path(path).is_dir() and private in Path(path).parents:
                    inner = own / Path(path).relative_to(private)
                    lines.append(f"mkdir -p {inner}; mount --rbind {path} {inner}")
            lines.append(f"mount --rbind {own} {private}")
        return lines

    def command(self, *words: str) -> list[str]:
        """Return the command that runs something on this machine, as its user would."""
        environment = {"HOME": str(_HOME), "PATH": _PATH, "USER": "root", "TERM": "dumb"}
        return [
            *("nsenter", "-t", str(self.pid), "-m", "-u", "-n", "-p", f"--wd={ROOT}"),
            *("env", "-i", *(f"{k}={v}" for k, v in environment.items()), *words),
        ]

    def processes(self, word: str) -> list[int]:
        """Return the processes of this machine whose command line has a word."""
        mine = os.stat(f"/proc/{self.pid}/ns/uts").st_ino
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if word in command and os.stat(entry / "ns" / "uts").st_ino == mine:
                    found.append(int(entry.name))
            except OSError:  # it has just ended
                continue
        return sorted(found)

    def lose(self) -> None:
        """End it as a machine on spot ends: its network is gone, and all that ran on it."""
        _sh(f"ip link del {self.name}")
        os.kill(self.pid, signal.SIGKILL)
        self._outer.wait()


def wait_for(what: str, condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds:g} s there was still not {what}")
        time.sleep(0.2)


def _unshare(*more: str) -> list[str]:
    return ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", *more]


def _child_of(pid: int) -> int:
    """Return the process that ``unshare --fork`` has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    wait_for("a process in its namespace", lambda: children.read_text().strip(), 10)
    return int(children.read_text().split()[0])


def _sh(script: str) -> None:
    subprocess.run(["sh", "-ec", script], check=True)
