"""Weights that a network starts from: the one place under ``methods/`` that reads files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO
from urllib.error import URLError

import torch
from pydantic import (
    SerializationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from torch import Tensor, nn

from methods.core.config import Config
from methods.core.vision import import_torchvision

#: Names in torchvision's enumerations, such as IMAGENET1K_V1; no path looks like that.
_ENUM_NAME = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: Keys that an error message lists of each kind.
_MOST_KEYS = 3


class MissingWeights(ValueError):
    """Weights are not at hand here, where another machine may have them: a file, or a download."""


class Weights(Config):
    """Weights that are known by their content: a file's, or some that torchvision publishes.

    A file gets its digest when the configuration is made. From then on it is the one with that
    content, wherever it lies: the canonical form has the digest and not the path, and
    :func:`load_features` refuses a file whose content is another.
    """

    file: str | None = None
    """Path of a ``state_dict`` in torchvision's naming; relative to the current folder."""
    sha256: str | None = None
    """Digest of the file's content, 64 hex digits; computed where it is not given."""
    published: str | None = None
    """Name in torchvision's enumeration, such as ``IMAGENET1K_V1``; instead of a file."""

    @model_validator(mode="before")
    @classmethod
    def _with_digest(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        file, digest, published = (values.get(key) for key in ("file", "sha256", "published"))
        if (file is None and digest is None) == (published is None):
            raise ValueError("give a file, as in {file: path/to/file.pt}, or published weights")
        if not isinstance(file, str):
            return values
        path = Path(file).expanduser().absolute()
        try:
            digest = _digest(path) if digest is None else digest
        except OSError as error:
            raise ValueError(
                f"{path} cannot be read ({error.strerror}); give a file of weights, or the name "
                "of torchvision's, such as IMAGENET1K_V1"
            ) from None
        return values | {"file": str(path), "sha256": digest}

    @field_validator("sha256")
    @classmethod
    def _digest_of_64_digits(cls, sha256: str | None) -> str | None:
        if sha256 is not None and not _SHA256.fullmatch(sha256):
            raise ValueError(f"should be 64 hexadecimal digits, in lower case, not {sha256!r}")
        return sha256

    @model_serializer
    def _by_content(self, info: SerializationInfo) -> str | dict[str, str | None]:
        """Leave the path out, unless whoever asks wants to find the file again."""
        if self.published is not None:
            return self.published
        paths = (info.context or {}).get("paths")
        return ({"file": self.file} if paths else {}) | {"sha256": self.sha256}


def by_word(value: Any) -> Any:
    """Let a path stand for ``{file: path}``, a name in capitals for ``{published: NAME}``."""
    if not isinstance(value, str):
        return value
    return {"published" if _ENUM_NAME.fullmatch(value) else "file": value}


def _digest(path: Path) -> str:
    about = path.stat()
    return _digest_of(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=256)
def _digest_of(path: Path, _changed: int, _size: int) -> str:
    """Return the SHA-256 of a file; remembered until the file changes: a grid asks many times."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_features(model: nn.Module, weights: Weights, name: str, without: str) -> None:
    """Load weights into a torchvision model whose classifier has been taken off.

    Parameters
    ----------
    model : nn.Module
        Changed in place.
    weights : Weights
        Published ones are downloaded once for this machine (to ``$TORCH_HOME/hub/checkpoints``).
    name : str
        What torchvision calls the model.
    without : str
        Prefix of the classifier's keys, which are ignored.

    Raises
    ------
    MissingWeights
        If there is no such file, if its content is not that which the configuration was made with,
        or if nothing can be downloaded.
    ValueError
        If it is no file of weights, or if they do not fit the model; says which keys.
    """
    if weights.published is None:
        source, state = weights.file or weights.sha256, _from_file(weights)
    else:
        source = f"{weights.published} of {name}"
        state = _from_torchvision(weights.published, name)
    given = {key: value for key, value in state.items() if not key.startswith(without)}
    wanted = model.state_dict()
    # Files of before PyTorch 0.4.1 have no such counter.
    counters = {key for key in wanted if key.endswith(".num_batches_tracked")}
    common = given.keys() & wanted.keys()
    wrong = {
        "missing": wanted.keys() - given.keys() - counters,
        "unexpected": given.keys() - wanted.keys(),
        "of another shape": {key for key in common if given[key].shape != wanted[key].shape},
    }
    if any(wrong.values()):
        what = "; ".join(f"{kind}: {_listed(keys)}" for kind, keys in wrong.items() if keys)
        raise ValueError(f"weights {source} are not those of torchvision's {name} ({what})")
    model.load_state_dict(given, strict=False)


def _listed(keys: set[str]) -> str:
    more = len(keys) - _MOST_KEYS
    return ", ".join(sorted(keys)[:_MOST_KEYS]) + (f" and {more} more" if more > 0 else "")


def _from_file(weights: Weights) -> dict[str, Tensor]:
    if weights.file is None or weights.sha256 is None:
        raise MissingWeights(f"where the weights with SHA-256 {weights.sha256} lie is not known")
    try:
        with open(weights.file, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != weights.sha256:
                raise MissingWeights(
                    f"{weights.file} has other content than when the experiment was planned "
                    f"(SHA-256 {weights.sha256[:12]}…); plan again, or bring the file back"
                )
            file.seek(0)
            state = _read(file, weights.file)
    except OSError as error:
        raise MissingWeights(
            f"{weights.file} cannot be read ({error.strerror}); every machine that runs trials "
            "needs the file at this path"
        ) from None
    is_state = isinstance(state, Mapping) and all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    )
    if not is_state:
        raise ValueError(
            f"{weights.file} does not hold a state_dict; save one with "
            "torch.save(model.state_dict(), file)"
        )
    return dict(state)


def _read(file: BinaryIO, name: str) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, MemoryError):
        raise
    except Exception as error:  # whatever stray bytes happen to mean as instructions
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{name} is no file of weights ({reason})") from error


def _from_torchvision(weights: str, name: str) -> dict[str, Tensor]:
    entry = import_torchvision().models.get_model_weights(name)[weights]
    try:
        return dict(entry.get_state_dict(progress=False, check_hash=True, weights_only=True))
    except UnpicklingError as error:
        folder = os.path.join(torch.hub.get_dir(), "checkpoints")
        raise ValueError(
            f"what {folder} holds as {weights} of {name} is no file of weights"
        ) from error
    except (URLError, TimeoutError, ConnectionError) as error:
        folder = os.path.join(torch.hub.get_dir(), "checkpoints")
        raise MissingWeights(
            f"weights {weights} of {name} cannot be downloaded from {entry.url} ({error}); put "
            f"that file into {folder}, or give a file: weights: path/to/file.pt"
        ) from error
