"""Failures that are a machine's doing: another one, or this one later, could do what failed."""

from __future__ import annotations

import platform

import torch

from methods.networks.weights import MissingWeights


class MachineFailure(RuntimeError):
    """A trial could not go on here, whatever its method."""


class OutOfMemory(MachineFailure):
    """The trial needed more memory than it could have."""


class OtherData(MachineFailure):
    """The data of this machine differ from those that the trial was planned with."""


class OtherCode(MachineFailure):
    """The code or PyTorch of this machine differs from that which the trial was planned with."""


class NoDevice(MachineFailure):
    """There is no such device on this machine."""


class NotKept(MachineFailure):
    """The state of a trial could not be written."""


def machine_failure(error: Exception) -> MachineFailure | None:
    """Return the failure of the machine that an error means; None if it is of the method's doing.

    Its message names this machine.
    """
    if isinstance(error, MachineFailure):
        return error
    reason = f"{platform.node()}: {(str(error).splitlines() or [''])[0]}"
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return OutOfMemory(reason if str(error) else f"{platform.node()}: out of memory")
    # What PyTorch raises where the CPU has no memory left has no class of its own.
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
        return OutOfMemory(reason)
    return MachineFailure(reason) if isinstance(error, MissingWeights) else None
