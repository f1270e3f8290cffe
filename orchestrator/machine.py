"""Failures that are a machine's doing: another one, or this one later, could do what failed."""

from __future__ import annotations

import torch

from methods.networks.weights import MissingWeights


class MachineFailure(RuntimeError):
    """A trial could not go on here, whatever its method."""


class OtherData(MachineFailure):
    """The data of this machine differ from those that the trial was planned with."""


class NotKept(MachineFailure):
    """What was to be kept of a trial could not be written."""


def is_of_the_machine(error: Exception) -> bool:
    """Whether an error says nothing of the method that was running."""
    if isinstance(error, (MachineFailure, MissingWeights, torch.OutOfMemoryError, MemoryError)):
        return True
    # What PyTorch raises where the CPU has no memory left has no class of its own.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
