"""The page of a large sweep: what it weighs, and what it takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from orchestrator.leaderboard import pool, to_html

Make = Callable[..., dict[str, Any]]


@pytest.mark.alone
def test_a_page_of_a_large_sweep_is_small_and_quick(make_record: Make) -> None:
    records = [
        make_record(
            "replay",
            seed,
            final=[size / 400 + seed / 100] * 5,
            settings=f"buffer_size={size}, freeze_depth={frozen}",
            options={"buffer_size": size, "freeze_depth": frozen},
            bytes_kept=1000 + size,
        )
        for size in range(1, 51)
        for frozen in range(4)
        for seed in range(5)
    ]
    frame = pd.DataFrame(records)
    to_html(pool(frame.head()))  # what is loaded once is not counted
    start = time.process_time()
    pooled = pool(frame)
    text = to_html(pooled)
    spent = time.process_time() - start
    assert len(pooled.table) == 200
    assert len(text.encode()) < 2_000_000
    assert spent < 2, "half a second on a free core"
