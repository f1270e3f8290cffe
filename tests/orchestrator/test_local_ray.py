"""Ray on one machine: what happens where it does not start."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from orchestrator.errors import UserError
from orchestrator.local_ray import start_local_ray


def test_that_ray_does_not_start_is_told_in_one_line(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("no folder")
    with pytest.raises(UserError, match=r"^Ray did not start on this machine \(.+\); ") as caught:
        start_local_ray(in_the_way, log_to_driver=False)
    assert "\n" not in str(caught.value)
    assert not ray.is_initialized()
