"""Named random generators, so that every draw can be traced to a seed and a name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Rng:
    """Random generators derived from one seed by name, owner and task.

    The key of a generator is ``(seed, name, owner, task)`` and nothing else: not the method, not
    the freeze depth, not the buffer size. Two trials of one seed therefore see the same first
    weights and the same order of data, which pairs them; and because a generator is derived anew
    for each task, resuming at a task boundary needs no saved generator state.

    Examples
    --------
    >>> rng = Rng(0).of("memory").at(2)
    >>> int(torch.randint(10**6, (1,), generator=rng.generator("draws")))
    """

    def __init__(self, seed: int, owner: str = "", task: int | None = None) -> None:
        self.seed, self.owner, self.task = seed, owner, task

    def of(self, owner: str) -> Rng:
        """Return the same seed for another owner, such as ``"memory"``."""
        return Rng(self.seed, owner, self.task)

    def at(self, task: int) -> Rng:
        """Return the same seed and owner within a task."""
        return Rng(self.seed, self.owner, task)

    def derive(self, name: str) -> int:
        """Return the 63-bit seed of the generator called ``name``."""
        key = repr((self.seed, name, self.owner, self.task)).encode()
        return int.from_bytes(hashlib.sha256(key).digest()[:8], "little") >> 1

    def generator(self, name: str, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a new generator; asking twice for one name gives the same numbers twice."""
        return torch.Generator(device).manual_seed(self.derive(name))

    @contextmanager
    def scoped(self, name: str, device: torch.device | str = "cpu") -> Iterator[None]:
        """Seed PyTorch's global generators inside the block and restore them after it.

        For the places where PyTorch takes no generator: layer initialisation, dropout. Seeds the
        generators of the CPU and of ``device``; those of other devices are left alone, as
        ``torch.manual_seed`` would not.
        """
        device, cuda = torch.device(device), []
        if device.type == "cuda":
            cuda = [torch.cuda.current_device() if device.index is None else device.index]
        with torch.random.fork_rng(devices=cuda):
            torch.default_generator.manual_seed(self.derive(name))
            for index in cuda:
                torch.cuda.default_generators[index].manual_seed(self.derive(name))
            yield
