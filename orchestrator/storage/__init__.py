"""Where results are: folders and object stores, files that are whole, who works there."""

from orchestrator.storage.storage import Storage
from orchestrator.storage.uri import StorageFailure

__all__ = ["Storage", "StorageFailure"]
