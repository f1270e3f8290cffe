"""What rehearsal asks of its memory: which one, at what depth, and items with their classes."""

from methods.recall.config import Labels, RecallConfig
from methods.recall.items import head_inputs, labelled, of_classes

__all__ = ["Labels", "RecallConfig", "head_inputs", "labelled", "of_classes"]
