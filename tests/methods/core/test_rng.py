"""Named generators: what moves them, and that nothing else does."""

from __future__ import annotations

import hashlib
import itertools
import subprocess
import sys

import pytest
import torch

from methods.core.rng import Rng


def numbers(rng: Rng, name: str = "draws") -> list[float]:
    return torch.rand(4, generator=rng.generator(name)).tolist()


def test_a_key_gives_the_same_numbers_each_time() -> None:
    rng = Rng(3).of("memory").at(2)
    assert numbers(rng) == numbers(rng) == numbers(Rng(3).at(2).of("memory"))


def test_seed_name_owner_and_task_each_move_the_numbers() -> None:
    keys = itertools.product((0, 1), ("", "memory"), (None, 0, 1), ("draws", "order"))
    seeds = {Rng(seed, owner, task).derive(name) for seed, owner, task, name in keys}
    assert len(seeds) == 2 * 2 * 3 * 2
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(
    "pair", [(Rng(1, "1"), Rng(11, "")), (Rng(0, "a", 1), Rng(0, "a1")), (Rng(0, "', '"), Rng(0))]
)
def test_parts_of_a_key_do_not_run_into_each_other(pair: tuple[Rng, Rng]) -> None:
    assert pair[0].derive("x") != pair[1].derive("x")


def test_numbers_are_those_of_every_process() -> None:
    """The key goes through no hash that Python salts, and the recipe is part of the results."""
    code = "from methods.core.rng import Rng; print(Rng(0, 'memory', 2).derive('draws'))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    key = hashlib.sha256(b"(0, 'draws', 'memory', 2)").digest()
    expected = int.from_bytes(key[:8], "little") // 2
    assert int(run.stdout) == Rng(0, "memory", 2).derive("draws") == expected


def test_scope_seeds_inside_and_restores_outside() -> None:
    before = torch.get_rng_state()
    with Rng(0).scoped("noise"):
        first = torch.rand(3)
        torch.manual_seed(7)
    assert torch.equal(torch.get_rng_state(), before)
    with Rng(0).scoped("noise"):
        assert torch.equal(torch.rand(3), first)
    with Rng(1).scoped("noise"):
        assert not torch.equal(torch.rand(3), first)


def test_scope_restores_after_an_error() -> None:
    before = torch.get_rng_state()
    with pytest.raises(IndexError), Rng(0).scoped("noise"):
        torch.rand(1)[1]
    assert torch.equal(torch.get_rng_state(), before)


def test_generators_leave_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    numbers(Rng(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_scope_is_for_the_devices_it_names() -> None:
    before = torch.cuda.get_rng_state()
    with Rng(0).scoped("noise"):
        assert torch.equal(torch.cuda.get_rng_state(), before)
    with Rng(0).scoped("noise", "cuda"):
        first = torch.rand(3, device="cuda")
    with Rng(0).scoped("noise", "cuda:0"):
        assert torch.equal(torch.rand(3, device="cuda"), first)
    assert torch.equal(torch.cuda.get_rng_state(), before)
