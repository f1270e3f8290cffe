from __future__ import annotations

import pytest
from pydantic import BaseModel

from methods.core.config import Config
from methods.core.registry import method_class
from methods.core.training import Adam, Budget
from methods.memories import GaussianConfig
from methods.networks import Mlp
from orchestrator.space.config import Resources
from orchestrator.space.levels import models_in, unknown_key

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


def test_models_are_found_within_annotations() -> None:
    found = models_in(Budget.model_fields["early_stopping"].annotation)
    assert [model.__name__ for model in found] == ["EarlyStopping"]
    assert models_in(int | None) == []
