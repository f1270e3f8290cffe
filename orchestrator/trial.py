"""One point of a grid: a method with its options, a task stream and a seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from methods.core.method import Method
from methods.core.registry import method_class
from orchestrator.choices import MethodChoice, StreamChoice
from orchestrator.data.stream_config import StreamConfig
from orchestrator.identity import Environment, canonical_json


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

    @classmethod
    def of(
        cls, stream: StreamConfig, method: type[Method], options: Method.Config, seed: int
    ) -> TrialConfig:
        """Make a configuration of a method's options, known by the name of their point."""
        return cls.chosen(StreamChoice(stream), MethodChoice.of(method, options), seed)

    @classmethod
    def chosen(cls, stream: StreamChoice, method: MethodChoice, seed: int) -> TrialConfig:
        """Make a configuration of choices that other trials share."""
        config = cls(stream.config, method.name, method.options, seed)
        vars(config).update(stream_choice=stream, method_choice=method)
        return config

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
    def stream_choice(self) -> StreamChoice:
        """The stream and what follows from it."""
        return StreamChoice(self.stream)

    @cached_property
    def method_choice(self) -> MethodChoice:
        """The method with its options, and what follows from them."""
        return MethodChoice(self.method, self.options)

    @property
    def cls(self) -> type[Method]:
        """The method's class."""
        return method_class(self.method)

    @property
    def canonical(self) -> dict[str, Any]:
        """All of it as plain JSON values."""
        return {
            "stream": self.stream.canonical(),
            "method": self.method,
            "options": self.options.canonical(),
            "seed": self.seed,
        }

    @property
    def text(self) -> str:
        """:attr:`canonical` as canonical JSON."""
        return f"{self.method_choice.text}{self.seed}{self.stream_choice.text}"

    @property
    def portable(self) -> dict[str, Any]:
        """:attr:`canonical` with the paths of files that the options name: for a worker."""
        return self.canonical | {"options": self.options.portable()}

    @property
    def settings(self) -> dict[str, Any]:
        """Options in which the method differs from its defaults, the training protocol left out.

        Of parts that have a name, such as a memory, those in which it differs from its own.
        """
        return self.method_choice.settings

    @property
    def settings_text(self) -> str:
        """Settings as ``buffer_size=500, freeze_depth=1``."""
        return self.method_choice.settings_text

    @property
    def label(self) -> str:
        """Legend and filter of the trial: ``replay[buffer_size=500,freeze_depth=1]``."""
        return self.method_choice.label

    @property
    def name(self) -> str:
        """The whole trial in words: ``split-digits/class-incremental/replay[…]/seed=0``."""
        return f"{self.stream.dataset}/{self.stream.scenario}/{self.label}/seed={self.seed}"

    @property
    def setup(self) -> dict[str, Any]:
        """What must agree for seeds to be pooled, beyond dataset, scenario, method and settings."""
        return self.stream_choice.protocol | self.method_choice.protocol


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


def identifying_columns(trials: Iterable[Trial], environment: Environment) -> list[dict[str, Any]]:
    """Columns that tell which row of a leaderboard trials belong to, and the trials themselves.

    Parameters
    ----------
    trials : iterable of Trial
    environment : Environment
        The one that they all have.

    Returns
    -------
    list of dict
        The columns ``id, dataset, scenario, method, settings, variant, setup, seed`` of a record.
    """
    setups: dict[tuple[str, ...], str] = {}
    columns = []
    for trial in trials:
        config = trial.config
        stream, method = config.stream_choice, config.method_choice
        key = stream.protocol_text, method.protocol_text, trial.data, trial.code
        if key not in setups:  # many trials have one
            ingredients = {"data": trial.data, "code": trial.code, **asdict(environment)}
            setups[key] = canonical_json(config.setup | ingredients)
        columns.append(
            {
                "id": trial.id,
                "dataset": config.stream.dataset,
                "scenario": str(config.stream.scenario),
                "method": config.method,
                "settings": method.settings_text,
                "variant": config.options.variant,
                "setup": setups[key],
                "seed": config.seed,
            }
        )
    return columns
