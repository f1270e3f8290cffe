"""From raw files to the cache's file: where it lies, and how it is made exactly once."""

from __future__ import annotations

import hashlib
import os
import pickle
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from orchestrator.data.arrow import write_images
from orchestrator.data.sources import Images, Layout, Source
from orchestrator.errors import UserError

#: What reading damaged files may raise.
_UNREADABLE = (
    *(OSError, RuntimeError, ValueError, AssertionError, EOFError),
    *(TypeError, KeyError, pickle.UnpicklingError),
)


class MissingData(UserError):
    """The raw files of a source are not there; the message says how to get them."""


def find_converted(name: str, data_dir: Path) -> Path | None:
    """Return the file of a source that was converted earlier, or None."""
    paths = [folder / f"{name}.arrow" for folder in _folders(data_dir)]
    return next((path for path in paths if path.is_file()), None)


def converted_files(data_dir: Path) -> dict[str, Path]:
    """Return all files that were converted earlier, by the names of their sources."""
    folders = reversed(_folders(data_dir))
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.arrow"))}


def convert(
    source: Source, data_dir: Path, raw: Path, *, download: bool = False, anew: bool = False
) -> Path:
    """Convert raw files unless another process has just done so.

    Parameters
    ----------
    source : Source
    data_dir : Path
        The data folder; the file lies in its subfolder ``arrow``, or in the user's cache folder
        where that cannot be written.
    raw : Path
        The folder of the raw files.
    download : bool
        Whether missing raw files may be fetched into ``raw``.
    anew : bool
        Whether to replace a file that is already there.

    Returns
    -------
    Path
        The converted file.

    Raises
    ------
    MissingData
        If there are no raw files, and they may not or cannot be fetched.
    UserError
        If a download fails, the raw files are not what they should be, or nothing can be written.
    """
    if not (download and source.download):
        check_raw(source, data_dir, raw)

    def read() -> Images:
        if source.layout_in(raw) is None:
            _download(source, raw)
        layout = source.layout_in(raw)
        if layout is None:
            raise UserError(f"what was downloaded into {raw} is not {wanted(source)}")
        return _read(source, layout, raw)

    return store(source, data_dir, read, anew=anew)


def store(
    source: Source, data_dir: Path, images: Callable[[], Images], *, anew: bool = False
) -> Path:
    """Write the images of a source for all trials, unless another process has just done so.

    Parameters
    ----------
    source : Source
    data_dir : Path
        See :func:`convert`.
    images : callable
        Gives what is written; called only where something is.
    anew : bool
        Whether to replace a file that is already there.

    Raises
    ------
    UserError
        If nothing can be written; and what ``images`` raises.
    """
    # What is replaced must be replaced where it is found, or it would go on being found.
    found = find_converted(source.name, data_dir)
    folder = _writable([found.parent] if found else _folders(data_dir))
    path = folder / f"{source.name}.arrow"
    with FileLock(folder / f".{source.name}.lock"):
        if anew or not path.is_file():
            content = images()
            try:
                write_images(path, source, content)
            except OSError as error:
                raise UserError(f"{path} cannot be written: {error}") from error
    return path


def check_raw(source: Source, data_dir: Path, raw: Path) -> None:
    """Check that the raw files of a source are there; none of them is opened.

    Raises
    ------
    MissingData
        If they are not.
    """
    if source.layout_in(raw) is None:
        raise _missing(source, data_dir, raw)


def wanted(source: Source) -> str:
    """Say what to put into a folder by hand."""
    return " or ".join(layout.title or ", ".join(layout.files) for layout in source.layouts)


def command_for(source: Source, data_dir: Path) -> str:
    """Return the command that prepares a source."""
    return f"engram data prepare {source.name} --data {shlex.quote(str(data_dir))}"


def _folders(data_dir: Path) -> list[Path]:
    """Return where converted files are kept: beside the raw files, or else in the user's cache."""
    folders = [data_dir / "arrow"]
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home, as in some containers
        return folders
    key = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    return [*folders, caches / "engram" / key]


def _writable(folders: list[Path]) -> Path:
    """Return the first folder in which a file can be made.

    Mode bits would not tell: root may ignore them, and a file system may be read-only.
    """
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    raise UserError(
        f"cannot write to {' or '.join(map(str, folders))}: "
        "give another data folder, or set XDG_CACHE_HOME to a writable one"
    )


def _download(source: Source, folder: Path) -> None:
    assert source.download is not None
    try:
        source.download(folder)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{source.name} could not be downloaded ({' '.join(str(error).split())}): "
            f"check the network, and that {folder} can be written; or put {wanted(source)} there"
        ) from error


def _read(source: Source, layout: Layout, folder: Path) -> Images:
    try:
        images = layout.read(folder)
    except _UNREADABLE as error:
        raise UserError(
            f"the raw files of {source.name} in {folder} cannot be read "
            f"({' '.join(str(error).split()) or type(error).__name__}): replace them"
        ) from error
    for x, y in ((images.train_x, images.train_y), (images.test_x, images.test_y)):
        sound = (
            x.dtype == np.uint8
            and y.dtype == np.int64
            and x.shape[1:] == source.shape
            and len(x) == len(y) > 0
            and 0 <= y.min() <= y.max() < source.classes
        )
        if not sound:
            raise UserError(
                f"the raw files of {source.name} in {folder} do not hold {source.shape} images "
                f"with one of {source.classes} labels each: replace them"
            )
    return images


def _missing(source: Source, data_dir: Path, raw: Path) -> MissingData:
    if raw != data_dir:
        forms = (
            f"{layout.title or 'the raw files'} ({', '.join(layout.files)})"
            for layout in source.layouts
        )
        return MissingData(f"{source.name} is not in {raw}: {' or '.join(forms)} should be there")
    by_hand = f"put {wanted(source)} there"
    if source.download is None:
        return MissingData(f"{source.name} is not in {data_dir}: {by_hand}")
    command = command_for(source, data_dir)
    return MissingData(f'{source.name} is not in {data_dir}: run "{command}", or {by_hand}')
