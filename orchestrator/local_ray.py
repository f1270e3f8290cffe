"""Ray for one machine: no port that others reach, no folder that others write."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator.errors import UserError

#: Longest name of the folder for temporary files with which Ray's sockets stay below 104
#: characters, where some systems end.
_LONGEST = 16


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder that only this user can enter, with a name short enough for sockets."""
    usual = tempfile.gettempdir()
    where = usual if len(os.fsencode(usual)) <= _LONGEST else "/tmp"  # noqa: S108 - made safely
    with tempfile.TemporaryDirectory(
        prefix="engram-", dir=where, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def start_local_ray(folder: Path, **options: Any) -> None:
    """Start Ray on this machine alone.

    Whoever reaches Ray's ports and knows its token runs code as this user. As it comes, Ray
    listens on all addresses of the machine, keeps its sockets where everybody may write, and lets
    all users read the token.

    Parameters
    ----------
    folder : Path
        From :func:`scratch_folder`: it will hold Ray's sockets.
    **options
        For ``ray.init``.

    Raises
    ------
    UserError
        If it does not start, as where a part of it was killed meanwhile.
    """
    import ray
    from ray._private import ray_constants

    _keep_token_to_ourselves()
    # Ray binds to the address of its node. It replaces 127.0.0.1, if that is given, by one that
    # others reach, unless clusters are turned off, as they are on macOS and Windows.
    clusters = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        ray.init(
            address="local", include_dashboard=False, _temp_dir=os.fspath(folder / "ray"), **options
        )
    except Exception as error:  # Ray raises plain ones
        reason = (str(error) or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(".")
        raise UserError(
            f"Ray did not start on this machine ({reason}); nothing is lost, and the same command "
            "tries again"
        ) from error
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = clusters
    _keep_token_to_ourselves()


def lost_process() -> str:
    """Name a process of the Ray that was started here which is no more; empty where all live.

    Whoever waits for Ray then waits for ever.
    """
    from ray._private import ray_constants, worker

    node = worker._global_node
    needed = {ray_constants.PROCESS_TYPE_RAYLET, ray_constants.PROCESS_TYPE_GCS_SERVER}
    dead: list[tuple[str, Any]] = [] if node is None else node.dead_processes()
    return next((kind for kind, _ in dead if kind in needed), "")


def _keep_token_to_ourselves() -> None:
    """Make Ray's folder before Ray does, and its file, once it is there, unreadable for others."""
    with suppress(OSError, RuntimeError):  # no home, or none of ours: Ray will say so if it matters
        token = Path.home() / ".ray" / "auth_token"
        token.parent.mkdir(mode=0o700, exist_ok=True)
        if token.is_file():
            token.chmod(0o600)
