"""Data: sources, their memory-mapped cache, and the task streams made of them.

Importing this package loads no image library; a source imports what it needs when it is read.
"""

from orchestrator.data.added import add_source, discover
from orchestrator.data.cache import (
    Dataset,
    MissingData,
    SourceState,
    fingerprint,
    list_sources,
    open_source,
    prepare,
)
from orchestrator.data.sources import Images, Layout, Source, register_source
from orchestrator.data.stream_config import StreamConfig
from orchestrator.data.stream_names import stream_names
from orchestrator.data.streams import TaskStream, open_stream

__all__ = [
    "Dataset",
    "Images",
    "Layout",
    "MissingData",
    "Source",
    "SourceState",
    "StreamConfig",
    "TaskStream",
    "add_source",
    "discover",
    "fingerprint",
    "list_sources",
    "open_source",
    "open_stream",
    "prepare",
    "register_source",
    "stream_names",
]
