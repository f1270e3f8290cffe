"""Rehearsal of stored examples with the outputs that they had when they came in."""

from methods.dark_experience.config import DarkExperienceConfig

__all__ = ["DarkExperienceConfig"]
