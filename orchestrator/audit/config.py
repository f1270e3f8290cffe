"""Options of the replay audit."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from methods.core.config import Config


class Audit(Config):
    """How closely it is looked at what a generator replays; no result depends on it."""

    enabled: bool = True
    """Whether methods with a generator are audited after each task; nothing else is."""
    draws: Annotated[int, Field(ge=100)] = 1000
    """Replayed items that are looked at after each task."""
    judge_iterations: PositiveInt = 500
    """Steps of 128 real images that the judge is trained for."""
