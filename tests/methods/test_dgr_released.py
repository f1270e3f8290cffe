"""Deep generative replay as released: its defects are there, and the contract holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from methods.core.contract import Subject, check, check_predictions
from methods.core.rng import Rng
from methods.core.task import Scenario
from methods.dgr import DeepGenerativeReplay
from methods.memories import VaeConfig, WganGpConfig
from methods.memories.wgan_released import ReleasedWganGp
from orchestrator.data import StreamConfig, open_stream

GAN = {"name": "wgan-gp", "channels": 1, "latents": 4, "iterations": 1, "critic_steps": 1}
SMALL = {
    "variant": "as-released",
    "network": {"name": "dgr-cnn", "channels": 8},
    "budget": {"iterations": 2, "batch_size": 8},
    "memory": GAN,
}


def config(**options: Any) -> Any:
    return DeepGenerativeReplay.Config.model_validate(SMALL | options)


def subject(data_dir: Path, scenario: Scenario, **options: Any) -> Subject:
    padded = StreamConfig(dataset="split-digits", scenario=scenario, pad_to=32, train_per_task=40)
    stream = open_stream(padded, data_dir)
    tests = [stream.test(task).gather(torch.arange(6)) for task in range(3)]
    return Subject(
        DeepGenerativeReplay,
        config(**options),
        stream.info,
        lambda: [stream.task(index) for index in range(3)],
        tests,
    )


def test_the_contract_holds(data_dir: Path) -> None:
    check(subject(data_dir, Scenario.CLASS_INCREMENTAL))


@pytest.mark.parametrize("scenario", [Scenario.TASK_INCREMENTAL, Scenario.DOMAIN_INCREMENTAL])
def test_predictions_are_of_an_image_alone(scenario: Scenario, data_dir: Path) -> None:
    """Unlike those of the published code."""
    check_predictions(subject(data_dir, scenario))


def test_labels_are_given_by_statistics_of_the_batch(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = subject(data_dir, Scenario.CLASS_INCREMENTAL)
    method = DeepGenerativeReplay(trial.config, trial.stream, Rng(0))
    first, second, *_ = trial.tasks()
    method.learn(first)
    assert isinstance(method.memory.generator.network, ReleasedWganGp)  # type: ignore[attr-defined]
    before = {name: value.clone() for name, value in method.network.state_dict().items()}
    modes, loss = [], method.replay_loss

    def watch(old: Any, logits: Tensor) -> Tensor:
        assert method.teacher is not None
        modes.append(method.teacher.network.training)
        return loss(old, logits)

    monkeypatch.setattr(method, "replay_loss", watch)
    drawn = method.replayed(40)
    assert drawn is not None
    now = method.network.state_dict()
    assert all(torch.equal(now[name], value) for name, value in before.items())
    method.learn(second)
    assert modes == [True, True]


def test_a_label_depends_on_its_neighbours_as_released_alone(data_dir: Path) -> None:
    x = None
    for variant in ("as-released", "corrected"):
        trial = subject(data_dir, Scenario.CLASS_INCREMENTAL, variant=variant)
        method = DeepGenerativeReplay(trial.config, trial.stream, Rng(0))
        method.learn(trial.tasks()[0])
        x = trial.tests[0].x if x is None else x
        with torch.no_grad():
            among, alone = method._said(x)[:2], method._said(x[:2])
        assert torch.allclose(among, alone, atol=1e-4) == (variant == "corrected")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "vae"}, "variant as-released has a convolutional WGAN-GP"),
        ({"memory": "gmm"}, "variant as-released has a convolutional WGAN-GP"),
        ({"memory": {"name": "wgan-gp"}}, "give channels"),
        ({"memory": GAN | {"batch_size": 12}}, "multiple of 8, not 12"),
        ({"replay_labels": "soft"}, "hard labels"),
    ],
)
def test_what_was_not_released_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        config(**options)
    assert caught.value.error_count() == 1


def test_the_corrected_method_takes_what_was_not_released() -> None:
    assert config(variant="corrected", memory="vae").replay_labels == "hard"
    assert config().memory.channels == 1


def test_the_published_generator_is_the_default() -> None:
    options = {"variant": "as-released", "budget": {"iterations": 2, "batch_size": 8}}
    given = DeepGenerativeReplay.Config.model_validate(options)
    assert isinstance(given.memory, WganGpConfig)
    assert given.memory.channels == 64
    assert isinstance(DeepGenerativeReplay.Config().memory, VaeConfig)
