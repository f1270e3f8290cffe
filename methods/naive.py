"""Fine-tuning: the lower bound."""

from __future__ import annotations

from methods.core.classifier import Classifier
from methods.core.registry import register


@register("naive")
class Naive(Classifier):
    """Train on each task in turn and do nothing against forgetting."""
