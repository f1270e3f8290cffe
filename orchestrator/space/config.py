"""What a search space says besides its axes: of itself, and of what a trial gets and leaves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, Field, NonNegativeFloat, PositiveInt, field_validator

from methods.core.config import Config
from orchestrator.audit.config import Audit
from orchestrator.checkpoints import Keep
from orchestrator.errors import shown
from orchestrator.watch import Watch

#: The name of a sweep.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Resources(Config):
    """What one trial gets."""

    cpus: PositiveInt = 1
    """CPU cores, which is also the number of PyTorch threads."""
    gpus: NonNegativeFloat = 0.0
    """GPUs; a fraction lets trials share one."""


class Header(Config):
    """What a search space says of itself."""

    name: str = Field("", max_length=100)
    """Name of the sweep: letters, digits, dots, hyphens; the file's name by default."""
    description: str = ""
    """One or two sentences for lists and reports."""
    paper: str = ""
    """The published experiment that it repeats."""
    published: str | dict[str, Any] = ""
    """Figures that the paper reports: text, or a mapping of whatever is compared."""

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(
                "should consist of letters, digits, dots, hyphens and underscores, and begin with "
                f"a letter or digit; {shown(name)} does not"
            )
        return name


#: Keys that hold one mapping and span no axis.
MAPPINGS: Mapping[str, type[BaseModel]] = MappingProxyType(
    {"resources": Resources, "watch": Watch, "keep": Keep, "audit": Audit}
)
