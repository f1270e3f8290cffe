"""Data: sources, their memory-mapped cache, and the task streams made of them.

Importing this package loads no image library; a source imports what it needs when it is read.
"""

from orchestrator.data.cache import (
    Dataset,
    MissingData,
    SourceState,
    fingerprint,
    list_sources,
    open_source,
    prepare,
)
from orchestrator.data.sources import Images, Source, register_source
from orchestrator.data.streams import StreamConfig, TaskStream, open_stream, stream_names

__all__ = [
    "Dataset",
    "Images",
    "MissingData",
    "Source",
    "SourceState",
    "StreamConfig",
    "TaskStream",
    "fingerprint",
    "list_sources",
    "open_source",
    "open_stream",
    "prepare",
    "register_source",
    "stream_names",
]
