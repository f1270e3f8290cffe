"""The base of every configuration: frozen, strict, documented."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Options of a part: an unknown key or a value of the wrong type is an error.

    Every field has a default and a docstring under it, which is what the documentation and
    ``engram list`` show.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )

    def check_images(self, shape: tuple[int, int, int]) -> None:
        """Refuse images, (channels, height, width), that the part cannot take; by default none.

        Raises
        ------
        ValueError
            With what to do.
        """

    def canonical(self) -> dict[str, Any]:
        """Return all values, defaults included, as plain JSON types: equal configs, equal dicts."""
        return self.model_dump(mode="json")

    def portable(self) -> dict[str, Any]:
        """Return :meth:`canonical` with the paths of files, which it leaves out.

        Files are known by their content; who rebuilds a configuration to use it needs the place.
        """
        return self.model_dump(mode="json", context={"paths": True})


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested dicts into one level with dotted keys: ``{"budget.iterations": 500}``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def by_preset(presets: Mapping[str, dict[str, Any]]) -> Callable[[Any], Any]:
    """Let names stand for options of other parts, as if these were written out.

    Parameters
    ----------
    presets : mapping
        Options, ``name`` among them, by the name that stands for them.
    """

    def expand(value: Any) -> Any:
        value = by_name(value)
        name = value.get("name") if isinstance(value, dict) else None
        if not isinstance(name, str) or name not in presets:
            return value
        return presets[name] | {key: given for key, given in value.items() if key != "name"}

    return expand


def by_name(value: Any) -> Any:
    """Let ``network: mlp`` stand for ``network: {name: mlp}``."""
    return {"name": value} if isinstance(value, str) else value
