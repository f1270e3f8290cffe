"""What makes two trials the same: configuration, data, code and numerical environment."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from orchestrator.errors import UserError


@dataclass(frozen=True)
class Environment:
    """Everything besides configuration, data and code that can move a digit of a result.

    Parameters
    ----------
    torch : str
        Version of the PyTorch build.
    device : str
        ``cpu`` or ``cuda``.
    precision : str
        Floating-point format that training uses.
    threads : int
        PyTorch threads of a trial.
    """

    torch: str
    device: str
    precision: str
    threads: int

    @cached_property
    def text(self) -> str:
        """All of it as canonical JSON."""
        return canonical_json(asdict(self))

    @classmethod
    def here(cls, cpus: float = 1, gpus: float = 0) -> Environment:
        """Return the environment of a trial with these resources, by the build installed here."""
        import torch

        device = "cuda" if gpus else "cpu"
        if gpus and torch.version.cuda is None and torch.version.hip is None:
            raise UserError(
                f"{gpus:g} asks for a GPU, but this PyTorch build ({torch.__version__}) is for "
                "CPUs; set gpus: 0 or install a CUDA build"
            )
        return cls(torch.__version__, device, "float32", max(1, int(cpus)))


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def canonical_json(value: Any) -> str:
    """Return the one JSON text that equal values have."""
    return _encode(value)


def digest(*parts: str) -> str:
    """Return a hash of some texts, 64 hex digits."""
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()


def trial_id(config: dict[str, Any] | str, data: str, code: str, environment: Environment) -> str:
    """Return the identity of a trial: 16 hex digits over everything that can change its result.

    Parameters
    ----------
    config : dict or str
        Canonical configuration: stream, method, options, seed; or its canonical JSON.
    data : str
        Fingerprint of the data.
    code : str
        :func:`~orchestrator.trial_code.trial_code` of the method.
    environment : Environment
    """
    text = config if isinstance(config, str) else canonical_json(config)
    return digest(text, data, code, environment.text)[:16]
