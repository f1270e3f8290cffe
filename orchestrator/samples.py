"""Images that methods report while they learn: pictures in a results folder, task by task.

They show what a generator makes, and decide nothing: they are no part of a record, and a results
folder without them is complete.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from orchestrator.pictures import drawable, grid_png
from orchestrator.storage import Storage

_FOLDER, _TASK = "samples", re.compile(r"task-(\d+)")
#: What tells, beside the pictures of a task, which ones are not there.
_LEFT_OUT = "left-out.txt"
#: Pictures that are kept of a task; images, and bytes of images, in one of them.
_MOST, _MOST_IMAGES, _MOST_BYTES = 20, 1000, 1_000_000
#: Letters of a picture's name.
_LONGEST = 80


class Grid(NamedTuple):
    """Images, uint8 ``[N, C, H, W]`` on the CPU, to be drawn in so many columns."""

    x: Tensor
    columns: int


@dataclass(frozen=True)
class Sample:
    """A picture in a results folder.

    Attributes
    ----------
    task : int
        The task that was being learnt, counted from 1.
    name : str
        What it shows, such as ``generator-step-250``.
    path : str
        Name of the file in the results folder.
    """

    task: int
    name: str
    path: str


class TaskImages:
    """Collects the images of a task, as many as one can look at: the latest 20 names.

    Of very many images under one name the first rows are kept, up to 1 MB. What cannot be drawn is
    left out; nothing is raised for it, as watching a method changes nothing.
    """

    def __init__(self) -> None:
        self._grids: dict[str, Grid] = {}
        self._notes: dict[str, str] = {}
        self._dropped = 0

    def add(self, name: str, x: Tensor, columns: int = 10) -> None:
        """Take images, uint8 ``[N, C, H, W]``, in place of those that had the name before."""
        key = picture_name(name)
        self._grids.pop(key, None)
        self._notes.pop(key, None)
        if not drawable(x):
            self._note(key, "these are no images, uint8 [N, C, H, W]")
            return
        columns = max(1, min(columns, len(x)))
        room = min(_MOST_IMAGES, _MOST_BYTES // x[0].numel())
        kept = len(x) if len(x) <= room else room // columns * columns
        if not kept:
            self._note(key, "a row of them is too large")
            return
        if kept < len(x):
            self._note(key, f"the first {kept} of {len(x)} images")
        # A copy of its own: the method may go on writing into what it has shown.
        self._grids[key] = Grid(x.detach()[:kept].to("cpu", copy=True), columns)
        if len(self._grids) > _MOST:
            del self._grids[next(iter(self._grids))]
            self._dropped += 1

    def _note(self, key: str, what: str) -> None:
        if len(self._notes) < _MOST:
            self._notes[key] = what

    def __len__(self) -> int:
        return len(self._grids)

    def __iter__(self) -> Iterator[tuple[str, Grid]]:
        return iter(self._grids.items())

    @property
    def left_out(self) -> list[str]:
        """What was not kept, a line each."""
        lines = [f"{name}: {what}" for name, what in self._notes.items()]
        if self._dropped:
            lines.append(f"{self._dropped} earlier pictures: the last {_MOST} of a task are kept")
        return lines


class Samples:
    """The pictures of trials in a results folder: ``samples/ID/task-01/generator-step-250.png``.

    Parameters
    ----------
    storage : Storage
        The results folder. Each machine that runs trials writes there.
    """

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def write(self, trial: str, task: int, name: str, x: Tensor, columns: int = 10) -> None:
        """Draw images and write the picture, whole or not at all, in place of an older one.

        Parameters
        ----------
        trial : str
            Its id.
        task : int
            Counted from 1.
        name : str
            What they are; the file is named after it, see :func:`picture_name`.
        x : Tensor
            uint8 ``[N, C, H, W]``.
        columns : int

        Raises
        ------
        OSError
            If it cannot be written.
        ValueError
            If there is nothing to draw.
        """
        file = f"{_folder(trial, task)}/{picture_name(name)}.png"
        self.storage.write(file, grid_png(x, columns))

    def write_task(self, trial: str, task: int, images: TaskImages) -> None:
        """Write all pictures of a task, and what was left out of them; errors as in `write`."""
        for name, (x, columns) in images:
            self.write(trial, task, name, x, columns)
        if images.left_out:
            text = "\n".join(["Not here:", *images.left_out, ""])
            self.storage.write(f"{_folder(trial, task)}/{_LEFT_OUT}", text.encode())

    def names(self, trial: str) -> list[Sample]:
        """Return the pictures of a trial, by task; ``step-50`` comes before ``step-100``."""
        found = []
        for folder in self.storage.folders(f"{_FOLDER}/{trial}"):
            if task := _TASK.fullmatch(folder):
                path = f"{_FOLDER}/{trial}/{folder}"
                for file in self.storage.names(path, ".png"):
                    name = file.removesuffix(".png")
                    found.append(Sample(int(task[1]), name, f"{path}/{file}"))
        return sorted(found, key=lambda sample: (sample.task, _natural(sample.name)))

    def read(self, path: str) -> bytes:
        """Return a picture.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        content: bytes = self.storage.read(path).to_pybytes()
        return content

    def where(self, trial: str) -> str:
        """Return where the pictures of a trial are, for messages."""
        return self.storage.path(f"{_FOLDER}/{trial}")


def picture_name(name: str) -> str:
    """Make the name of a file of what a method calls its images.

    Names that differ in nothing but capitals, accents and punctuation are one.

    Examples
    --------
    >>> picture_name("generator, step 250")
    'generator-step-250'
    >>> picture_name("../Réponse")
    'reponse'
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = "-".join(re.findall(r"\w+(?:\.\w+)*", plain))[:_LONGEST].strip(".-")
    return words or f"images-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _folder(trial: str, task: int) -> str:
    return f"{_FOLDER}/{trial}/task-{task:02d}"


def _natural(name: str) -> list[tuple[int, str]]:
    """Order names by the numbers in them, rather than by their digits."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]
