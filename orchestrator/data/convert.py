"""From raw files to the cache's file: where it lies, and how it is made exactly once."""

from __future__ import annotations

import hashlib
import os
import shlex
import tempfile
from pathlib import Path

import numpy as np
from filelock import FileLock

from orchestrator.data.arrow import write_images
from orchestrator.data.sources import Images, Source
from orchestrator.errors import UserError


class MissingData(UserError):
    """The raw files of a source are not there; the message says how to get them."""


def find_converted(source: Source, data_dir: Path) -> Path | None:
    """Return the file of a source that was converted earlier, or None."""
    paths = [folder / f"{source.name}.arrow" for folder in _folders(data_dir)]
    return next((path for path in paths if path.is_file()), None)


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
    # What is replaced must be replaced where it is found, or it would go on being found.
    found = find_converted(source, data_dir)
    folder = _writable([found.parent] if found else _folders(data_dir))
    path = folder / f"{source.name}.arrow"
    with FileLock(folder / f".{source.name}.lock"):
        if anew or not path.is_file():
            if not source.found_in(raw):
                _download(source, raw)
            images = _read(source, raw)
            try:
                write_images(path, source, images)
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
    if not source.found_in(raw):
        raise _missing(source, data_dir, raw)


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
            f"check the network, and that {folder} can be written; or put {source.layout} there"
        ) from error


def _read(source: Source, folder: Path) -> Images:
    try:
        images = source.read(folder)
    except (OSError, RuntimeError, ValueError, AssertionError, EOFError) as error:
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
        return MissingData(
            f"{source.name} is not in {raw}: {source.layout or 'the raw files'} "
            f"({', '.join(source.files)}) should be there"
        )
    by_hand = f"put {source.layout or ', '.join(source.files)} there"
    if source.download is None:
        return MissingData(f"{source.name} is not in {data_dir}: {by_hand}")
    command = command_for(source, data_dir)
    return MissingData(f'{source.name} is not in {data_dir}: run "{command}", or {by_hand}')
