"""Sources that users add to a data folder, known by the headers of its converted files.

What they hold is in the folder and not in the program, so a process has to be told of the folder
(:func:`discover`) before a stream can be made of them. It knows those of one folder at a time.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from orchestrator.data.arrow import Header, read_header, stamp
from orchestrator.data.convert import MissingData, converted_files, find_converted, store
from orchestrator.data.sources import SOURCES, Source, get_source
from orchestrator.data.sources.own import read_own
from orchestrator.data.sources.pictures import Size
from orchestrator.errors import UserError

#: Names that can stand in ``split-<name>`` and be a file's on every system.
_NAME = re.compile(r"[a-z0-9]+([-_][a-z0-9]+)*")
_LONGEST_NAME = 50
#: Longest side of an image: what is larger is a slip of the keyboard, and would fill the memory.
_LONGEST_SIDE = 4096


def add_source(name: str, data_dir: Path, path: Path, size: Size | None = None) -> Source:
    """Convert a user's own images, so that ``split-<name>`` and the like are data sets.

    A source that was added under this name before is replaced.

    Parameters
    ----------
    name : str
        Small letters, digits and, between them, hyphens or underscores; at most 50 characters.
    data_dir : Path
        The data folder; the converted file is all that is kept there.
    path : Path
        What holds the images; see :func:`~orchestrator.data.sources.own.read_own`.
    size : tuple of int, optional
        ``(height, width)`` to which each image is resized, each at most 4096.

    Raises
    ------
    UserError
        If the name cannot be had, the images are not as they should be, or nothing can be written.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be a source's name: give small letters and digits, such as my-data"
        )
    if len(name) > _LONGEST_NAME:
        raise UserError(f"{name} is too long a name: give at most {_LONGEST_NAME} characters")
    if _registered(name):
        raise UserError(f"{name} comes with Engram: give your data another name")
    if size is not None and not 1 <= min(size) <= max(size) <= _LONGEST_SIDE:
        raise UserError(
            f"images cannot be resized to {size[0]} × {size[1]} pixels: give 1 to {_LONGEST_SIDE}"
        )
    images, classes = read_own(path, size)
    count = len(images.train_x) + len(images.test_x)
    title = f"your own, from {path.resolve().name} ({count:,} images)"
    channels, height, width = images.train_x.shape[1:]
    source = Source(name, title, classes, (channels, height, width))
    store(source, Path(data_dir), lambda: images, anew=True)
    discover(data_dir)
    return source


def discover(data_dir: Path) -> list[Source]:
    """Make the sources that were added to a data folder known to this process, and no others.

    Streams are checked against what is known; whoever handles streams of a data folder calls this
    first. Reads the headers of files, no pixels.

    Raises
    ------
    UserError
        If a file in the folder is damaged.
    """
    found = added_sources(data_dir)
    for name in [name for name, source in SOURCES.items() if source.added and name not in found]:
        del SOURCES[name]
    SOURCES.update(found)
    return list(found.values())


def added_sources(data_dir: Path) -> dict[str, Source]:
    """Return the sources that were added to a data folder, by name, in the order of their names.

    Raises as :func:`discover` does.
    """
    files = sorted(
        (name, path) for name, path in converted_files(Path(data_dir)).items() if _may_be(name)
    )
    read = ((name, _source_of(path)) for name, path in files if not _registered(name))
    return {name: source for name, source in read if source is not None}


def source_in(name: str, data_dir: Path) -> Source:
    """Return a source as it is in a data folder: registered, or added to it.

    Raises
    ------
    MissingData
        If a source of this name was added to another folder than this one.
    UserError
        If there is none; or if what was added here is not what this process knows by that name,
        because it was replaced, or stands for the data of another folder.
    """
    if _registered(name):
        return get_source(name)
    known = SOURCES.get(name)
    path = find_converted(name, Path(data_dir)) if _may_be(name) else None
    found = _source_of(path) if path else None
    if found is None:
        if known is None:
            get_source(name)
        raise MissingData(
            f'{name} is not in {data_dir}: run "engram data add {name} --from PATH '
            f'--data {data_dir}"'
        )
    if known is not None and (known.classes, known.shape) != (found.classes, found.shape):
        raise UserError(
            f"{name} in {data_dir} is no longer what was planned with ({_facts(known)}), but "
            f"{_facts(found)}: plan anew"
        )
    return found


def _may_be(name: str) -> bool:
    """Whether a name can be that of a source; files of other names are not looked at."""
    return len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) is not None


def _registered(name: str) -> bool:
    return name in SOURCES and not SOURCES[name].added


def _source_of(path: Path) -> Source | None:
    """Return the source that a file was made for by adding it; None for a registered one's."""
    try:
        header = _header(path, stamp(path))
    except UserError as error:
        raise UserError(
            f"{path} is damaged or was written by another version: delete it, and if it held data "
            f'of your own, add them again: "engram data add {path.stem} --from PATH"'
        ) from error
    if not header.added:
        return None
    return Source(path.stem, header.added, header.classes, header.shape)


@lru_cache(maxsize=64)
def _header(path: Path, content: tuple[int, int, int]) -> Header:
    return read_header(path)


def _facts(source: Source) -> str:
    return f"{source.classes} classes of {' × '.join(map(str, source.shape))}"
