from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from PIL import Image

from orchestrator.leaderboard import pool
from orchestrator.leaderboard.rows import Row, make_rows
from orchestrator.leaderboard.samples import MOST_BYTES, make_strips
from orchestrator.samples import Samples
from orchestrator.storage import Storage

Make = Callable[..., dict[str, Any]]


def images(n: int = 10, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, 1, 8, 8), generator=rng, dtype=torch.uint8)


@pytest.fixture
def rows(make_record: Make) -> list[Row]:
    """``dgr`` with trials d0, d1, d2 is before ``glr`` with g0, g1, and ``naive``."""
    finals = {"dgr": 0.9, "glr": 0.6, "naive": 0.1}
    records = [
        make_record(method, seed, final=[0.5, final]) | {"id": f"{method[0]}{seed}"}
        for method, final in finals.items()
        for seed in range(3)
    ]
    return make_rows(pool(pd.DataFrame(records)))


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    return Samples(Storage(tmp_path))


def test_the_lowest_seed_with_pictures_is_shown(rows: list[Row], samples: Samples) -> None:
    for trial in ("d2", "d1"):
        for task in (1, 2):
            samples.write(trial, task, "generator", images(seed=task))
    strips = make_strips(rows, samples.storage)
    assert strips.left_out == 0
    (strip,) = strips.by_row.values()
    assert (strip.row.series, strip.seed) == ("dgr", 1)
    assert [(p.task, p.name) for p in strip.pictures] == [(1, "generator"), (2, "generator")]
    for picture in strip.pictures:
        head, _, content = picture.uri.partition(",")
        assert head == "data:image/png;base64"
        path = f"samples/d1/task-0{picture.task}/generator.png"
        assert base64.b64decode(content) == samples.read(path)
        with Image.open(io.BytesIO(base64.b64decode(content))) as opened:
            assert opened.size == (picture.width, picture.height)


def test_the_finished_generator_is_shown_and_not_its_steps(
    rows: list[Row], samples: Samples
) -> None:
    for name in ("generator, step 250", "generator", "generator, step 500", "zebra"):
        samples.write("d0", 1, name, images())
    for step in (50, 100):
        samples.write("d0", 2, f"decoder, step {step}", images())
    (strip,) = make_strips(rows, samples.storage).by_row.values()
    assert [p.name for p in strip.pictures] == ["generator", "decoder step 100"]


def test_where_room_runs_out_earlier_tasks_are_left_out(rows: list[Row], samples: Samples) -> None:
    for trial in ("d0", "g0"):
        for task in (1, 2, 3):
            samples.write(trial, task, "generator", images(seed=task))
    whole = make_strips(rows, samples.storage)
    length = {(s.row.series, p.task): len(p.uri) for s in whole.by_row.values() for p in s.pictures}
    assert len(length) == 6
    room = length["dgr", 3] + length["glr", 3] + length["dgr", 2]
    cut = make_strips(rows, samples.storage, room)
    shown = {s.row.series: [p.task for p in s.pictures] for s in cut.by_row.values()}
    assert shown == {"dgr": [2, 3], "glr": [3]}
    assert cut.left_out == 3
    cut = make_strips(rows, samples.storage, room - 1)
    assert cut.left_out == 4
    nothing = make_strips(rows, samples.storage, 0)
    assert (nothing.by_row, nothing.left_out) == ({}, 6)


def test_files_that_are_no_pictures_are_passed_over(rows: list[Row], samples: Samples) -> None:
    samples.write("d0", 2, "generator", images())
    samples.storage.write("samples/d0/task-01/generator.png", b"<script>alert(1)</script>")
    samples.storage.write("samples/g0/task-01/generator.png", b"")
    strips = make_strips(rows, samples.storage)
    ((row, strip),) = strips.by_row.items()
    assert row == strip.row.drawn.row
    assert [p.task for p in strip.pictures] == [2]


def test_without_pictures_there_are_no_strips(rows: list[Row], samples: Samples) -> None:
    assert make_strips(rows, samples.storage) == ({}, 0)
    assert make_strips(rows, None) == ({}, 0)
    samples.write("another", 1, "generator", images())
    assert make_strips(rows, samples.storage) == ({}, 0)


def test_a_page_has_room_for_some_grids_of_photographs() -> None:
    noise = torch.randint(256, (100, 3, 32, 32), dtype=torch.uint8)
    from orchestrator.pictures import grid_png

    assert 4 * len(grid_png(noise)) * 4 / 3 < MOST_BYTES
