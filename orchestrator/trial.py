"""One point of a grid: a method with its options, a task stream and a seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from methods.core.config import Config, flatten
from methods.core.method import Method
from methods.core.registry import method_class
from orchestrator.data.stream_config import StreamConfig


@dataclass(frozen=True)
class TrialConfig:
    """Everything a person chooses about a trial; equal configurations are the same trial.

    Parameters
    ----------
    stream : StreamConfig
        The task stream.
    method : str
        Registered name.
    options : Method.Config
        The method's options, defaults included.
    seed : int
        Moves initialisation, order of data, memory draws and noise.
    """

    stream: StreamConfig
    method: str
    options: Method.Config
    seed: int

    @property
    def cls(self) -> type[Method]:
        """The method's class."""
        return method_class(self.method)

    @cached_property
    def canonical(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {
            "stream": self.stream.canonical(),
            "method": self.method,
            "options": self.options.canonical(),
            "seed": self.seed,
        }

    @classmethod
    def of(
        cls, stream: StreamConfig, method: type[Method], options: Method.Config, seed: int
    ) -> TrialConfig:
        """Make a configuration of a method's options, known by the name of their point."""
        point = method.named_point(options)
        if point is not method:
            options = point.Config.model_validate(options.portable())
        return cls(stream, point.name, options, seed)

    @property
    def portable(self) -> dict[str, Any]:
        """:attr:`canonical` with the paths of files that the options name: for a worker."""
        return self.canonical | {"options": self.options.portable()}

    @classmethod
    def from_canonical(cls, values: dict[str, Any]) -> TrialConfig:
        """Rebuild a configuration from :attr:`canonical`, or from :attr:`portable`."""
        method = method_class(values["method"])
        return cls(
            StreamConfig.model_validate(values["stream"]),
            values["method"],
            method.Config.model_validate(values["options"]),
            values["seed"],
        )

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Options in which the method differs from its defaults, the training protocol left out.

        Of parts that have a name, such as a memory, those in which it differs from its own.
        """
        # Not validated: what a validator fills in where nothing is given is worth showing.
        default = self.cls.Config.model_construct()
        settings: dict[str, Any] = {}
        for key, value in self.canonical["options"].items():
            if key in self.cls.protocol or key in self.options.implied:
                continue
            part, usual = getattr(self.options, key), getattr(default, key)
            if isinstance(part, Config) and isinstance(usual, Config) and "name" in value:
                if type(part) is not type(usual):
                    settings[key] = value["name"]
                value, usual = value | {"name": None}, type(part)().canonical() | {"name": None}
            else:
                usual = default.canonical().get(key)
            flat, usual = flatten({key: value}), flatten({key: usual})
            settings |= {k: v for k, v in flat.items() if v != usual.get(k)}
        return settings

    @property
    def settings_text(self) -> str:
        """Settings as ``buffer_size=500, freeze_depth=1``."""
        return ", ".join(f"{key}={value}" for key, value in sorted(self.settings.items()))

    @property
    def label(self) -> str:
        """Legend and filter of the trial: ``replay[buffer_size=500,freeze_depth=1]``."""
        text = self.settings_text.replace(", ", ",")
        return f"{self.method}[{text}]" if text else self.method

    @property
    def name(self) -> str:
        """The whole trial in words: ``split-digits/class-incremental/replay[…]/seed=0``."""
        return f"{self.stream.dataset}/{self.stream.scenario}/{self.label}/seed={self.seed}"

    @cached_property
    def setup(self) -> dict[str, Any]:
        """What must agree for seeds to be pooled, beyond dataset, scenario, method and settings."""
        options = self.canonical["options"]
        stream = {
            key: value
            for key, value in self.canonical["stream"].items()
            if key not in {"dataset", "scenario", "stream_seed"}
        }
        return stream | {key: options[key] for key in sorted(self.cls.protocol) if key in options}


@dataclass(frozen=True)
class Trial:
    """A trial with its identity.

    Attributes
    ----------
    id : str
        16 hex digits over configuration, data, code and numerical environment.
    config : TrialConfig
    data, code : str
        Fingerprint of the data, hash of the code: ingredients of the identity.
    """

    id: str
    config: TrialConfig
    data: str
    code: str
