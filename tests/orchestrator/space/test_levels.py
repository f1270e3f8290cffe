from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from methods.core.config import Config
from methods.core.registry import method_class
from methods.core.training import Adam, Budget
from methods.memories import GaussianConfig
from methods.networks import Mlp
from methods.pseudo_rehearsal.config import AutoencoderConfig
from orchestrator.plan import make_plan
from orchestrator.space.config import Resources
from orchestrator.space.levels import models_in, unknown_key
from orchestrator.space.problems import InvalidFile

TOP = ["dataset", "tasks", "seed", "method", "network", "optimizer", "budget", "resources"]


class Strange(Config):
    """Of no search space."""

    size: int = 1


@pytest.mark.parametrize(
    ("key", "owner", "message"),
    [
        ("lr", None, "unknown key here; did you mean 'optimizer.lr'?"),
        ("learning_rate", None, "unknown key here; did you mean 'optimizer.lr'?"),
        ("batch_size", None, "unknown key here; did you mean 'budget.batch_size'?"),
        ("patience", None, "unknown key here; did you mean 'budget.early_stopping.patience'?"),
        ("gpus", None, "unknown key here; did you mean 'resources: {gpus: …}'?"),
        ("batch_sise", None, "unknown key; did you mean 'budget.batch_size'?"),
        ("model", None, "unknown key; did you mean 'network'?"),
        ("optimiser.lr", None, "unknown key; did you mean 'optimizer.lr'?"),
        ("strenght", None, "unknown key; did you mean 'strength', an option of ewc, si?"),
        ("zzzzzz", None, "unknown key; possible: budget, dataset, "),
        ("tasks", "replay", "unknown key here; tasks stands at the top of the file"),
        ("strength", "replay", "unknown key here; strength is an option of ewc"),
        ("batch_size", "replay", "unknown key here; did you mean 'budget.batch_size'?"),
        ("buffr_size", "replay", "unknown key; did you mean 'buffer_size'?"),
        ("memory_strength", "gem", "unknown key; did you mean 'margin'?"),
        ("memory_strength", "ewc", "unknown key here; margin is an option of gem"),
        ("latent", "dvae", "unknown key; possible: activation, beta, "),
        ("latents", "dvae", "unknown key; possible: activation, beta, "),
        ("components", "naive", "unknown key; possible: budget, freeze_depth, "),
        ("blocks", "prer", "unknown key here; did you mean 'flow.blocks'?"),
        ("blocks", AutoencoderConfig, "unknown key here; did you mean 'flow.blocks'?"),
        ("blocks", "replay", "unknown key here; did you mean 'memory.blocks'?"),
        ("refresh", "glr", "unknown key here; did you mean 'memory.refresh'?"),
        ("refresh", "naive", "unknown key here; refresh is an option of dvae"),
        ("num_samples", "dvae", "unknown key; did you mean 'samples_per_class'?"),
        ("num_samples", "embedding-reg", "unknown key; did you mean 'sample_size'?"),
        ("lambda", "prer", "unknown key; did you mean 'weight'?"),
        ("lambda", "embedding-reg", "unknown key; did you mean 'importance'?"),
        ("lambda", "si", "unknown key; did you mean 'strength'?"),
        ("lambda", "replay", "unknown key here; strength is an option of ewc, si"),
        ("c", "si", "unknown key; did you mean 'strength'?"),
        ("xi", "si", "unknown key; did you mean 'damping'?"),
        ("T", "lwf", "unknown key; did you mean 'temperature'?"),
        ("T", "naive", "unknown key; possible: budget, freeze_depth, "),
        ("hidden", Mlp, "unknown key here; hidden is an option of alexnet, cnn"),
        ("momentum", Adam, "unknown key here; momentum is an option of sgd"),
        ("components", GaussianConfig, "unknown key here; components is an option of gmm"),
        ("lr", Budget, "unknown key here; did you mean 'optimizer.lr'?"),
        ("tasks", Budget, "unknown key here; tasks stands at the top of the file"),
        ("freeze_depth", Mlp, "stands at the top of the file, or in a method's entry"),
        ("cpu", Resources, "unknown key; did you mean 'cpus'?"),
        ("siez", Strange, "unknown key; did you mean 'size'?"),
        ("lr", Strange, "unknown key; possible: size"),
    ],
)
def test_a_key_is_sent_where_it_belongs(
    key: str, owner: type[BaseModel] | str | None, message: str
) -> None:
    model = method_class(owner).Config if isinstance(owner, str) else owner
    own = TOP if model is None else list(model.model_fields)
    assert message in unknown_key(key, own, model)


CHANNELS = "unknown key here; did you mean '{}.channels'?"


@pytest.mark.parametrize(
    ("given", "mapping"),
    [
        ({}, "network"),  # neither the usual memory nor the usual network has them
        ({"memory": "wgan-gp"}, "memory"),
        ({"memory": "wgan"}, "memory"),
        ({"memory": {"name": "wgan-gp"}}, "memory"),
        ({"memory.name": "wgan-gp"}, "memory"),
        ({"memory": ["vae", "wgan-gp"]}, "memory"),
        ({"memory": "cvae"}, "network"),
        ({"memory": 7}, "memory"),
        ({"network": "dgr-cnn"}, "network"),
        ({"network": "dgr-cnn", "memory": "wgan-gp"}, "network"),
    ],
)
def test_an_option_is_sent_to_the_part_that_has_it_as_it_is_given(
    given: dict[str, Any], mapping: str
) -> None:
    config = method_class("dgr").Config
    told = unknown_key("channels", list(config.model_fields), config, given)
    assert told == CHANNELS.format(mapping)


def test_at_the_top_too_where_what_is_given_is_all_that_is_known() -> None:
    top = [*TOP, "memory"]
    assert unknown_key("channels", top) == CHANNELS.format("network")
    given = {"memory": ["vae", "wgan-gp"], "network": "mlp"}
    assert unknown_key("channels", top, given=given) == CHANNELS.format("memory")


def test_parts_with_several_values_get_one_answer(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        "dataset: split-digits\nmethod:\n  - dgr: {memory: [vae, wgan-gp], channels: 8}\n"
    )
    with pytest.raises(InvalidFile) as caught:
        make_plan(path, tmp_path)
    assert str(caught.value) == f"{path}:3: dgr.channels: {CHANNELS.format('memory')}"


def test_models_are_found_within_annotations() -> None:
    found = models_in(Budget.model_fields["early_stopping"].annotation)
    assert [model.__name__ for model in found] == ["EarlyStopping"]
    assert models_in(int | None) == []
