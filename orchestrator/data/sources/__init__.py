"""Where images come from: the registry of sources, and what reads their raw files.

A source says what it holds and in which layouts its raw files may lie, and reads them into arrays.
It knows nothing of caches, tasks or tensors. A further source is one more
:class:`~orchestrator.data.sources.source.Source`, registered.
"""

from orchestrator.data.sources import digits, mini_imagenet, torchvision_sources
from orchestrator.data.sources.registry import SOURCES, get_source, register_source
from orchestrator.data.sources.source import Images, Layout, Source

__all__ = ["SOURCES", "Images", "Layout", "Source", "get_source", "register_source"]

for _source in (digits.DIGITS, *torchvision_sources.TORCHVISION, mini_imagenet.MINI_IMAGENET):
    register_source(_source)
