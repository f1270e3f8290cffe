"""Files that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file under another name, flush it to the disk, then rename it.

    Whoever reads ``path`` sees the old file or the new one. Missing folders are made.

    Parameters
    ----------
    path : Path

    Raises
    ------
    OSError
        If it cannot be written; the old file is then as it was.

    Examples
    --------
    >>> with replacing(Path("model.pt")) as file:
    ...     torch.save(state, file)
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
