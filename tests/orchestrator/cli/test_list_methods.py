from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from methods.core.registry import method_class, method_names

Answer = Callable[..., Any]


def test_a_method_is_told_with_its_options_their_defaults_and_meanings(answer: Answer) -> None:
    status, out, _ = answer("list", "methods", "prer")
    assert status == 0
    assert out.startswith("prer\nKeep the embeddings of synthetic images of the past")
    assert "\nscenarios: task-incremental\n" in out
    for option, default, meaning in (
        ("network", "mlp", "The backbone: "),
        ("budget.iterations", "500, by other options", "Optimiser steps per task; 500 where "),
        ("flow.blocks", "10", r"Couplings at each level\."),
        ("flow.weight_decay", "1e-5", "L2 penalty, added to the gradient"),
        ("autoencoder.dim", "–", "Values that an image is projected to; "),
    ):
        assert re.search(rf"(?m)^{option} +{default} +{meaning}", out), option


def test_of_what_an_option_means_the_first_sentence_is_told(answer: Answer) -> None:
    assert "replay_batch" in method_class("replay").Config.model_fields
    out = answer("list", "methods", "replay").out
    assert re.search(r"(?m)^replay_batch +– +Replayed items in each step; .* default\. *$", out)


@pytest.mark.parametrize("name", method_names())
def test_every_option_of_every_method_is_there(name: str, answer: Answer) -> None:
    status, out, err = answer("list", "methods", name)
    assert (status, err) == (0, "")
    assert method_class(name).Config.model_fields.keys() <= {*re.findall(r"(?m)^(\w+) ", out)}


def test_an_unknown_method_is_answered_with_the_one_that_was_meant(answer: Answer) -> None:
    assert answer("list", "methods", "perr") == (
        2,
        "",
        "engram: unknown method 'perr'; did you mean 'prer'?\n",
    )
