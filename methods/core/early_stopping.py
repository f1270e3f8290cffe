"""Stopping a task's training once held-out data of the task say that it is enough."""

from __future__ import annotations

import copy
import math
from typing import Any

from pydantic import NonNegativeFloat, PositiveInt
from torch import nn

from methods.core.config import Config


class EarlyStopping(Config):
    """Stop when the accuracy on the task's validation data no longer rises.

    Looked at after each pass over the task's training data, and after the last step. The weights
    after the last pass that counted as better are restored. Validation data are a share of the
    training data, never test data.
    """

    patience: PositiveInt = 1
    """Looks without a better accuracy after which training stops."""
    min_delta: NonNegativeFloat = 0.0
    """By how much the accuracy must rise to count as better."""


class BestWeights:
    """Follows the accuracy of a task from pass to pass and keeps the weights of the best one."""

    def __init__(self, config: EarlyStopping, network: nn.Module) -> None:
        self.config, self.network = config, network
        self.best, self.waited = -math.inf, 0
        self._weights: dict[str, Any] = {}

    def no_longer_rises(self, accuracy: float) -> bool:
        """Take the accuracy after a pass; True once it is time to stop."""
        if accuracy > self.best + self.config.min_delta:
            self.best, self.waited = accuracy, 0
            self._weights = copy.deepcopy(self.network.state_dict())
        else:
            self.waited += 1
        return self.waited >= self.config.patience

    def restore(self) -> None:
        """Put the best weights back."""
        if self._weights:
            self.network.load_state_dict(self._weights)
