"""What follows from a trial's method alone, or from its stream: the same for all that share it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from methods.core.config import Config, flatten
from methods.core.method import Method
from methods.core.registry import method_class
from orchestrator.data.stream_config import StreamConfig
from orchestrator.identity import canonical_json


@dataclass(frozen=True, eq=False)
class MethodChoice:
    """A method with its options.

    Parameters
    ----------
    name : str
        Registered name.
    options : Method.Config
        Defaults included.
    """

    name: str
    options: Method.Config

    @classmethod
    def of(cls, method: type[Method], options: Method.Config) -> MethodChoice:
        """Choose a method by its options, known by the name of their point."""
        point = method.named_point(options)
        if point is not method:
            options = point.Config.model_validate(options.portable())
        return cls(point.name, options)

    @property
    def cls(self) -> type[Method]:
        """The method's class."""
        return method_class(self.name)

    @property
    def text(self) -> str:
        """The first part of :attr:`~orchestrator.trial.TrialConfig.text`, up to the seed."""
        options = canonical_json(self.options.canonical())
        return f'{{"method":{canonical_json(self.name)},"options":{options},"seed":'

    @cached_property
    def settings(self) -> dict[str, Any]:
        """Options in which the method differs from its defaults, the training protocol left out.

        Of parts that have a name, such as a memory, those in which it differs from its own.
        """
        return self._settings(self.options.canonical())

    @property
    def settings_text(self) -> str:
        """Settings as ``buffer_size=500, freeze_depth=1``."""
        return self._texts[0]

    @property
    def label(self) -> str:
        """Legend and filter of a trial: ``replay[buffer_size=500,freeze_depth=1]``."""
        text = self.settings_text.replace(", ", ",")
        return f"{self.name}[{text}]" if text else self.name

    @property
    def protocol(self) -> dict[str, Any]:
        """Options that describe the training protocol."""
        return self._protocol(self.options.canonical())

    @property
    def protocol_text(self) -> str:
        """The protocol as canonical JSON."""
        return self._texts[1]

    @cached_property
    def _texts(self) -> tuple[str, str]:
        """Return settings and protocol in words, of one look at the options: there may be many."""
        options = self.options.canonical()
        settings = ", ".join(f"{k}={value}" for k, value in sorted(self._settings(options).items()))
        return settings, sys.intern(canonical_json(self._protocol(options)))

    def _protocol(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {key: options[key] for key in sorted(self.cls.protocol) if key in options}

    def _settings(self, options: Mapping[str, Any]) -> dict[str, Any]:
        default, usual_values = _defaults(self.cls.Config)
        left_out = self.cls.protocol | self.options.implied
        settings: dict[str, Any] = {}
        for key, value in options.items():
            if key in left_out:
                continue
            usual = usual_values.get(key)
            if isinstance(value, dict) and "name" in value:
                part, usual_part = getattr(self.options, key), getattr(default, key)
                if isinstance(part, Config) and isinstance(usual_part, Config):
                    if type(part) is not type(usual_part):
                        settings[key] = value["name"]
                    usual = {**_own_values(type(part)), "name": value["name"]}
            if value != usual:
                flat, usual_flat = flatten({key: value}), flatten({key: usual})
                settings |= {k: v for k, v in flat.items() if v != usual_flat.get(k)}
        return settings


@dataclass(frozen=True, eq=False)
class StreamChoice:
    """A task stream, its ``stream_seed`` a number."""

    config: StreamConfig

    @cached_property
    def text(self) -> str:
        """The last part of :attr:`~orchestrator.trial.TrialConfig.text`, behind the seed."""
        return f',"stream":{canonical_json(self.config.canonical())}}}'

    @property
    def protocol(self) -> dict[str, Any]:
        """What must agree for seeds to be pooled, beyond dataset and scenario."""
        named = {"dataset", "scenario", "stream_seed"}
        return {key: value for key, value in self.config.canonical().items() if key not in named}

    @cached_property
    def protocol_text(self) -> str:
        """The protocol as canonical JSON."""
        return sys.intern(canonical_json(self.protocol))


@cache
def _defaults(model: type[Config]) -> tuple[Config, Mapping[str, Any]]:
    """Return a configuration in which nothing is given, and its canonical values."""
    # Not validated: what a validator fills in where nothing is given is worth showing.
    default = model.model_construct()
    return default, default.canonical()


@cache
def _own_values(part: type[Config]) -> Mapping[str, Any]:
    """Return the canonical values of a part of which nothing but its name is given."""
    return part().canonical()
